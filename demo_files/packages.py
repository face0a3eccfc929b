"""The server programs and the vulnerable library, as the archive ships them, each unpacked into a folder of its own.

Nothing is installed: the machine's own packages and services stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from suture.progress import Progress, silent
from suture.source.archive import Archive

RELEASE = "bookworm"
SOURCE = "openssl"
VERSION = "3.0.17-1~deb12u2"
LIBRARY = "libcrypto.so.3"

# Taken at the archive's present version. The libraries are those that a minimal system lacks.
NGINX = "nginx"
PHP = "php8.2-fpm"
LIBRARIES = ("libxml2", "libicu72", "libsodium23", "libargon2-1", "libapparmor1", "libpcre2-8-0")


@dataclass(frozen=True)
class Programs:
    """The two server programs and the folders that hold the libraries they are to use."""

    nginx: Path
    php: Path
    library_path: str  # for LD_LIBRARY_PATH


def fetch(version: str = VERSION, progress: Progress = silent) -> Programs:
    """The programs, with libssl3 of `version`. Raises `NotFound` when the archive lacks one."""
    archive = Archive(RELEASE, progress)

    def newest(package: str) -> Path:
        return archive.binary(package, archive.binaries(package)[0].version)

    libraries = [archive.binary("libssl3", version), *(newest(package) for package in LIBRARIES)]
    return Programs(
        nginx=newest(NGINX) / "usr/sbin/nginx",
        php=newest(PHP) / "usr/sbin/php-fpm8.2",
        library_path=":".join(str(root / "usr/lib/x86_64-linux-gnu") for root in libraries),
    )
