"""Build-ids of files on disk, looked up as a process would find them: what its next start would execute.

Names, links and file systems are the process's choice. The look-up stays inside the process's root (`rooted`), only
regular files are opened, and of one that is loaded only headers and notes are read. It is done in a child, because a
file system may never answer (FUSE, a dead server): then the child is left behind, and the file counts as not read.
"""

from __future__ import annotations

import errno
import os
import signal
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe
from types import TracebackType

from suture.elf import abi
from suture.elf.file import EHDR, PHDR, build_id_in, segments_in
from suture.process.memory.image import Image
from suture.process.see.find import Found
from suture.process.see.package import InstalledPackage, package_of
from suture.process.see.rooted import NotRegular, open_regular, open_root

_PATIENCE = 1.0
_LEAST_PATIENCE = 0.02
_ALL_PATIENCE = 3.0  # seconds in one scan that may be lost to file systems that do not answer
_MOST_HEADERS = 64
_MOST_NOTES = 64 << 10
_SILENT = "its file system does not answer"


@dataclass(frozen=True)
class OnDisk:
    """The file that a path means: its build-id, or why there is none. `is_missing`: nothing has that path."""

    build_id: str = ""
    why: str = ""
    is_missing: bool = False


@dataclass(frozen=True)
class _Place:
    """A path in the root of a process. Where all but `via` is the same, it means the same file."""

    mounts: str
    root: str
    path: str
    via: int = field(compare=False)


class Files:
    """Looks files up for many processes, each file once. A context manager."""

    def __init__(self) -> None:
        self._known: dict[_Place, OnDisk] = {}
        self._packages: dict[tuple[str, str, str], InstalledPackage] = {}
        self._child: tuple[int, Connection] | None = None
        self._patience = _ALL_PATIENCE

    def __enter__(self) -> Files:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave(is_stuck=False)

    def behind(self, process: Found, image: Image) -> OnDisk:
        """The file that has an image's path now, in the process's root."""
        place = _place(process, image)
        if isinstance(place, OnDisk):
            return place
        if place not in self._known:
            found = self._ask("file", place)
            self._known[place] = found if isinstance(found, OnDisk) else OnDisk(why=_SILENT)
        return self._known[place]

    def package_of(self, process: Found, image: Image, name: str = "") -> InstalledPackage:
        """The package that has an image's path, and its version that is installed in the process's root; with `name`
        the version of that package."""
        place = _place(process, image)
        if isinstance(place, OnDisk):
            return InstalledPackage(name)
        key = (place.mounts, place.root, name or place.path)
        if key not in self._packages:
            found = self._ask("package", place, name)
            self._packages[key] = found if isinstance(found, InstalledPackage) else InstalledPackage(name)
        return self._packages[key]

    def _ask(self, what: str, place: _Place, *more: str) -> object:
        """What the child answers, None when it does not in time."""
        if self._child is None:
            self._child = _start()
        line = self._child[1]
        wait = max(_LEAST_PATIENCE, min(_PATIENCE, self._patience))
        try:
            line.send((what, f"/proc/{place.via}/root", place.path, *more))
            if line.poll(wait):
                return line.recv()
        except (EOFError, OSError):
            pass
        self._patience -= wait
        self._leave(is_stuck=True)
        return None

    def _leave(self, is_stuck: bool) -> None:
        """Kill the child. One that a file system holds ends when that answers: nobody waits for it."""
        if self._child is not None:
            pid, line = self._child
            self._child = None
            line.close()
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, os.WNOHANG if is_stuck else 0)


def _place(process: Found, image: Image) -> _Place | OnDisk:
    try:
        root = os.readlink(f"/proc/{process.via}/root")
        mounts = os.readlink(f"/proc/{process.via}/ns/mnt")
    except OSError as problem:
        return OnDisk(why=f"its root cannot be seen: {problem.strerror}")
    # both paths are told as seen from the top of the process's mounts
    path = image.path if root == "/" else image.path.removeprefix(root)
    if not path.startswith("/") or (root != "/" and path == image.path):
        return OnDisk(why="the file is outside the process's root")
    return _Place(mounts, root, path, process.via)


def _start() -> tuple[int, Connection]:
    ours, theirs = Pipe()
    pid = os.fork()
    if pid:
        theirs.close()
        return pid, ours
    try:
        ours.close()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with suppress(EOFError, OSError):
            while True:
                what, *where = theirs.recv()
                theirs.send(_look_up(*where) if what == "file" else _package(*where))
    finally:
        os._exit(0)


def _look_up(root: str, path: str) -> OnDisk:
    try:
        top = open_root(root)
    except OSError as problem:
        return OnDisk(why=os.strerror(problem.errno or 0))
    try:
        file = open_regular(top, path)
        try:
            return _read(file)
        finally:
            os.close(file)
    except FileNotFoundError:
        return OnDisk(is_missing=True)
    except NotRegular:
        return OnDisk(why="no regular file has its path now")
    except OSError as problem:
        why = (
            "Linux 5.6 or newer is needed to look" if problem.errno == errno.ENOSYS else os.strerror(problem.errno or 0)
        )
        return OnDisk(why=why)
    finally:
        os.close(top)


def _package(root: str, path: str, name: str) -> InstalledPackage:
    try:
        top = open_root(root)
        try:
            return package_of(top, path, name)
        finally:
            os.close(top)
    except OSError:  # no dpkg there, or none that can be read
        return InstalledPackage(name)


def _read(file: int) -> OnDisk:
    start = os.pread(file, EHDR.size, 0)
    if len(start) < EHDR.size or start[:4] != abi.ELFMAG or start[4] != abi.ELFCLASS64:
        return OnDisk(why="the file that has its path now is no 64-bit ELF file")
    header = EHDR.unpack(start)
    phoff, count = header[5], min(header[10], _MOST_HEADERS)
    table = os.pread(file, count * PHDR.size, phoff) if phoff < 1 << 62 else b""
    for s in segments_in(table[: len(table) // PHDR.size * PHDR.size]):
        if s.p_type == abi.PT_NOTE and s.p_filesz <= _MOST_NOTES and s.p_offset < 1 << 62:
            found = build_id_in(os.pread(file, s.p_filesz, s.p_offset))
            if found:
                return OnDisk(found)
    return OnDisk(why="the file that has its path now has no build-id")
