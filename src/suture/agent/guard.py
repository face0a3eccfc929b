"""Starts held on behalf of the privileged part: which files are guarded, and what came of it.

Guarded is each file that a running process has mapped and that a patch in force is for, and each of root's files that
was so before this host started. The work is done by a child (`hold.py`). Where the kernel cannot hold starts, the looks
at all processes are what is left, and the state says so.
"""

from __future__ import annotations

import select
import time
from collections.abc import Iterable, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from suture.agent import hold, kept
from suture.agent.hand import Hand, no_holder
from suture.agent.hold import GuardedBuild, HeldStart, HoldNews, HoldOrder, LineOfJson, WatchedFile
from suture.agent.journal import Journal
from suture.agent.policy import Chosen, Policy
from suture.agent.register import Register
from suture.error import SutureError
from suture.patch.statement import file_name
from suture.process.see.find import Found
from suture.report.agent import PatchInForce
from suture.report.encoding import NoDocument
from suture.report.moment import now as moment_text
from suture.report.patch import PatchKind
from suture.report.reason import Cause, Reason
from suture.report.start import GuardedFile, StartCover, StartEnd, StartsCovered

STARTS = "starts.json"
NOTHING = StartsCovered(StartCover.NOT_NEEDED, None, (), "", 0, 0, 0, 0, 0)
_AGAIN_SECONDS, _UNABLE_SECONDS = 5.0, 600.0
_ORDER_SECONDS = 2.0
_KEEP_SECONDS = 60.0
_MOST_FILES = 4096


@dataclass
class _Child:
    pid: int
    line: LineOfJson
    order: HoldOrder
    news: HoldNews | None = None


class StartGuard:
    """For the folder of a register, which has the patches and remembers the files. `hand` starts the child and ends
    it. `is_told`: whether starts that cannot be held are told of."""

    def __init__(self, register: Register, journal: Journal, hand: Hand, *, is_told: bool = False) -> None:
        self._register, self._journal, self._hand = register, journal, hand
        self._instead = StartCover.TOLD if is_told else StartCover.LOOKED_AT
        before = read(register.folder)
        self._remembered = {(f.path, f.build_id) for f in before.files} if before else set()
        self._child: _Child | None = None
        self._wanted = HoldOrder(0, (), (), Chosen(), Chosen())
        self._again_at = 0.0
        self._starts: list[HeldStart] = []
        self.state = NOTHING
        self._kept, self._kept_at = before, 0.0

    def fileno(self) -> int:
        """What can be read when there are news, -1 for nothing."""
        return self._child.line.socket.fileno() if self._child else -1

    def is_tracer(self, pid: int) -> bool:
        """Whether a process is the one that holds starts."""
        return self._child is not None and self._child.pid == pid

    def watch(self, rows: Iterable[PatchInForce], found: Sequence[Found], own: Policy) -> None:
        """Guard, from when this returns, the files that these patches are for."""
        by_build: dict[str, list[PatchInForce]] = {}
        taken = [
            r for r in rows if r.offer.kind is PatchKind.PROCESS and not r.held and own.takes_package(r.offer.source)
        ]
        replaced = {patch for row in taken for patch in row.offer.replaces}
        for row in taken:
            if row.offer.patch not in replaced:
                by_build.setdefault(row.offer.build_id, []).append(row)
        builds = tuple(
            GuardedBuild(b, tuple(file_name(r.offer) for r in rs), tuple(r.offer.patch for r in rs))
            for b, rs in sorted(by_build.items())
        )
        self._wanted = HoldOrder(0, builds, tuple(self._files(by_build.keys(), found)), own.include, own.exclude)
        if not builds:
            self._end()
            self._tell(NOTHING)
        elif self._child is None:
            if time.monotonic() >= self._again_at:
                self._begin()
        elif _meant(self._child.order) != _meant(self._wanted):
            self._order(self._child)

    def _files(self, build_ids: Set[str], found: Sequence[Found]) -> list[WatchedFile]:
        rows: dict[str, WatchedFile] = {}
        for process in found:
            for image in process.images:
                key = f"{image.device.decode()} {image.inode}"
                if image.is_deleted or image.build_id not in build_ids or key in rows or len(rows) >= _MOST_FILES:
                    continue
                mapping = next(
                    (m for m in process.maps.mappings if m.inode == image.inode and m.device == image.device), None
                )
                if mapping is not None:
                    name = f"/proc/{process.via}/map_files/{mapping.start:x}-{mapping.end:x}"
                    rows[key] = WatchedFile(name, image.path, image.build_id, key)
        shown = {w.shown for w in rows.values()}
        unsure = [(p, b) for p, b in sorted(self._remembered) if b in build_ids and p not in shown]
        return [*rows.values(), *(WatchedFile(path, path, build, "") for path, build in unsure)]

    def _begin(self) -> None:
        try:
            pid, line = self._hand.begin_holding()
        except SutureError as problem:
            self._unable(problem.cause)
            return
        except OSError as problem:
            self._unable(no_holder(problem))
            return
        self._child = _Child(pid, LineOfJson(line), self._wanted)
        self._order(self._child)

    def _order(self, child: _Child) -> None:
        """Send what is wanted and wait until it is so."""
        child.order = replace(self._wanted, number=child.order.number + 1)
        until = time.monotonic() + _ORDER_SECONDS
        try:
            child.line.socket.settimeout(_ORDER_SECONDS)
            child.line.socket.sendall(child.line.put(child.order))
            child.line.socket.settimeout(None)
        except OSError:
            self._lost("it does not take orders")
            return
        while self._child is child and (child.news is None or child.news.number < child.order.number):
            left = until - time.monotonic()
            if left <= 0:
                self._lost("it does not answer")
                return
            select.select([child.line.socket], [], [], left)
            self._hear(child)

    def _hear(self, child: _Child) -> None:
        try:
            lines = child.line.come()
            for line in lines:
                self._note(child, hold.read_line(HoldNews, line))
        except EOFError:
            if child.news is not None and child.news.problem is not None:
                self._end()
                self._unable(child.news.problem)
            else:
                self._lost("it has ended")
        except (NoDocument, ValueError) as problem:
            self._lost(str(problem))

    def _note(self, child: _Child, news: HoldNews) -> None:
        """Count what has happened; tell what changed."""
        before, child.news = child.news, news
        ends = [s.end for s in news.starts]
        state = self.state
        if news.number == child.order.number and (before is None or before.number != news.number):
            patches = {b.build_id: b.patches for b in child.order.builds}
            guarded = [child.order.files[n] for n in news.guarded]
            files = tuple(GuardedFile(w.shown, w.build_id, i) for w in guarded for i in patches[w.build_id])
            since = state.since if state.cover is StartCover.HELD else moment_text()
            state = replace(state, cover=StartCover.HELD, why=None, files=files, since=since)
        let_go = news.let_go - (before.let_go if before else 0)
        state = replace(
            state,
            patched=state.patched + ends.count(StartEnd.PATCHED) + news.untold_patched,
            not_loaded=state.not_loaded + ends.count(StartEnd.NOT_LOADED) + news.untold_not_loaded,
            failed=state.failed + ends.count(StartEnd.FAILED),
            executed=state.executed + ends.count(StartEnd.EXECUTED),
            let_go=state.let_go + max(let_go, 0),
        )
        self._starts += news.starts
        if news.problem is None:
            self._tell(state)

    def take(self) -> list[HeldStart]:
        """What came of starts since; begins anew what has ended."""
        if self._child is not None:
            self._hear(self._child)
        if self._child is None and self.state.cover is self._instead and time.monotonic() >= self._again_at:
            self._begin()
        if time.monotonic() >= self._kept_at + _KEEP_SECONDS:
            self._keep()
        found, self._starts = self._starts, []
        return found

    def _tell(self, state: StartsCovered) -> None:
        before, self.state = self.state, state
        if (before.cover, before.why, before.files) == (state.cover, state.why, state.files):
            return
        if state.cover is StartCover.HELD:
            paths = ", ".join(sorted({f.path for f in state.files})) or "no file yet"
            self._journal.tell_change("starts are held", paths)
        elif state.why is not None:
            self._journal.tell_change("starts are not held", f"{state.why.text} ({state.why.remedy})")
        self._remembered |= {(f.path, f.build_id) for f in state.files}
        self._keep()

    def _keep(self) -> None:
        """For `suture agent status`, and for the next time that this host starts."""
        self._kept_at = time.monotonic()
        if self.state != self._kept:
            with suppress(OSError):  # of a full disk others tell
                kept.write_value(self._register.folder / STARTS, self.state)
                self._kept = self.state

    def _lost(self, why: str) -> None:
        self._end()
        self._again_at = time.monotonic() + _AGAIN_SECONDS
        what = f"what holds starts is not there: {why}"
        self._tell(replace(self.state, cover=self._instead, why=Cause(Reason.DEFECT, what, "it begins anew")))

    def _unable(self, cause: Cause) -> None:
        self._again_at = time.monotonic() + _UNABLE_SECONDS
        self._tell(replace(self.state, cover=self._instead, why=cause))

    def close(self) -> None:
        """Hold no start any more."""
        self._end()

    def _end(self) -> None:
        if self._child is not None:
            child, self._child = self._child, None
            self._hand.end_holding(child.pid)
            child.line.socket.close()


def read(folder: Path) -> StartsCovered | None:
    """What was kept in a register's folder; none where there is nothing."""
    return kept.read_value(folder / STARTS, StartsCovered)


def _meant(order: HoldOrder) -> tuple[object, ...]:
    """What an order says, whatever names its files have now."""
    return order.builds, {(w.shown, w.build_id, w.key) for w in order.files}, order.include, order.exclude
