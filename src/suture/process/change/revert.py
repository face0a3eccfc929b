"""Reverting a live patch in one process, or going back to an earlier one."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping as Table
from collections.abc import Sequence

from suture.error import Refused, SutureError, Unsupported
from suture.number import Address
from suture.patch.link import Linked
from suture.patch.record import Record
from suture.process.change.held import settle, switched, to_be_changed
from suture.process.change.prepared import Prepared, is_for, is_in_force
from suture.process.change.present import Present
from suture.process.change.replacement import refuse_third
from suture.process.change.result import Result, joined
from suture.process.change.together import switched_together
from suture.process.change.transition import Aim, plan
from suture.process.error import Busy, NotCarried, WrongTarget
from suture.process.memory import memory
from suture.process.memory.companion import companions
from suture.process.memory.image import Image, images
from suture.process.memory.maps import read_maps
from suture.process.memory.placed import (
    Placed,
    Remains,
    Route,
    State,
    find_placed,
    reader,
    routes,
)
from suture.process.stop.borrow import OnStep, no_step
from suture.process.tracee import Sharers, Tracee
from suture.process.x86_64 import require_machine
from suture.refusal import CHANGED_BY_OTHERS
from suture.report.reason import Reason


def revert(
    pid: int,
    patch_id: str,
    *,
    to: str = "",
    timeout: float = 10.0,
    on_step: OnStep = no_step,
    population: Sharers | None = None,
) -> Result:
    """Give the old functions their own code back, or that of the patch `to`, which the process carries from an earlier
    time. The patch's memory stays: a pointer into it may be anywhere. Patches that were applied together with it are
    reverted in the same stop (`Result.companions`).

    Needs no patch file. Raises Refused when the patch is not there or another has taken its place, Busy as `apply`
    does.
    """
    require_machine()
    started = time.monotonic()
    with to_be_changed(pid, timeout, population) as tracee:
        maps = read_maps(tracee.via)
        placed, remains = find_placed(tracee.via, maps)
        present = images(tracee.via, maps)
        mine = [p for p in placed if p.record.id == patch_id and any(is_for(p.record, i) for i in present)]
        if not mine:
            raise NotCarried(
                f"pid {pid}: does not carry the patch {patch_id}",
                f"see what it carries: suture status {pid}",
                reason=Reason.NOT_CARRIED,
            )
        settle(tracee, maps, timeout, on_step)
        joint = _companions(tracee, patch_id, placed, present)
        if len(joint) > 1:
            if to:
                raise _refuse_half(pid, patch_id, joint)
            rows = [
                Present(_prepared(tracee, image, one, "", [p for p in placed if is_for(p.record, image)], remains))
                for one in joint
                for image in present
                if any(is_for(p.record, image) for p in placed if p.record.id == one)
            ]
            return switched_together(tracee, rows, max(0.0, started + timeout - time.monotonic()), on_step, started)
        results: list[tuple[Image, Result]] = []
        problems: list[tuple[Image, SutureError]] = []
        for image in (i for i in present if any(is_for(p.record, i) for p in mine)):
            here = [p for p in placed if is_for(p.record, image)]
            left = max(0.0, started + timeout - time.monotonic())
            try:
                results.append(
                    (image, _revert_from(tracee, image, patch_id, to, here, remains, left, on_step, started))
                )
            except (Busy, Refused, Unsupported, WrongTarget) as problem:
                problems.append((image, problem))
        if not results:
            raise problems[0][1]
        if len(results) + len(problems) == 1:
            return results[0][1]
        records = {p.record.bias: p.record for p in mine}
        otherwise = State.REVERTED if to else State.APPLIED
        return joined(results, problems, lambda image: records[image.bias].groups, lambda image: otherwise)


def _revert_from(
    tracee: Tracee,
    image: Image,
    patch_id: str,
    to: str,
    here: Sequence[Placed],
    remains: Sequence[Remains],
    timeout: float,
    on_step: OnStep,
    started: float,
) -> Result:
    prepared = _prepared(tracee, image, patch_id, to, here, remains)
    return switched(tracee, prepared, timeout, on_step, started, False)


def _prepared(
    tracee: Tracee, image: Image, patch_id: str, to: str, here: Sequence[Placed], remains: Sequence[Remains]
) -> Prepared:
    """What leads back to the original code of one image, or to the patch `to`."""
    known = routes(here, reader(tracee.via))
    mine = [p for p in here if p.record.id == patch_id]
    # memory of the same patch may be there twice; the one that functions lead to counts
    chosen = next((p for p in mine if is_in_force(p.record, known)), mine[0])
    record = chosen.record
    if not to:
        _refuse_replaced(tracee.pid, record, known, here)
    aim = Aim(record, (), False)
    if to:
        chosen = _carried(tracee.pid, to, here)
        refuse_third(tracee.pid, chosen.record, record, known)
        aim = Aim(chosen.record, (record,), True)
    bodies = _untouched(tracee, chosen.record, known) if to else ()
    transitions = plan(aim, known, {p.record.id: p.record for p in here} | {record.id: record})
    nothing = Linked(b"", b"", chosen.record)
    return Prepared(image, nothing, chosen, tuple(remains), aim, tuple(here), known, bodies, tuple(transitions))


def _companions(tracee: Tracee, patch_id: str, placed: Sequence[Placed], present: Sequence[Image]) -> tuple[str, ...]:
    """The patch and those in force that were applied together with it."""
    read = reader(tracee.via)
    in_force = []
    for image in present:
        here = [p for p in placed if is_for(p.record, image)]
        known = routes(here, read)
        in_force += [p.record for p in here if is_in_force(p.record, known)]
    return (patch_id, *companions(patch_id, in_force))


def _refuse_half(pid: int, patch_id: str, joint: Sequence[str]) -> Refused:
    others = ", ".join(joint[1:])
    return Refused(
        f"pid {pid}: {patch_id} was applied together with {others}; going back with one alone leaves half of a fix",
        f"revert them, then apply the earlier patches: suture revert {patch_id} {pid}",
        reason=Reason.APPLIED_TOGETHER,
    )


def _carried(pid: int, identity: str, here: Sequence[Placed]) -> Placed:
    found = [p for p in here if p.record.id == identity]
    if len(found) != 1:
        twice = f"carries the patch {identity} more than once, and which of them to go back to is not certain"
        raise Refused(
            f"pid {pid}: {twice if found else f'does not carry the patch {identity}, so there is no going back to it'}",
            f"apply its file instead: suture apply FILE {pid} --replace",
            reason=Reason.AMBIGUOUS,
        )
    return found[0]


def _untouched(
    tracee: Tracee, record: Record, known: Table[Address, Route | None]
) -> tuple[tuple[Address, bytes], ...]:
    """The old code of a patch's functions, where it is in force. Raises WrongTarget when it is not what the patch was
    made for."""
    rows = []
    for f in record.functions:
        if (r := known.get(f.old)) is None or r.code != f.original:
            continue
        body = memory.read(tracee.via, f.old, f.size)
        if hashlib.sha256(body).hexdigest() != f.sha256:
            raise WrongTarget(
                f"pid {tracee.pid}: {f.name} at {f.old:#x} is not the code that {record.id} was made for",
                CHANGED_BY_OTHERS,
                reason=Reason.CODE_DIFFERS,
            )
        rows.append((f.old, body))
    return tuple(rows)


def _refuse_replaced(pid: int, record: Record, known: Table[Address, Route | None], here: Sequence[Placed]) -> None:
    owners = {r.owner for f in record.functions if (r := known.get(f.old)) is not None}
    others = owners - {"", record.id}
    if others and record.id not in owners:
        names = ", ".join(sorted(f"{p.record.id} ({p.record.name})" for p in here if p.record.id in others))
        raise Refused(
            f"pid {pid}: {record.id} was replaced by {names}",
            f"revert that one: suture revert {min(others)} {pid}",
            reason=Reason.REPLACED,
        )
