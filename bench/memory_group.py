"""A control group that limits the memory of what runs in it, its page cache among it; cgroups(7) of version 1 or 2."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from target import NotMeasured

_SECONDS = 10.0


class MemoryGroup:
    """There while entered. `limit` is in bytes. Raises `NotMeasured` where the machine has no such groups."""

    def __init__(self, limit: int) -> None:
        folder, self._old = _folder()
        self.folder = folder / f"suture-bench-{os.getpid()}"
        self._limit = limit

    def __enter__(self) -> MemoryGroup:
        self.folder.mkdir()
        (self.folder / ("memory.limit_in_bytes" if self._old else "memory.max")).write_text(str(self._limit))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        end = time.monotonic() + _SECONDS
        for pid in (self.folder / "cgroup.procs").read_text().split():
            with suppress(OSError):  # it has just ended
                (self.folder.parent / "cgroup.procs").write_text(pid)
        while self.folder.exists() and time.monotonic() < end:
            with suppress(OSError):  # a process of it is just ending
                self.folder.rmdir()
            time.sleep(0.05)

    def command(self, *words: str) -> list[str]:
        """What runs a command in it."""
        return ["sh", "-c", f'echo $$ >"{self.folder}/cgroup.procs" && exec "$@"', "sh", *words]

    def take(self, pid: int) -> None:
        """Put a process in; what it starts from now on is in too. What it has had before counts elsewhere."""
        (self.folder / "cgroup.procs").write_text(str(pid))

    @property
    def peak(self) -> int:
        """The most that all in it have had together, in bytes."""
        return int((self.folder / ("memory.max_usage_in_bytes" if self._old else "memory.peak")).read_text())


def _folder() -> tuple[Path, bool]:
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, options, *_ = line.split()
        if kind == "cgroup" and "memory" in options.split(","):
            return Path(place), True
        if kind == "cgroup2" and "memory" in (Path(place) / "cgroup.subtree_control").read_text().split():
            return Path(place), False
    raise NotMeasured("there is no control group for memory")


def forget_cached(folder: Path) -> None:
    """The kernel drops what it has of the files in a folder, so that who reads them next has to have room for them."""
    os.sync()
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            with suppress(OSError), open(path, "rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
