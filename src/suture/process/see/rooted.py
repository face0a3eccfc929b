"""Files as a process finds them: by a path inside its root, without leaving it (openat2(2), Linux 5.6)."""

from __future__ import annotations

import os
import stat

from suture.process import syscall

_RESOLVE_NO_MAGICLINKS, _RESOLVE_IN_ROOT = 0x02, 0x10


class NotRegular(OSError):
    """Something else than a regular file has the path."""


def open_root(root: str) -> int:
    """A descriptor of a root by its path, for the functions below. Raises OSError."""
    return os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def open_below(top: int, path: str, flags: int) -> int:
    """A descriptor of what a path means in the root that is open as `top`. Raises OSError; ENOSYS: the kernel is too
    old."""
    return syscall.openat2(top, os.fsencode(path), flags, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS)


def open_regular(top: int, path: str) -> int:
    """A regular file to read. Opening a device can have effects, so what it is comes first. Raises OSError,
    NotRegular."""
    place = open_below(top, path, os.O_PATH)
    try:
        if not stat.S_ISREG(os.fstat(place).st_mode):
            raise NotRegular
        return os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a lease would block
    finally:
        os.close(place)
