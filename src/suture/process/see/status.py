"""Which live patches a process carries and what is true of them: from its maps, records and code alone."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from suture.error import ExitCode, Unsupported
from suture.number import Address, Bias, BuildId
from suture.patch.record import PlacedFunction, Record
from suture.process.allowance import limited
from suture.process.error import AlreadyTraced, NoPermission
from suture.process.memory.companion import companions
from suture.process.memory.image import Image, images
from suture.process.memory.maps import Mapping as Mapped
from suture.process.memory.maps import Maps, read_maps
from suture.process.memory.placed import MARK, Placed, Remains, Route, State, find_placed, group_state, reader, routes
from suture.process.see.aside import each
from suture.process.see.find import Unread, hurried, through_living_thread
from suture.process.see.tripwires import counts
from suture.process.tracee import Tracee, command_name, list_processes
from suture.report.attempt import CountedWire
from suture.report.patch import OldFrames
from suture.report.reason import Cause, Reason


@dataclass(frozen=True)
class GroupStatus:
    """`effective` says how the process behaves when `state` is INTERRUPTED; else it is the same."""

    name: str
    functions: tuple[str, ...]
    state: State
    effective: State


@dataclass(frozen=True)
class PatchStatus:
    """One patch in one process. `why` explains a state that is not plain; `bias` is that of the image that it changes,
    of which a process may have several."""

    id: str
    name: str
    state: State
    build_id: BuildId
    file: str
    package: str
    version: str
    fixes: tuple[str, ...]
    cves: tuple[str, ...]
    notes: tuple[str, ...]
    groups: tuple[GroupStatus, ...]
    base: Address
    size: int
    bias: Bias
    why: Cause | None = None
    relaxed: str = ""
    old_frames: OldFrames | None = None  # of a relaxed patch that is in force
    companions: tuple[str, ...] = ()  # patches in force that were applied together with it


@dataclass(frozen=True)
class ProcessStatus:
    pid: int
    command: str
    patches: tuple[PatchStatus, ...]
    tripwires: tuple[CountedWire, ...] = ()


def status(pid: int) -> ProcessStatus:
    """The patches of one process. Raises NoProcess, NoPermission.

    With a relaxed patch in force the process is stopped for a moment, to see who is still in old code; otherwise it is
    only read.
    """
    with Tracee(pid) as tracee:
        maps = read_maps(tracee.via)
        patches = patches_of(tracee.via, maps)
        records = {p.record.base: p.record for p in find_placed(tracee.via, maps)[0]} if patches else {}
        tripwires = counts(tracee.via, records.values())
        if any(p.relaxed for p in patches):
            patches = [with_old_frames(tracee, p, records.get(p.base)) for p in patches]
        tracee.check_same()
    return ProcessStatus(pid, command_name(pid), tuple(patches), tripwires)


def with_old_frames(tracee: Tracee, patch: PatchStatus, record: Record | None) -> PatchStatus:
    """A relaxed patch in force with who is still in old code; any other as it is."""
    if record is None or not patch.relaxed or patch.state not in (State.APPLIED, State.PARTIAL):
        return patch
    from suture.process.change.old_frame import old_frames  # what stops a process: only here is it needed

    try:
        found = old_frames(tracee, record)
    except (AlreadyTraced, NoPermission, Unsupported) as problem:
        found = OldFrames(0, 0, (), (), problem.what)
    return replace(patch, old_frames=found)


def patches_of(pid: int, maps: Maps) -> list[PatchStatus]:
    """The patches whose memory is in `maps`. Of one whose memory is there twice, applied by itself and together with
    others, the one in force counts."""
    if MARK not in maps.raw:
        return []
    found = states_of(pid, *find_placed(pid, maps), images(pid, maps))
    in_force = {(s.id, s.bias) for s in found if _acts(s)}
    return [s for s in found if _acts(s) or not s.groups or (s.id, s.bias) not in in_force]


def states_of(
    pid: int, placed: Sequence[Placed], remains: Sequence[Remains], present: Sequence[Image]
) -> list[PatchStatus]:
    """What is true of each: first those of `placed`, in their order."""
    found = [_status(pid, p, placed, present) for p in placed]
    in_force = [p.record for p, s in zip(placed, found, strict=True) if _acts(s)]
    found = [replace(s, companions=companions(s.id, in_force)) if _acts(s) else s for s in found]
    carried = {(s.id, s.bias) for s in found if s.state is State.APPLIED}
    for n, s in enumerate(found):
        bare = [i for i in present if i.build_id == s.build_id and (s.id, i.bias) not in carried]
        if s.state is State.APPLIED and bare:
            more = f" and {len(bare) - 1} more" if len(bare) > 1 else ""
            text = f"not in the copy at {bare[0].start:#x}{more}"
            found[n] = replace(s, why=Cause(Reason.COPY_OPEN, f"{text}: apply it again"))
    for r in remains:
        found.append(
            PatchStatus(
                r.id, "", State.INTERRUPTED if not r.mapping.executable else State.DAMAGED,
                BuildId(""), "", "", "", (), (), (), (),
                r.mapping.start, r.mapping.end - r.mapping.start,
                Bias(0), Cause(Reason.REMAINS, f"no whole patch: {r.why}; nothing leads to it"),
            )
        )  # fmt: skip
    return found


def _acts(patch: PatchStatus) -> bool:
    return any(g.effective is State.APPLIED for g in patch.groups)


def _status(pid: int, p: Placed, placed: Sequence[Placed], present: Sequence[Image]) -> PatchStatus:
    record = p.record
    image = next((i for i in present if i.build_id == record.build_id and i.bias == record.bias), None)
    groups: tuple[GroupStatus, ...] = ()
    why = None
    if image is None:
        state = State.UNMAPPED
        why = Cause(Reason.IMAGE_GONE, f"{record.file} is not where it was when the patch was applied")
    else:
        same = [q for q in placed if q.record.build_id == record.build_id and q.record.bias == record.bias]
        read = reader(pid)
        known = routes(same, read)
        rows = []
        for group in record.groups:
            now, effective = group_state(record.id, group, known, read)
            if now is State.APPLIED and not all(_leads_here(f, known) for f in group.functions):
                now = effective = State.REVERTED
            rows.append(GroupStatus(group.name, tuple(f.name for f in group.functions), now, effective))
        groups = tuple(rows)
        state = _overall([g.state for g in groups])
        if state is State.INTERRUPTED:
            acts = sorted({g.effective.value for g in groups})
            text = f"an applier died; the process behaves as {' and '.join(acts)}"
            why = Cause(Reason.INTERRUPTED, f"{text}; apply or revert again")
        elif state is State.DAMAGED:
            why = Cause(Reason.DAMAGED, "entries hold code that no patch here has written")
        elif state is State.NEVER_APPLIED:
            text = (
                f"put there{_when(pid, p.text)} and never switched, as its functions were in use or the applier ended"
            )
            why = Cause(Reason.NEVER_APPLIED, f"{text}: apply it again")
    return PatchStatus(
        record.id,
        record.name,
        state,
        record.build_id,
        record.file,
        record.package,
        record.version,
        tuple(f.name for f in record.fixes),
        record.cves,
        record.notes,
        groups,
        record.base,
        record.text_size + record.data_size,
        record.bias,
        why,
        record.relaxed,
    )


def _when(pid: int, text: Mapped) -> str:
    """When a patch's memory was filled, as its file tells; empty where that is not known."""
    try:
        filled = os.stat(f"/proc/{pid}/map_files/{text.start:x}-{text.end:x}").st_mtime
        return f" on {datetime.fromtimestamp(filled, UTC):%Y-%m-%d %H:%M} UTC"
    except (OSError, OverflowError, ValueError):
        return ""


def _leads_here(function: PlacedFunction, known: Mapping[Address, Route | None]) -> bool:
    """Memory of one patch may be there twice; only one of them is in force."""
    route = known.get(function.old)
    return route is not None and route.target == function.new


def _overall(states: Sequence[State]) -> State:
    kinds = set(states)
    for bad in (State.DAMAGED, State.INTERRUPTED):
        if bad in kinds:
            return bad
    if len(kinds) == 1:
        return states[0]
    if kinds == {State.REVERTED, State.NEVER_APPLIED}:
        return State.REVERTED
    return State.PARTIAL if State.APPLIED in kinds else State.REPLACED


def status_of_all() -> tuple[list[ProcessStatus], list[Unread]]:
    """Every process that carries a patch, and those that could not be looked at."""
    found: list[ProcessStatus] = []
    unread: list[Unread] = []

    def look_at(pid: int) -> ProcessStatus | None:
        if not through_living_thread(pid, lambda _, maps: MARK in maps.raw):
            return None
        with limited(pid):
            return status(pid)

    for answer in hurried(each(sorted(list_processes()), look_at, hurried)):
        if answer.result is not None and answer.result.patches:
            found.append(answer.result)
        elif answer.problem is not None and answer.problem.exit_code is not ExitCode.NO_PROCESS:
            unread.append(Unread.of(answer.pid, answer.problem))
    return sorted(found, key=lambda p: p.pid), unread
