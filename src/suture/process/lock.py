"""One applier per process at a time. The lock is a file that the kernel unlocks when its holder ends, however it ends."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from suture.process.error import Busy
from suture.process.tracee import Tracee


def _folder() -> Path:
    if os.geteuid() == 0:
        return Path("/run/suture")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return Path(runtime) / "suture" if runtime else Path(f"/tmp/suture-{os.geteuid()}")


@contextmanager
def locked(tracee: Tracee, seconds: float) -> Iterator[None]:
    """Hold the lock of one process; wait up to `seconds` for it. Raises Busy."""
    folder = _folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{tracee.pid}-{tracee.start_time}.lock"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        deadline = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as problem:
                if time.monotonic() > deadline:
                    raise Busy(
                        f"pid {tracee.pid}: another suture works on it", "try again when that is done"
                    ) from problem
            time.sleep(0.02)
        yield
        # Removed while held. One who waits for the old file holds a lock that nobody else sees, but then the process has
        # been left alone by us, and ptrace allows one tracer only.
        path.unlink(missing_ok=True)
    finally:
        os.close(fd)
