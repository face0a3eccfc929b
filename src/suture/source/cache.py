"""The cache folder, and how an item comes into it: whole or not at all, made once however many ask at a time.

An item is a file or folder that never changes once it has its name. It is made under another name and renamed, while a
lock on a file beside it is held, so an interrupted make leaves nothing half-made and two makes do the work once.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

from suture.error import ExitCode, SutureError

_SCRATCH = ".scratch-"
_T = TypeVar("_T")


class NoCache(SutureError):
    """The cache folder cannot be written to."""

    exit_code = ExitCode.NO_PERMISSION

    def __init__(self, path: Path, problem: OSError) -> None:
        super().__init__(
            f"{path}: {problem.strerror}: what is made for later has no place there",
            "set SUTURE_CACHE to a folder that you may write to",
        )


def root() -> Path:
    """The cache folder: `$SUTURE_CACHE`, else `$XDG_CACHE_HOME/suture`, else `~/.cache/suture`."""
    own = os.environ.get("SUTURE_CACHE")
    if own:
        return Path(own).absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "suture"


def safe(name: str) -> str:
    """A version or name as one path component that overlayfs options can hold: no `:`, `,` or `/`, and neither `.` nor
    `..`."""
    if name in {"", ".", ".."}:
        return "%" + name.replace(".", "%2e")
    return name.replace("%", "%25").replace(":", "%3a").replace(",", "%2c").replace("/", "%2f")


def is_plain(path: Path) -> bool:
    """Whether a name that code of a package may have made is a file: no link to one of the host's, no pipe to wait
    for."""
    return path.is_file() and not path.is_symlink()


def is_inside(path: Path, folder: Path) -> bool:
    """Whether a path stays in a folder once all links on the way are followed."""
    return path.resolve().is_relative_to(folder.resolve())


@contextmanager
def locked(path: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock that belongs to `path`; wait for whoever has it. Raises `NoCache`.

    Any number may hold it `shared` at a time, while nobody holds it alone.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = open(path.parent / f".{path.name}.lock", "w")  # noqa: SIM115
    except OSError as problem:
        raise NoCache(path.parent, problem) from problem
    with handle:
        fcntl.flock(handle, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield


def item(path: Path, make: Callable[[Path], None]) -> Path:
    """Return `path`, after `make(temporary)` if it does not exist yet.

    `make` gets a path that does not exist, on the same file system, and creates a file or folder there. Whatever it
    raises is passed on and leaves no trace under `path`.
    """
    if path.exists():
        return path
    with locked(path):
        if path.exists():
            return path
        for stale in path.parent.glob(f".{path.name}.new-*"):
            discard(stale)
        holder = Path(tempfile.mkdtemp(prefix=f".{path.name}.new-", dir=path.parent))
        try:
            made = holder / path.name
            make(made)
            made.rename(path)
        finally:
            discard(holder)
    return path


@contextmanager
def together(paths: Iterable[Path]) -> Iterator[None]:
    """Hold the locks of several items that one job makes, other than those that `item` takes; whoever makes one of them
    meanwhile is waited for. Ask again afterwards which are there.
    """
    with ExitStack() as held:
        for path in sorted(set(paths)):
            held.enter_context(locked(path.with_name(f"{path.name}.together")))
        yield


def scratch(place: Path, use: Callable[[Path], _T]) -> _T:
    """What `use(folder)` returns, for a new empty folder in `place` as `scratch_folder` gives it."""
    with scratch_folder(place) as folder:
        return use(folder)


@contextmanager
def scratch_folder(place: Path) -> Iterator[Path]:
    """A new empty folder in `place` that is removed afterwards, and with it those that killed processes have left
    there.

    Whoever uses a folder holds a lock on it, which the kernel lets go of when the process ends, however it ends.
    """
    with ExitStack() as held:
        with locked(place / "scratch"):
            for other in place.glob(f"{_SCRATCH}*"):
                with ExitStack() as tried:
                    if _lock(other, tried):
                        discard(other)
            folder = Path(tempfile.mkdtemp(prefix=_SCRATCH, dir=place))
            _lock(folder, held)
        try:
            yield folder
        finally:
            discard(folder)


def _lock(folder: Path, held: ExitStack) -> bool:
    """Take the lock on a folder until `held` ends; whether nobody else has it."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return False
    held.callback(os.close, handle)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def discard(path: Path) -> None:
    """Remove a file or folder that may be gone or may still be written to by an orphan; never raises for that."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
