"""Being asked before a file is opened (fanotify(7), FAN_OPEN_PERM): who opens it waits inside open until answered.

The mark is on the inode, so it holds in every mount namespace and under every name. When the group's descriptor is
closed, also because its holder has died, the kernel lets all who wait go on.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from suture.process import syscall

_EVENT = struct.Struct("=IBBHQii")  # struct fanotify_event_metadata
_ANSWER = struct.Struct("=iI")  # struct fanotify_response
_ALLOW = 1
_OVERFLOW = 0x4000  # FAN_Q_OVERFLOW


@dataclass(frozen=True)
class FileId:
    """A file whatever it is called."""

    device: int
    inode: int

    @classmethod
    def of(cls, fd: int) -> FileId:
        """Of an open file."""
        found = os.fstat(fd)
        return cls(found.st_dev, found.st_ino)


@dataclass(frozen=True)
class Opening:
    """A thread that waits inside open for an answer, or inside execve. `fd` is the file, open for us, and names the
    event in the answer. One that executes is asked for twice, first with `executes`."""

    tid: int
    file: FileId
    fd: int
    executes: bool


class Openings:
    """Files that nobody opens without our answer. A context manager. Raises OSError (EPERM without CAP_SYS_ADMIN)."""

    def __init__(self) -> None:
        self.group = syscall.fanotify_init()
        self.overflows = 0

    def __enter__(self) -> Openings:
        return self

    def __exit__(self, *what: object) -> None:
        os.close(self.group)

    def add(self, path: str) -> FileId:
        """Ask for this file from now on. Raises OSError."""
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            asked = syscall.FAN_OPEN_PERM | syscall.FAN_OPEN_EXEC_PERM
            syscall.fanotify_mark(self.group, syscall.FAN_MARK_ADD, asked, fd)
            return FileId.of(fd)
        finally:
            os.close(fd)

    def waiting(self) -> Iterator[Opening]:
        """Those that have come since; each is to be answered with `allow`."""
        for mask, fd, tid in _events(self.group):
            if mask & _OVERFLOW:
                self.overflows += 1
            elif fd >= 0:
                yield Opening(tid, FileId.of(fd), fd, bool(mask & syscall.FAN_OPEN_EXEC_PERM))

    def allow(self, opening: Opening) -> None:
        """Let it open the file."""
        answer(self.group, opening.fd)
        os.close(opening.fd)

    @staticmethod
    def let_all_go(group: int) -> int:
        """Answer all that wait; how many there were."""
        count = 0
        for _, fd, _ in _events(group):
            if fd >= 0:
                count += answer(group, fd)
                os.close(fd)
        return count


def answer(group: int, number: int) -> bool:
    """Let the opening with this number go on. False when nobody waits for that any more."""
    try:
        os.write(group, _ANSWER.pack(number, _ALLOW))
    except FileNotFoundError:
        return False
    return True


def _events(group: int) -> Iterator[tuple[int, int, int]]:
    """Mask, descriptor and thread of each that has come."""
    while True:
        try:
            raw = os.read(group, _EVENT.size)  # one at a time: what is read has to be answered by who has read it
        except BlockingIOError:
            return
        while len(raw) >= _EVENT.size:
            length, _, _, _, mask, fd, tid = _EVENT.unpack_from(raw)
            yield mask, fd, tid
            raw = raw[length:]
