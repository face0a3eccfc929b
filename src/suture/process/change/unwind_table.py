"""Making the unwind tables of live patches known to the C++ runtime of a process.

The runtime is libgcc's: one exported function finds the tables for a program counter. The first patch with tables
diverts it to its finder (patch/finder.py); each later one goes into the chain behind the first, by one write of a word.
Nothing is ever taken out: frames of a reverted patch may live on. So an applier may die between any two writes, and a
fork inherits all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from suture.error import Refused
from suture.number import NOWHERE, Address
from suture.patch import finder, link
from suture.patch.finder import HOOK_SIZE
from suture.patch.record import Record
from suture.patch.x86_64 import PAGE
from suture.process.change.transition import Step, Transition
from suture.process.memory import memory
from suture.process.memory.loader import definitions
from suture.process.memory.placed import Placed, Read
from suture.process.stack.stack import Range
from suture.process.tracee import Tracee
from suture.refusal import RESTART
from suture.report.reason import Reason

_FIND, _RAISE = "_Unwind_Find_FDE", "_Unwind_RaiseException"


@dataclass(frozen=True)
class CxxRuntime:
    """The unwinder of one process.

    A hook at `function` + `entry` displaces the instructions `displaced`; `chain` are the patches that it knows, in the
    order in which they are asked.
    """

    function: Address
    entry: int
    displaced: bytes
    chain: tuple[Record, ...]

    def knows(self, record: Record) -> bool:
        return any(r.base == record.base for r in self.chain)

    def for_link(self, following: Address) -> link.Runtime:
        return link.Runtime(self.function, self.entry, self.displaced, following)


def find_runtime(tracee: Tracee, placed: Sequence[Placed], dynamic: Address = NOWHERE) -> CxxRuntime | None:
    """The unwinder that exceptions in an image use (`dynamic` is its dynamic section), None when there is none. Raises
    Refused for one that can't be told."""
    found = definitions(tracee, (_FIND, _RAISE), dynamic)
    if not found[_RAISE]:
        return None
    finds = [(owner, address) for owner, address in found[_FIND]]
    if len({address for _, address in finds}) != 1 or finds[0][0] != found[_RAISE][0][0]:
        raise Refused(
            f"pid {tracee.pid}: exceptions do not go through libgcc's unwinder alone, so that new code cannot be "
            "made known",
            RESTART,
            reason=Reason.UNWINDER,
        )
    function = finds[0][1]
    return _runtime(tracee, function, [p.record for p in placed if p.record.unwinding is not None])


def _runtime(tracee: Tracee, function: Address, records: Sequence[Record]) -> CxxRuntime:
    code = memory.read(tracee.via, function, 64)
    first = 4 if code.startswith(b"\xf3\x0f\x1e\xfa") else 0
    target = finder.hook_target(code[first:])
    if target is None:
        try:
            entry, size = finder.entry_of(code)
        except finder.Unmovable as problem:
            raise Refused(
                f"pid {tracee.pid}: the unwinder of its C++ runtime begins in a way that is not known ({problem})",
                RESTART,
                reason=Reason.UNWINDER,
            ) from problem
        start = function + entry
        if start // PAGE != (start + HOOK_SIZE - 1) // PAGE:
            raise Refused(
                f"pid {tracee.pid}: the unwinder of its C++ runtime lies across a page's end",
                RESTART,
                reason=Reason.UNWINDER,
            )
        return CxxRuntime(function, entry, code[entry : entry + size], ())
    chain = _chain(tracee, Address(target), records)
    displaced = _displaced(tracee, chain, function + first) if chain else None
    if displaced is None:
        raise Refused(
            f"pid {tracee.pid}: the unwinder of its C++ runtime is diverted, and not by a patch that is here",
            RESTART,
            reason=Reason.UNWINDER,
        )
    return CxxRuntime(function, first, displaced, chain)


def _chain(tracee: Tracee, target: Address, records: Sequence[Record]) -> tuple[Record, ...]:
    """The patches that are asked one after the other; empty when somebody else's code is among them."""
    by_finder = {r.unwinding.finder: r for r in records if r.unwinding is not None}
    found: list[Record] = []
    while len(found) <= len(records):
        record = by_finder.get(target)
        if record is None or record.unwinding is None:
            return ()
        found.append(record)
        target = _word(tracee, record.unwinding.following)
        if target == record.unwinding.continuation:
            return tuple(found)
    return ()


def _displaced(tracee: Tracee, chain: Sequence[Record], start: int) -> bytes | None:
    unwinding = chain[-1].unwinding
    assert unwinding is not None
    code = memory.read(tracee.via, unwinding.continuation, finder.CONTINUATION_SIZE)
    return finder.displaced_by(code, start)


def _word(tracee: Tracee, address: Address) -> Address:
    return Address(int.from_bytes(memory.read(tracee.via, address, 8), "little"))


@dataclass(frozen=True)
class Registration(Transition):
    """Makes one patch's tables known to the runtime; it changes no function of the target."""

    writes: tuple[tuple[Address, bytes, bytes, str], ...] = ()  # address, bytes that are there, bytes to write, what

    def steps(self, read: Read) -> list[Step]:
        return [Step(address, data, what) for address, _, data, what in self.writes]

    def expected(self) -> list[tuple[Address, bytes]]:
        return [(address, now) for address, now, _, _ in self.writes]


def following_of(tracee: Tracee, runtime: CxxRuntime) -> Address:
    """The finder that a patch which is new in the chain goes on to; 0 when it is the first."""
    head = runtime.chain[0].unwinding if runtime.chain else None
    if head is None:
        return Address(0)
    after = _word(tracee, head.following)
    return Address(0) if after == head.continuation else after


def registration(tracee: Tracee, runtime: CxxRuntime, record: Record, is_placed: bool) -> Registration | None:
    """What makes a patch known, None when it is. `is_placed`: its memory is there from an earlier time."""
    own = record.unwinding
    if own is None or runtime.knows(record):
        return None
    writes = []
    after = following_of(tracee, runtime) or own.continuation
    if is_placed and (now := _word(tracee, own.following)) != after:
        writes.append((own.following, _bytes(now), _bytes(after), "unwind tables: the next finder"))
    head = runtime.chain[0].unwinding if runtime.chain else None
    if head is not None:
        now = _word(tracee, head.following)
        writes.append((head.following, _bytes(now), _bytes(own.finder), "unwind tables: into the chain"))
        return Registration(("unwind tables",), Address(0), True, (), (), writes=tuple(writes))
    start = Address(runtime.function + runtime.entry)
    hook = finder.encode_hook(own.finder)
    writes.append((start, runtime.displaced[:HOOK_SIZE], hook, "unwind tables: divert the C++ runtime"))
    inside = Range(start + 1, start + len(runtime.displaced), 0, f"{_FIND} (its first instructions)")
    return Registration(("unwind tables",), Address(0), True, (), (inside,), writes=tuple(writes))


def _bytes(word: int) -> bytes:
    return word.to_bytes(8, "little")
