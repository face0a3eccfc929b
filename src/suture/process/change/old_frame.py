"""How many threads and coroutines are still in old code, after a relaxed patch has let them finish there.

Looking costs the process a few short pauses, as an apply that has to wait does; nothing is changed.
"""

from __future__ import annotations

from collections.abc import Iterable

from suture.number import Address
from suture.patch.record import PlacedFunction, Record
from suture.process.change.switch import carry_out
from suture.process.change.transition import Transition
from suture.process.stack.stack import Range
from suture.process.tracee import Tracee
from suture.report.patch import OldFrames

_SECONDS = 0.1


def old_frames(tracee: Tracee, record: Record) -> OldFrames:
    """Look who is in code that a patch in force has replaced. Raises AlreadyTraced, NoProcess, NoPermission,
    Unsupported."""
    ranges = tuple(_ranges(record))
    suspends = [range(s.old, s.old + s.size) for s in record.suspends]
    outcome = carry_out(tracee, [Transition((), Address(0), True, (), ranges)], [], timeout=_SECONDS, suspends=suspends)
    if not outcome.waiting:
        return OldFrames(0, 0, (), ())
    if not outcome.hits:
        return OldFrames(0, 0, (), (), outcome.waiting[0][1].text)
    names = {h.range.what for h in outcome.hits}
    functions = tuple(f.name for f in record.functions if f.name in names)
    return OldFrames(
        len({h.tid for h in outcome.hits if h.tid > 0}),
        len([h for h in outcome.hits if h.tid <= 0]),
        functions,
        tuple(f.name for f in record.functions if f.name in functions and f.endless),
    )


def _ranges(record: Record) -> Iterable[Range]:
    for group in record.groups:
        leader: PlacedFunction = group.functions[0]
        for f in group.functions:
            # the first byte is the function's address, which is stored in many places; the next ones are the jump to
            # the new code
            yield Range(f.old + f.entry + f.displaced, f.old + f.size, 0, f.name)
            yield Range(f.orig, f.orig + f.orig_size, 0, f.name)
        for part in group.parts:
            yield Range(part.old, part.old + part.size, 0, leader.name)
