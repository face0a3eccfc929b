"""Several patches of one process as one transition: all of their functions change, or none does.

One byte switches all functions whose stubs reach it. A binary that lies further away than a stub reaches (2 GiB: a
program and its libraries do) has a byte of its own; these bytes are written in one system call, between which and the
next nothing is done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from suture.error import Refused
from suture.number import Address
from suture.patch.x86_64 import reaches
from suture.process.change.transition import Phases, Step, Transition
from suture.process.memory.placed import Read
from suture.report.reason import Reason


@dataclass(frozen=True)
class Joint(Transition):
    """Transitions of binaries that are far from one another."""

    parts: tuple[Transition, ...] = ()

    def phases(self, read: Read) -> Phases:
        each = [p.phases(read) for p in self.parts]
        flips = [p.flip for p in each if p.flip is not None]
        flip = None
        if flips:
            also = tuple((f.address, f.data) for f in flips[1:])
            flip = Step(flips[0].address, flips[0].data, ", ".join(f.what for f in flips), also)
        return Phases(
            tuple(s for p in each for s in p.settle),
            tuple(s for p in each for s in p.prepare),
            tuple(s for p in each for s in p.divert),
            flip,
            tuple(s for p in each for s in p.finish),
        )


def together(pid: int, transitions: Sequence[Transition]) -> Transition | None:
    """One transition for all of these; None for none. Raises Refused where two would write the same entry."""
    if not transitions:
        return None
    _refuse_twice(pid, transitions)
    parts: list[Transition] = []
    # a transition that only takes functions out of another patch falls: it does not lead
    for one in sorted(transitions, key=lambda t: not (t.moving and t.rising)):
        near = next((n for n, part in enumerate(parts) if _reaches(part.switch, one)), None)
        if near is None:
            parts.append(one)
        else:
            parts[near] = _merged(parts[near], one)
    if len(parts) == 1:
        return parts[0]
    whole = parts[0]
    for part in parts[1:]:
        whole = _merged(whole, part)
    return Joint(
        whole.groups, whole.switch, whole.rising, whole.changes, whole.forbidden, whole.others, parts=tuple(parts)
    )


def _merged(leader: Transition, other: Transition) -> Transition:
    """Both by the leader's byte; the other's is only marked as used."""
    return replace(
        leader,
        groups=(*leader.groups, *other.groups),
        changes=(*leader.changes, *other.changes),
        forbidden=(*leader.forbidden, *other.forbidden),
        others=(*leader.others, *((other.switch,) if other.moving else ()), *other.others),
    )


def _reaches(switch: Address, transition: Transition) -> bool:
    return all(reaches(c.stub, switch) for c in transition.moving)


def _refuse_twice(pid: int, transitions: Sequence[Transition]) -> None:
    seen: dict[Address, str] = {}
    for change in (c for t in transitions for c in t.changes):
        if change.entry in seen:
            raise Refused(
                f"pid {pid}: two of the patches change {change.name}",
                "make one patch of both fixes: suture make --fix ONE --fix OTHER",
                reason=Reason.OVERLAP,
            )
        seen[change.entry] = change.name
