"""The Python packages that the Debian package brings along: those of the extra `feed`, and what they need.

wheels.txt lists them, each with its version and the digests of its file. `python packaging/wheels.py` writes it anew
from pyproject.toml and from what the package index has now.
"""

from __future__ import annotations

import hashlib
import re
import stat
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path

from suture.command import run

HERE = Path(__file__).resolve().parent
LOCK = HERE / "wheels.txt"
EXTRA = "feed"
_HEAD = "# Written by `python packaging/wheels.py`; pyproject.toml has the pins.\n"
# what is for installers alone, and what lies in a wheel by chance
_LEFT_OUT = re.compile(r"\.dist-info/(RECORD|WHEEL|REQUESTED|INSTALLER)$|\.data/|/\.git|\.sh$")
# glibc 2.28 is older than that of any release that there is a package for (PEP 600)
_KIND = [
    "--only-binary=:all:", "--python-version=3.11", "--implementation=cp", "--abi=cp311", "--abi=abi3", "--abi=none",
    "--platform=manylinux_2_28_x86_64", "--platform=manylinux_2_17_x86_64", "--platform=manylinux2014_x86_64",
    "--platform=any",
]  # fmt: skip


def pinned() -> list[str]:
    """What pyproject.toml says of the extra."""
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]
    return list(project["optional-dependencies"][EXTRA])


def locked() -> dict[str, str]:
    """Name and version of each package."""
    return dict(re.findall(r"^([\w.-]+)==(\S+)", LOCK.read_text(), re.M))


def fetch(folder: Path) -> list[Path]:
    """The files that wheels.txt lists, compared with its digests."""
    _download(folder, "--no-deps", "--require-hashes", f"--requirement={LOCK}")
    return sorted(folder.glob("*.whl"))


def unpack(wheel: Path, folder: Path) -> None:
    """Lay a wheel's files out, as an installation does, without what is for installers alone. Modes as Debian has
    them."""
    with zipfile.ZipFile(wheel) as packed:
        for name in sorted(packed.namelist()):
            if name.endswith("/") or _LEFT_OUT.search(name):
                continue
            place = folder / name
            if not place.resolve().is_relative_to(folder.resolve()):
                raise ValueError(f"{wheel.name}: {name} leads out of its folder")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(packed.read(name))
            place.chmod(stat.S_IFREG | 0o644)


def _download(folder: Path, *words: str) -> None:
    quiet = ["--quiet", "--quiet", "--disable-pip-version-check"]
    run([sys.executable, "-m", "pip", "download", *quiet, *_KIND, f"--dest={folder}", *words])


def write_lock() -> None:
    """Resolve the pins and write wheels.txt."""
    with tempfile.TemporaryDirectory() as scratch:
        _download(Path(scratch), *pinned())
        rows = []
        for wheel in sorted(Path(scratch).glob("*.whl")):
            name, version = wheel.name.split("-")[:2]
            digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
            rows.append(f"{name.replace('_', '-').lower()}=={version} \\\n    --hash=sha256:{digest}\n")
    LOCK.write_text(_HEAD + "".join(rows))


if __name__ == "__main__":
    write_lock()
