"""One applier per process at a time. The lock is a file that the kernel unlocks when its holder ends, however it ends.

The holder takes the file away before it unlocks it. Whoever has waited for it then holds a file without a name, sees
that, and begins again with the one that has the name now. What appliers that were killed have left is taken away by the
next one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from suture.error import Refused
from suture.process.error import Busy, NoProcess
from suture.process.tracee import Tracee, read_stat
from suture.report.reason import Reason

_SUFFIX = ".lock"


def _folder() -> Path:
    """Root's, or one below the caller's own; never a name in a folder where others may have put one before."""
    if os.geteuid() == 0:
        return Path("/run/suture")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return Path(runtime) / "suture" if runtime else Path.home() / ".cache/suture/lock"


def own_folder() -> Path:
    folder = _folder()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError:
        pass  # told below
    except OSError as problem:
        raise Refused(
            f"{folder}: {problem.strerror}: there is no place for the lock that keeps others from the same process",
            "set XDG_RUNTIME_DIR to a folder of your own that you may write to, or run the command as root",
            reason=Reason.LOCK_FOLDER,
        ) from problem
    facts = folder.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid() or facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise Refused(
            f"{folder}: is no folder that only you may write to",
            f"take it away: rm -r {folder}",
            reason=Reason.LOCK_FOLDER,
        )
    return folder


@contextmanager
def locked(tracee: Tracee, seconds: float) -> Iterator[None]:
    """Hold the lock of one process; wait up to `seconds` for it. Raises Busy, Refused."""
    folder = own_folder()
    _sweep(folder)
    path = folder / f"{tracee.pid}-{tracee.start_time}{_SUFFIX}"
    deadline = time.monotonic() + seconds
    while (fd := _take(path)) is None:
        if time.monotonic() > deadline:
            raise Busy(
                f"pid {tracee.pid}: another suture works on it",
                "try again when that is done",
                reason=Reason.BUSY_LOCKED,
            )
        time.sleep(0.02)
    try:
        yield
    finally:
        if _is_at(fd, path):
            path.unlink(missing_ok=True)
        os.close(fd)


def _take(path: Path) -> int | None:
    """The locked file of this name, None when another holds it."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_at(fd, path):
            return fd
    except BlockingIOError:
        pass
    os.close(fd)
    return None


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.lstat())
    except FileNotFoundError:
        return False


def _sweep(folder: Path) -> None:
    """Take away the locks of processes that have ended, which appliers that were killed have left."""
    for name in os.listdir(folder):
        pid, _, start_time = name.removesuffix(_SUFFIX).partition("-")
        if not (name.endswith(_SUFFIX) and pid.isdigit() and start_time.isdigit()) or _lives(int(pid), int(start_time)):
            continue
        if (fd := _take(folder / name)) is not None:
            with contextlib.suppress(FileNotFoundError):
                (folder / name).unlink()
            os.close(fd)


def _lives(pid: int, start_time: int) -> bool:
    try:
        return read_stat(pid).start_time == start_time
    except NoProcess:
        return False
