"""This host's Python and this Suture as files of an initrd, for kernels that cannot mount the host's file system (no
9p: cloud)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from suture.command import run

_PYTHON = Path("/usr/bin/python3")
_PROGRAMS = (_PYTHON, Path("/usr/bin/env"))
_LEFT_OUT = frozenset(
    {"test", "idlelib", "ensurepip", "lib2to3", "tkinter", "pydoc_data", "__pycache__", "dist-packages"}
)
_LIBRARY = re.compile(r"(/\S+) \(0x")
_EMPTY = (
    "proc",
    "sys",
    "sys/kernel/debug",
    "sys/kernel/security",
    "dev",
    "dev/pts",
    "dev/shm",
    "tmp",
    "run",
    "mnt",
    "root",
)

Files = dict[str, tuple[int, bytes]]


def userland(top: str) -> Files:
    """(mode, contents) by path, all under the folder `top`: interpreter, its library, shared libraries, and Suture
    where it is here."""
    paths = {*_PROGRAMS, *_libraries(*_PROGRAMS), *_modules(), *_own()}
    found: Files = {f"{top}/{name}": (0o040755, b"") for name in _EMPTY}
    for path in sorted(paths):
        _folders(found, f"{top}{path}")
        found[f"{top}{path}"] = (0o100755 if path.stat().st_mode & 0o100 else 0o100644, path.read_bytes())
    return found


def _folders(found: Files, path: str) -> None:
    above = path.rpartition("/")[0]
    if above and above not in found:
        _folders(found, above)
        found[above] = (0o040755, b"")


def _libraries(*programs: Path) -> set[Path]:
    """What ldd(1) names, with its own path of each."""
    return {Path(x) for program in programs for x in _LIBRARY.findall(run(["ldd", str(program)]))}


def _modules() -> Iterator[Path]:
    """The standard library, its extension modules and what these need."""
    folder = Path(run([str(_PYTHON), "-I", "-c", "import os; print(os.__file__)"]).strip()).parent
    for path in folder.rglob("*"):
        if path.is_file() and not _LEFT_OUT & set(path.relative_to(folder).parts) and path.suffix in (".py", ".so"):
            yield path
            if path.suffix == ".so":
                yield from _libraries(path)


def _own() -> Iterator[Path]:
    package = Path(__file__).resolve().parents[1]
    return (p for p in package.rglob("*.py") if p.is_file())
