"""The child of the privileged part that holds starts: a tracer of its own, so that nothing else which that part does
keeps a start waiting. It is told which files to guard, and tells what came of each start, a line of JSON each.

It ends with its parent, and the kernel lets everybody go on.
"""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from suture.agent.policy import Chosen, Policy, ProcessFacts
from suture.error import SutureError
from suture.host.recipient import read
from suture.host.starts import is_build_of_root, openings
from suture.host.subject import process, service, user
from suture.patch import strict_json
from suture.patch.file import PatchFile
from suture.process import syscall
from suture.process.start.guard import Guard, Start
from suture.process.start.opening import FileId, Openings
from suture.report.encoding import compact, of_type
from suture.report.reason import Cause
from suture.report.start import StartEnd

T = TypeVar("T")
_MOST_LINE, _MOST_VALUES = 64 << 20, 1 << 21
_MOST_UNTOLD, _MOST_FILES = 4096, 8192
_PIECE = 1 << 16


@dataclass(frozen=True)
class WatchedFile:
    """A file to guard, by a name under which it can be opened; `shown` as people know it, `key` another for each file.
    Without a key the name may mean another file by now: only one of root's with this build-id is taken."""

    name: str
    shown: str
    build_id: str
    key: str


@dataclass(frozen=True)
class GuardedBuild:
    """What is put into a build: files in the register's folder, in the order in which they are applied, and the ids of
    the patches in them."""

    build_id: str
    files: tuple[str, ...]
    patches: tuple[str, ...]


@dataclass(frozen=True)
class HoldOrder:
    """What to guard from now on, and which processes to leave alone. What was guarded before stays so as long as its
    build is among these: nobody may run it just now."""

    number: int
    builds: tuple[GuardedBuild, ...]
    files: tuple[WatchedFile, ...]
    include: Chosen
    exclude: Chosen


@dataclass(frozen=True)
class HeldStart:
    """What came of one start. `shown`: the guarded file; `service`: the unit or container that it is the first process
    of."""

    pid: int
    command: str
    shown: str
    patches: tuple[str, ...]
    end: StartEnd
    error: str
    service: str = ""


@dataclass(frozen=True)
class HoldNews:
    """`number` of the last order that is carried out, `guarded` the places in it of the files that are there. `untold`
    starts that were patched or loaded nothing are only counted, by their end, when there are too many."""

    number: int
    guarded: tuple[int, ...]
    starts: tuple[HeldStart, ...]
    untold_patched: int
    untold_not_loaded: int
    let_go: int
    problem: Cause | None


class LineOfJson:
    """Values of one kind over a stream socket, a line each. Nothing of a line is lost when it comes in pieces."""

    def __init__(self, line: socket.socket) -> None:
        self.socket = line
        self._came = bytearray()

    def put(self, value: object) -> bytes:
        """What is to be sent for a value."""
        return compact(value) + b"\n"

    def come(self) -> list[bytes]:
        """Whole lines that have come; does not wait. Raises EOFError when the other side is gone and has left none."""
        is_over = False
        while not is_over:
            try:
                piece = self.socket.recv(_PIECE, socket.MSG_DONTWAIT)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                piece = b""
            is_over = not piece or len(self._came) > _MOST_LINE
            self._came += piece
        *whole, rest = self._came.split(b"\n")
        self._came = bytearray(rest)
        if is_over and not whole:
            raise EOFError
        return [bytes(line) for line in whole]


def read_line(kind: type[T], line: bytes) -> T:
    """Raises `NoDocument`, ValueError."""
    return of_type(kind, strict_json.loads(line, _MOST_LINE, _MOST_VALUES), "line")


def facts(pid: int) -> ProcessFacts:
    """A process as policies see it."""
    one, (name, uid) = process(pid), user(pid)
    return ProcessFacts(one.program, name, uid, one.unit, one.container)


class StartHolder:
    """The child's work. `folder` has the patches."""

    def __init__(self, line: socket.socket, folder: Path) -> None:
        self._lines = LineOfJson(line)
        self._folder = folder
        self._patches: dict[str, PatchFile] = {}
        self._files: dict[FileId, WatchedFile] = {}  # the one that was seen last is the last
        self._builds: dict[str, GuardedBuild] = {}
        self._chosen = Policy("", Path())
        self._number, self._guarded = 0, tuple[int, ...]()
        self._starts: list[HeldStart] = []
        self._untold: Counter[StartEnd] = Counter()
        self._services: dict[int, str] = {}
        self._let_go = 0
        self._unsent = b""
        self._is_new = False

    def run(self) -> None:
        """Until the parent is gone."""
        try:
            with openings() as asked:
                self._openings = asked
                self._guard = Guard(asked, {}, self._wants)
                self._guard.run(self._note, self._go_on, self._lines.socket.fileno())
        except SutureError as problem:
            self._tell(problem.cause)

    def _wants(self, pid: int) -> bool:
        if self._chosen.chooses_processes and not self._chosen.takes_process(facts(pid)):
            return False
        if len(self._services) >= _MOST_UNTOLD:
            self._services.clear()
        self._services[pid] = service(pid)  # now, as it may end at once when it is let go
        return True

    def _note(self, start: Start) -> None:
        file = self._files.get(start.file)
        build = self._builds.get(file.build_id) if file else None
        if file is None or build is None:
            return
        is_well = start.end in (StartEnd.PATCHED, StartEnd.NOT_LOADED)
        if len(self._starts) >= (_MOST_UNTOLD if is_well else 2 * _MOST_UNTOLD):
            self._untold[start.end] += 1
            return
        first_of = self._services.get(start.pid, "")
        self._starts.append(
            HeldStart(start.pid, start.command, file.shown, build.patches, start.end, start.error, first_of)
        )

    def _go_on(self) -> bool:
        try:
            lines = self._lines.come()
        except EOFError:
            return False
        if lines:
            self._obey(read_line(HoldOrder, lines[-1]))
        if self._unsent or self._is_new or self._starts or self._guard.let_go != self._let_go:
            self._tell(None)
        return True

    def _obey(self, order: HoldOrder) -> None:
        known, self._patches = self._patches, {}
        for name in (name for build in order.builds for name in build.files):
            with suppress(SutureError):  # it has been dropped meanwhile: the next order tells
                self._patches[name] = known.get(name) or _patch(self._folder / name)
        guarded = []
        for place, file in enumerate(order.files):
            with suppress(OSError):  # the process has ended, or the file is gone
                found = _marked(self._openings, file)
                if found is not None:
                    guarded.append(place)
                    self._files.pop(found, None)
                    self._files[found] = file
        for oldest in list(self._files)[: max(len(self._files) - _MOST_FILES, 0)]:
            del self._files[oldest]
        self._chosen = Policy("", Path(), include=order.include, exclude=order.exclude)
        self._builds = {build.build_id: build for build in order.builds}
        self._guard.watch(
            {
                found: [self._patches[n] for n in self._builds[file.build_id].files if n in self._patches]
                for found, file in self._files.items()
                if file.build_id in self._builds
            }
        )
        self._number, self._guarded, self._is_new = order.number, tuple(guarded), True

    def _tell(self, problem: Cause | None) -> None:
        """As far as the parent has room; never waits for it."""
        if not self._unsent:
            self._let_go = self._guard.let_go if problem is None else 0
            told = HoldNews(
                self._number, self._guarded, tuple(self._starts), self._untold[StartEnd.PATCHED],
                self._untold[StartEnd.NOT_LOADED], self._let_go, problem,
            )  # fmt: skip
            self._unsent = self._lines.put(told)
            self._starts.clear()
            self._untold.clear()
            self._is_new = False
        with suppress(OSError):  # no room: at the next turn
            self._unsent = self._unsent[self._lines.socket.send(self._unsent, socket.MSG_DONTWAIT) :]


def _patch(path: Path) -> PatchFile:
    found = read(path, owned=True)
    assert isinstance(found, PatchFile)
    return found


def _marked(asked: Openings, file: WatchedFile) -> FileId | None:
    """None for a name that means another file by now."""
    if not file.key and not is_build_of_root(Path(file.name), file.build_id):
        return None
    return asked.add(file.name)


def begin(folder: Path) -> tuple[int, socket.socket]:
    """Start the child; its pid, and the parent's end of the line. Raises OSError."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    parent = os.getpid()
    child = os.fork()
    if child:
        theirs.close()
        return child, ours
    try:
        syscall.end_with_parent()
        _close_but((0, 1, 2, theirs.fileno()))
        if os.getppid() == parent:
            StartHolder(theirs, folder).run()
    finally:
        os._exit(0)


def _close_but(kept: Sequence[int]) -> None:
    """What the parent has open is the parent's: its socket, and who is connected to it."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in kept:
            with suppress(OSError):  # that of the listing itself
                os.close(int(name))
