"""Carrying out transitions: stop, look, write, resume; and again later for those whose functions are in use.

The process is never held while waiting. A stop that finds a thread inside costs one short pause; the next comes after a
growing delay.
"""

from __future__ import annotations

import gc
import os
import time
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace

from suture.number import Address
from suture.process import syscall, x86_64
from suture.process.change.transition import Step, Transition
from suture.process.error import NotStopped, WrongTarget
from suture.process.memory.gadget import find_gadgets
from suture.process.memory.maps import Maps, open_maps, read_raw
from suture.process.memory.placed import reader
from suture.process.stack.coroutine import SuspendedStacks
from suture.process.stack.elsewhere import Elsewhere, all_in_the_way
from suture.process.stack.frame import FrameRow, NoFrame
from suture.process.stack.resident import Resident
from suture.process.stack.stack import (
    ELSEWHERE,
    NO_THREAD,
    OTHER_WAYS,
    Forbidden,
    Hit,
    Snapshot,
    StackMap,
    StackUnknown,
)
from suture.process.stack.unwind import Unwinder, frames, thread_registers
from suture.process.stop.borrow import OnStep, no_step
from suture.process.stop.catch import MOST_THREADS, Exit, caught
from suture.process.stop.stop import Seizure
from suture.process.tracee import Tracee, command_name
from suture.process.urgency import keep_to_hurry
from suture.report.reason import Cause, Reason

_FIRST_DELAY, _LONGEST_DELAY = 0.001, 0.25
_MOST_NESTED = 64
_STOPS_BEFORE_CATCHING = 5
_CATCH_SECONDS = 1.0  # after which it is looked anew where the threads are
_SMALLEST_STACK = 2048  # MINSIGSTKSZ
_REMAINS = f"try again; if the word stays there, {OTHER_WAYS}"


@dataclass(frozen=True)
class Outcome:
    """What came of some transitions. `waiting` gives for each that was not done why; `hits` who was in the way in the
    last stop. Pauses in microseconds."""

    done: tuple[Transition, ...]
    waiting: tuple[tuple[Transition, Cause], ...]
    pauses_us: tuple[float, ...]
    foreign_stacks: int
    threads: int
    suspended_stacks: int = 0
    hits: tuple[Hit, ...] = ()


@dataclass
class _Work:
    """Everything that a stop needs, made before it."""

    transitions: Sequence[Transition]
    steps: list[list[Step]]
    forbidden: Forbidden
    expected: bytes
    expected_at: array[int]
    present: bytearray = field(default_factory=bytearray)


def carry_out(
    tracee: Tracee,
    transitions: Sequence[Transition],
    bodies: Sequence[tuple[Address, bytes]],
    *,
    timeout: float,
    on_step: OnStep = no_step,
    suspends: Sequence[range] = (),
) -> Outcome:
    """Do all transitions that can be done within `timeout` seconds.

    `bodies` are (address, bytes) of code that must still be there in the stop; `suspends` the functions that suspended
    coroutines stand in. Raises WrongTarget when a body is not there any more, and what a `Seizure` raises; whatever is
    raised, each transition is wholly done or not at all.
    """
    deadline = time.monotonic() + timeout
    snapshot = Snapshot()
    unwinder = Unwinder(tracee.via)
    waiting = [(t, Cause(Reason.BUSY_NOT_TRIED, "not tried")) for t in transitions]
    done: list[Transition] = []
    pauses: list[float] = []
    foreign = threads = attempts = 0
    exits: dict[int, Exit] = {}
    last: tuple[Hit, ...] = ()
    delay = _FIRST_DELAY
    with ExitStack() as kept:
        kept.callback(snapshot.give_back)
        mem = tracee.memory
        maps_fd = open_maps(tracee.via)
        kept.callback(os.close, maps_fd)
        resident = Resident(tracee.via)
        kept.callback(resident.close)
        suspended = SuspendedStacks(resident, unwinder, suspends)
        kept.callback(suspended.close)
        elsewhere = Elsewhere(resident, not suspends)
        while waiting:
            keep_to_hurry()
            ours = {c.old for t in done for c in t.changes}  # their entries have changed, by us
            maps = Maps(read_raw(tracee.pid, maps_fd))
            returns = find_gadgets(tracee.via, maps).returns
            work = _prepare(tracee, [t for t, _ in waiting], [b for b in bodies if b[0] not in ours], returns)
            stackmap = StackMap(maps)
            unwinder.follow(maps)
            suspended.follow(maps)
            snapshot.make_ready()
            try:
                elsewhere.follow(maps)
                found = elsewhere.search(maps, suspended.starts, work.forbidden)
                if all_in_the_way(found, len(waiting)) and any(t.changes for t, _ in waiting):
                    hits = _by_owner(work, found)  # a pause would be in vain
                else:
                    attempts += 1
                    ways = exits if attempts > _STOPS_BEFORE_CATCHING and any(t.changes for t, _ in waiting) else {}
                    with _caught(tracee, ways, deadline) as held:
                        hits, foreign, threads, pause, exits = _one_stop(
                            tracee,
                            work,
                            snapshot,
                            stackmap,
                            suspended,
                            elsewhere,
                            unwinder,
                            mem,
                            maps_fd,
                            on_step,
                            held,
                        )
                    pauses.append(pause)
                last = tuple(h for row in hits for h in row)
                done += [t for t, h in zip(work.transitions, hits, strict=True) if not h]
                waiting = [
                    (t, Cause(Reason.BUSY_ON_STACK, describe(tracee, h, maps), _remedy(h)))
                    for t, h in zip(work.transitions, hits, strict=True)
                    if h
                ]
            except (NotStopped, StackUnknown) as problem:
                lasts = isinstance(problem, StackUnknown) and problem.lasts
                reason = Reason.BUSY_NOT_STOPPED if isinstance(problem, NotStopped) else Reason.BUSY_STACK_UNKNOWN
                reason = Reason.STACKS_UNSEARCHABLE if lasts else reason
                remedy = "" if isinstance(problem, NotStopped) else problem.remedy
                cause = Cause(reason, f"{_thread(tracee, problem.tid)} {problem.why}", remedy)
                waiting = [(t, cause) for t, _ in waiting]
                last = ()
                if lasts:
                    break
            except WrongTarget:
                tracee.check_same()  # the code may be another program's
                raise
            if not waiting or time.monotonic() + delay > deadline:
                break
            time.sleep(delay)
            delay = min(delay * 2, _LONGEST_DELAY)
            tracee.check_same()
    return Outcome(tuple(done), tuple(waiting), tuple(pauses), foreign, threads, suspended.searched, last)


@contextmanager
def _caught(tracee: Tracee, exits: Mapping[int, Exit], deadline: float) -> Iterator[frozenset[int]]:
    seconds = min(deadline - time.monotonic(), _CATCH_SECONDS)
    if not 0 < len(exits) <= MOST_THREADS or seconds <= 0:
        yield frozenset()
        return
    with caught(tracee, exits, seconds) as held:
        yield held


def _by_owner(work: _Work, found: Sequence[Hit]) -> list[list[Hit]]:
    hits: list[list[Hit]] = [[] for _ in work.transitions]
    for hit in found:
        hits[hit.range.owner].append(hit)
    return hits


def _prepare(
    tracee: Tracee, transitions: Sequence[Transition], bodies: Sequence[tuple[Address, bytes]], returns: Sequence[int]
) -> _Work:
    read = reader(tracee.via)
    expected = [*bodies, *(row for t in transitions for row in t.expected())]
    at = array("Q", [v for address, code in expected for v in (address, len(code))])
    wanted = b"".join(code for _, code in expected)
    ranges = [replace(r, owner=n) for n, t in enumerate(transitions) for r in t.forbidden]
    return _Work(
        transitions,
        [t.steps(read) for t in transitions],
        Forbidden(ranges, returns),
        wanted,
        at,
        bytearray(len(wanted)),
    )


def _one_stop(
    tracee: Tracee,
    work: _Work,
    snapshot: Snapshot,
    stackmap: StackMap,
    suspended: SuspendedStacks,
    elsewhere: Elsewhere,
    unwinder: Unwinder,
    mem: int,
    maps_fd: int,
    on_step: OnStep,
    held: Iterable[int] = (),
) -> tuple[list[list[Hit]], int, int, float, dict[int, Exit]]:
    """One pause. Returns for each transition what is in its way (nothing: it is done), foreign stacks, threads,
    microseconds, and where the threads that are in the way will be when they have left, if that is known of all. `held`
    are threads that stand still."""
    base = syscall.address_of(work.present)
    pid = tracee.via
    hits: list[list[Hit]] = [[] for _ in work.transitions]
    collecting = gc.isenabled()
    gc.disable()
    try:
        with syscall.signals_held(), Seizure(tracee, held) as seizure:
            on_step("seized")
            seizure.stop()
            on_step("stopped")
            got = syscall.process_vm_readv_into(pid, base, work.expected_at)
            if got != len(work.expected) or work.present != work.expected:
                raise _changed(tracee, work, got)
            foreign, by_itself = _read_stacks(tracee, seizure, snapshot, stackmap, work.forbidden, maps_fd)
            if by_itself:
                elsewhere.suspect()
            found = snapshot.search(seizure.tids, seizure.registers, work.forbidden)
            must_know = found or elsewhere.may_switch or suspended.needs_map()
            now = Maps(read_raw(tracee.pid, maps_fd)) if must_know else None
            resting = suspended.search(now, seizure.tids, seizure.registers, work.forbidden, foreign)
            if now is not None:
                resting += elsewhere.search(now, suspended.starts, work.forbidden)
            # what the unwinder knows is of the mappings as they were before the stop
            doubtful = None
            if found and now is not None and now.raw == stackmap.raw:
                doubtful = _Doubts(found, seizure, snapshot, unwinder, elsewhere.may_switch)
            hits = _by_owner(work, [*(doubtful.real_hits(work.forbidden) if doubtful else found), *resting])
            for steps, in_the_way in zip(work.steps, hits, strict=True):
                if not in_the_way:
                    for step in steps:
                        _write(tracee, mem, step)
                        on_step(step.what)
            threads = len(seizure.tids)
    finally:
        if collecting:
            gc.enable()
    on_step("resumed")
    if doubtful:
        doubtful.learn(work.forbidden)
    suspended.learn()
    inside = {h.tid for row in hits for h in row}
    exits = doubtful.exits if doubtful and inside <= doubtful.exits.keys() else {}
    return hits, foreign, threads, seizure.paused_ns / 1000, exits


def _write(tracee: Tracee, mem: int, step: Step) -> None:
    if step.also:
        with suppress(OSError):  # then one after the other: all threads stand still
            syscall.process_vm_writev(tracee.via, ((step.address, step.data), *step.also))
    for address, data in ((step.address, step.data), *step.also):
        if os.pwrite(mem, data, address) != len(data):
            raise WrongTarget(
                f"pid {tracee.pid}: {step.what}: cannot be written", "see its maps", reason=Reason.MEMORY_UNWRITABLE
            )


def _read_stacks(
    tracee: Tracee, seizure: Seizure, snapshot: Snapshot, stackmap: StackMap, forbidden: Forbidden, maps_fd: int
) -> tuple[int, bool]:
    """Inside the stop: read all stacks; how many threads are on foreign ones, and whether one got there without a
    signal. Raises StackUnknown.

    The quick way needs no map. Where it does not fit, the map must be of this moment, and reading it takes a third of
    the pause.
    """
    tids, registers = seizure.tids, seizure.registers
    stacks = stackmap.below_control_blocks(tracee.pid, tids, registers)
    if stacks is not None:
        try:
            snapshot.read(tracee.via, stacks)
        except StackUnknown:
            stacks = None
    if stacks is not None and not snapshot.signal_frames(tids, registers, forbidden):
        return 0, False
    raw = read_raw(tracee.pid, maps_fd)
    if raw != stackmap.raw:
        stackmap = StackMap(Maps(raw))
    stacks = stackmap.stacks(tracee.pid, tids, registers)
    away = stacks.foreign
    snapshot.read(tracee.via, stacks)
    for _ in range(_MOST_NESTED):
        signals = snapshot.signal_frames(tids, registers, forbidden)
        more = stackmap.interrupted(stacks, signals)
        if not more:
            return len(stacks.foreign), not away <= {tid for tid, _, here in signals if here}
        stacks = stacks.with_more(more)
        snapshot.read(tracee.via, stacks)
    raise StackUnknown(tracee.pid, "has signal frames that lead to one another without end")


class _Doubts:
    """Words that look like a thread inside forbidden code: unwinding tells which are only remains of earlier calls."""

    def __init__(
        self, hits: Sequence[Hit], seizure: Seizure, snapshot: Snapshot, unwinder: Unwinder, may_switch: bool
    ) -> None:
        self._may_switch = may_switch
        self._by_thread: dict[int, list[Hit]] = {}
        for hit in hits:
            self._by_thread.setdefault(hit.tid, []).append(hit)
        self._words = {
            tid: list(seizure.registers[i * x86_64.WORDS : (i + 1) * x86_64.WORDS])
            for i, tid in enumerate(seizure.tids)
            if tid in self._by_thread
        }
        self._snapshot, self._unwinder = snapshot, unwinder
        self._unknown: list[int] = []
        self.exits: dict[int, Exit] = {}

    def real_hits(self, forbidden: Forbidden) -> list[Hit]:
        """Inside the stop. What cannot be dismissed by rows known so far stays."""
        real: list[Hit] = []
        for tid, hits in self._by_thread.items():
            if not all(not h.address or self._snapshot.on_present_stack(h) for h in hits):
                real += hits
                continue
            try:
                found = self._frames(tid, self._unwinder.known_row)
            except NoFrame:
                self._unknown.append(tid)
                real += hits
                continue
            real += [h for h in hits if h.address and self._may_be_a_stack(h.address, [sp for _, sp in found])]
            real += [Hit(tid, 0, pc, r) for pc, _ in found for r in forbidden.holding(pc)]
            self._note_exit(tid, found, forbidden)
        return real

    def _frames(self, tid: int, row_of: Callable[[int], FrameRow]) -> list[tuple[int, int]]:
        return frames(thread_registers(self._words[tid]), row_of, self._snapshot.word_reader(tid))

    def _note_exit(self, tid: int, found: Sequence[tuple[int, int]], forbidden: Forbidden) -> None:
        inside = [n for n, (pc, _) in enumerate(found) if forbidden.holding(pc)]
        if inside and inside[-1] + 1 < len(found):
            self.exits[tid] = Exit(*found[inside[-1] + 1])

    def _may_be_a_stack(self, address: int, frames: Sequence[int]) -> bool:
        """Whether a word that is no return address of the thread's may be one on a stack of its own: one that lies
        above the outermost frame, or inside a frame with room for one, where the process may leave a stack."""
        if address >= frames[-1]:
            return True
        at = bisect_right(frames, address)
        return self._may_switch and at > 0 and frames[at] - frames[at - 1] >= _SMALLEST_STACK

    def learn(self, forbidden: Forbidden) -> None:
        """After the stop: look up the rows that were missing."""
        for tid in self._unknown:
            with suppress(NoFrame):
                self._note_exit(tid, self._frames(tid, self._unwinder.row), forbidden)


def _changed(tracee: Tracee, work: _Work, got: int) -> WrongTarget:
    at = next((i for i, (a, b) in enumerate(zip(work.present, work.expected, strict=True)) if a != b), got)
    sizes = work.expected_at[1::2]
    for address, size in zip(work.expected_at[::2], sizes, strict=True):
        if at < size:
            return WrongTarget(
                f"pid {tracee.pid}: the code at {address + at:#x} changed meanwhile, or is gone",
                "try again; if it stays so, see what else writes to this process",
                reason=Reason.CODE_CHANGED,
            )
        at -= size
    return WrongTarget(f"pid {tracee.pid}: its code changed meanwhile", "try again", reason=Reason.CODE_CHANGED)


def _remedy(hits: Sequence[Hit]) -> str:
    """What to do where trying again may not be enough: a word in memory may be all that is left of a stack."""
    return _REMAINS if any(h.tid == ELSEWHERE for h in hits) else ""


def describe(tracee: Tracee, hits: Sequence[Hit], maps: Maps) -> str:
    """One line for people: which threads are inside which functions, and where a word leads into one."""
    seen = {(h.tid, h.range.what): Address(h.address) for h in hits}
    words = [
        f"{_thread(tracee, tid)} is in {what}"
        if tid != ELSEWHERE
        else (
            f"the word at {address:#x}{_place(maps, address)} leads into {what} (a suspended stack, or what is left "
            "of one)"
        )
        for (tid, what), address in list(seen.items())[:3]
    ]
    more = f" and {len(seen) - 3} more" if len(seen) > 3 else ""
    return ", ".join(words) + more


def _place(maps: Maps, address: Address) -> str:
    mapping = maps.at(address)
    return f" ({mapping.path})" if mapping is not None and mapping.name else ""


def _thread(tracee: Tracee, tid: int) -> str:
    if tid == NO_THREAD:
        return "a suspended stack (coroutine)"
    if tid == ELSEWHERE:
        return "a suspended stack"
    name = command_name(tid)
    return f"thread {tid} ({name})" if name else f"thread {tid}"
