"""The server programs and the library with the hole, as the archive ships them, each unpacked into a folder of its own.

Nothing is installed: the machine's own packages and services stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from suture.progress import Progress, silent
from suture.source.archive import Archive

RELEASE = "bookworm"
SOURCE = "libgd2"
VERSION = "2.3.3-9"
CVE = "CVE-2026-9672"
LIBRARY = "libgd.so.3"
LIBRARY_PACKAGE = "libgd3"

# Taken at the archive's present version. The libraries are those that a minimal system lacks.
NGINX = "nginx"
PHP = "php8.2-fpm"
PHP_GD = "php8.2-gd"
LIBRARIES = (
    *("libxml2", "libicu72", "libsodium23", "libargon2-1", "libapparmor1", "libpcre2-8-0"),
    *("libavif15", "libheif1", "libdav1d6", "libaom3", "librav1e0", "libsvtav1enc1", "libgav1-1", "libabsl20220623"),
    *("libyuv0", "libde265-0", "libx265-199", "libnuma1", "libjpeg62-turbo", "libpng16-16", "libtiff6", "libjbig0"),
    *("liblerc4", "libdeflate0", "libwebp7", "libxpm4", "libx11-6", "libxcb1", "libxau6", "libxdmcp6", "libbsd0"),
    *("libmd0", "libfreetype6", "libfontconfig1", "libexpat1", "libbrotli1"),
)
_AT_A_TIME = 4
_FOLDERS = ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu")


@dataclass(frozen=True)
class Programs:
    """The two server programs, PHP's module for pictures, and the folders that hold the libraries they are to use."""

    nginx: Path
    php: Path
    php_gd: Path
    library: Path
    library_path: str  # for LD_LIBRARY_PATH


def fetch(version: str = VERSION, progress: Progress = silent) -> Programs:
    """The programs, with libgd3 of `version`. Raises `NotFound` when the archive lacks one."""
    archive = Archive(RELEASE, progress)

    def newest(package: str) -> Path:
        return archive.binary(package, archive.binaries(package)[0].version)

    with ThreadPoolExecutor(_AT_A_TIME) as workers:
        vulnerable = workers.submit(archive.binary, LIBRARY_PACKAGE, version)
        nginx, php, php_gd, *libraries = workers.map(newest, (NGINX, PHP, PHP_GD, *LIBRARIES))
        old = vulnerable.result()
    return Programs(
        nginx=nginx / "usr/sbin/nginx",
        php=php / "usr/sbin/php-fpm8.2",
        php_gd=next((php_gd / "usr/lib/php").glob("*/gd.so")),
        library=(old / _FOLDERS[0] / LIBRARY).resolve(),
        library_path=":".join(_library_folders([old, *libraries])),
    )


def _library_folders(roots: Sequence[Path]) -> list[str]:
    return [str(root / folder) for root in roots for folder in _FOLDERS if (root / folder).is_dir()]
