"""Files of /proc/PID (proc(5)): opened and read, with what is missing told as a process that is gone.

A process, or the thread through which it is looked at, may end between any two of them; no other error may come of
that.
"""

from __future__ import annotations

import os
import struct

from suture.process.error import NoPermission, NoProcess
from suture.report.reason import Reason

_MOST = 1 << 16


def open_file(pid: int, name: str, denied: str = "", flags: int = os.O_RDONLY, folder: int | None = None) -> int:
    """A descriptor of /proc/PID/`name`, looked for in the open directory `folder` when given, whose process or thread
    stays the same (fs/proc/base.c keeps a struct pid for it). Raises NoProcess; NoPermission, with the words `denied`
    when given."""
    try:
        return os.open(name if folder is not None else f"/proc/{pid}/{name}", flags | os.O_CLOEXEC, dir_fd=folder)
    except (FileNotFoundError, ProcessLookupError) as problem:
        raise NoProcess(pid) from problem
    except PermissionError as problem:
        raise NoPermission(pid, denied or f"its {name} may not be read", reason=Reason.DENIED_READ) from problem


def open_folder(pid: int, name: str = "", folder: int | None = None) -> int:
    """A descriptor of the directory /proc/PID/`name`; `folder` as in `open_file`. Raises NoProcess, NoPermission."""
    return open_file(pid, name, flags=os.O_RDONLY | os.O_DIRECTORY, folder=folder)


def read_file(pid: int, name: str, folder: int | None = None) -> bytes:
    """What one read gives, at most 64 KiB; `folder` as in `open_file`. Raises NoProcess, NoPermission."""
    fd = open_file(pid, name, folder=folder)
    try:
        return os.read(fd, _MOST)
    except ProcessLookupError as problem:
        raise NoProcess(pid) from problem
    except PermissionError as problem:
        raise NoPermission(pid, f"its {name} may not be read", reason=Reason.DENIED_READ) from problem
    finally:
        os.close(fd)


def read_auxv(pid: int) -> dict[int, int]:
    """The kernel's auxiliary vector (getauxval(3)) of a 64-bit process. Raises NoProcess, NoPermission."""
    raw = read_file(pid, "auxv")
    return dict(struct.iter_unpack("<QQ", raw[: len(raw) // 16 * 16]))
