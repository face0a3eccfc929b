"""Applying, replacing and reverting a live patch in one process: what to do is decided by `transition`, done by `place`
and `switch`."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Mapping as Table
from contextlib import contextmanager
from dataclasses import dataclass

from suture.error import ExitCode, Refused, SutureError, Unsupported
from suture.patch.file import PatchFile
from suture.patch.link import Layout, Linked, Place, Runtime, lay_out, link, slots_read
from suture.patch.main_loop import remedy_for
from suture.patch.manifest import BadPatch, Group, SymbolKind
from suture.patch.record import BadRecord, PlacedGroup, Record
from suture.patch.x86_64 import JUMP_SIZE, STUB_SIZE, UNUSED
from suture.process.allowance import limited_by_name
from suture.process.change.fitting import fitting_images, refuse_shared
from suture.process.change.old_frame import old_frames
from suture.process.change.place import close_left, has_left, place
from suture.process.change.replacement import earlier, refuse_third, taken_over
from suture.process.change.switch import Outcome, carry_out
from suture.process.change.transition import Aim, Transition, plan, settlement
from suture.process.change.unwind_table import CxxRuntime, Registration, find_runtime, following_of, registration
from suture.process.error import Busy, NotCarried, WrongTarget, naming_its_end
from suture.process.lock import locked
from suture.process.memory import memory
from suture.process.memory.image import Image, images
from suture.process.memory.loader import find_imports
from suture.process.memory.maps import Maps, choose_address, read_maps
from suture.process.memory.placed import (
    Placed,
    Remains,
    Route,
    State,
    check_revertible,
    find_placed,
    group_state,
    reader,
    routes,
)
from suture.process.stop.borrow import OnStep, no_step
from suture.process.stop.detach import release_lingering
from suture.process.stop.obstacle import naming_obstacles, refuse_without_memory, why_no_memory
from suture.process.stop.unsettled import is_loading, naming_unsettled
from suture.process.tracee import Sharers, Tracee
from suture.process.urgency import hurry
from suture.process.x86_64 import require_machine
from suture.refusal import RESTART
from suture.report.patch import Earlier, OldFrames
from suture.report.reason import Reason


class PlaceTaken(Busy):
    """The place that was chosen for the patch is taken."""

    def __init__(self, what: str) -> None:
        super().__init__(what, "try again when the process has finished starting", reason=Reason.BUSY_MAPPING)


_LOADING_SECONDS = 0.02
_MOST_PLACES = 5  # a process that starts maps a library every millisecond or so


@dataclass(frozen=True)
class GroupResult:
    """One group afterwards. `why` says who is in the way when it is not what was wanted; `copy` is where the image
    starts that it belongs to, when the process has loaded several that are the same, else 0."""

    name: str
    state: State
    functions: tuple[str, ...]
    why: str = ""
    copy: int = 0
    reason: Reason | None = None


@dataclass(frozen=True)
class Result:
    """One process afterwards. `changed`: something was written. Pauses in microseconds, one for each stop, all threads
    together."""

    pid: int
    patch: str
    name: str
    wanted: State
    groups: tuple[GroupResult, ...]
    replaced: tuple[str, ...]
    changed: bool
    pauses_us: tuple[float, ...]
    threads: int
    foreign_stacks: int
    suspended_stacks: int
    seconds: float
    old_frames: OldFrames | None = None  # of a relaxed patch that is in force
    lost: tuple[str, ...] = ()  # functions of the patches in `replaced` that run their original code now
    earlier: tuple[
        Earlier, ...
    ] = ()  # after a revert: other patches of these functions that are there, and not in force
    never_applied: bool = False  # there was nothing to revert: the patch is placed, and was never in force

    @property
    def exit_code(self) -> ExitCode:
        return ExitCode.OK if all(g.state is self.wanted for g in self.groups) else ExitCode.PARTIAL


@dataclass(frozen=True)
class Prepared:
    """All that is known before anything in the process is touched: where the memory goes, what it holds, what would be
    written.

    `existing` is the patch's memory of an earlier time, to be used again. `registration` makes its unwind tables known
    first.
    """

    image: Image
    linked: Linked
    existing: Placed | None
    remains: tuple[Remains, ...]
    aim: Aim
    placed: tuple[Placed, ...]
    routes: Table[int, Route | None]
    bodies: tuple[tuple[int, bytes], ...]
    transitions: tuple[Transition, ...]
    registration: Registration | None = None
    lost: tuple[str, ...] = ()


def apply(
    pid: int,
    patch: PatchFile,
    *,
    timeout: float = 10.0,
    replace: bool = False,
    accept_loss: bool = False,
    on_step: OnStep = no_step,
    population: Sharers | None = None,
) -> Result:
    """Apply a patch, in each copy of the binary that the process has loaded. Groups whose functions stay in use are
    left out, and so are copies that cannot be patched (`Result.exit_code` PARTIAL). `population` is for many processes
    in a row (`everywhere`).

    Raises Busy when nothing could be applied for that reason, WrongTarget, Refused (overlap with another patch without
    `replace` or `supersedes`, functions of that patch lost without `accept_loss`, an open verdict), NoProcess,
    NoPermission, AlreadyTraced, Unsupported.
    """
    require_machine()
    deadline = time.monotonic() + timeout
    while True:
        try:
            left = max(0.0, deadline - time.monotonic())
            return _apply(pid, patch, left, replace, accept_loss, on_step, population)
        except Busy as problem:  # it has only just been started: all is to be read anew
            if not is_loading(problem) or time.monotonic() + _LOADING_SECONDS > deadline:
                raise
        time.sleep(_LOADING_SECONDS)


@contextmanager
def _to_be_changed(pid: int, timeout: float, population: Sharers | None) -> Iterator[Tracee]:
    """A process that nobody else changes meanwhile; what stands in the way of its threads, and its end, are named in
    what is raised."""
    with (
        hurry(),
        Tracee(pid, population, writes=True) as tracee,
        naming_obstacles(tracee),
        naming_its_end(tracee),
        naming_unsettled(tracee),
        locked(tracee, timeout),
    ):
        yield tracee


def _apply(
    pid: int,
    patch: PatchFile,
    timeout: float,
    replace: bool,
    accept_loss: bool,
    on_step: OnStep,
    population: Sharers | None,
) -> Result:
    started = time.monotonic()
    with _to_be_changed(pid, timeout, population) as tracee:
        maps = read_maps(tracee.via)
        release_lingering()
        _settle(tracee, maps, timeout, on_step)
        with limited_by_name(pid):
            copies = fitting_images(tracee, maps, patch)
        results: list[tuple[Image, Result]] = []
        problems: list[tuple[Image, SutureError]] = []
        for image in copies:
            left = max(0.0, started + timeout - time.monotonic())
            try:
                results.append((image, _apply_to(tracee, image, patch, replace, accept_loss, left, on_step, started)))
            except (Busy, Refused, Unsupported, WrongTarget) as problem:
                problems.append((image, problem))
        if not results:
            raise problems[0][1]
        if len(copies) == 1:
            return results[0][1]
        stands = {image.start: _left_as(tracee, patch.id, image) for image, _ in problems}
        return _joined(results, problems, lambda image: patch.manifest.groups, lambda image: stands[image.start])


def _left_as(tracee: Tracee, patch_id: str, image: Image) -> State:
    """What is true of a copy that could not be patched."""
    placed = find_placed(tracee.via, read_maps(tracee.via))[0]
    read = reader(tracee.via)
    mine = [p.record for p in placed if p.record.id == patch_id and _is_for(p.record, image)]
    used = any(read(group.switch, 1) != UNUSED for record in mine for group in record.groups)
    return State.REVERTED if used else State.NEVER_APPLIED


def _apply_to(
    tracee: Tracee,
    image: Image,
    patch: PatchFile,
    replace: bool,
    accept_loss: bool,
    timeout: float,
    on_step: OnStep,
    started: float,
) -> Result:
    begun = time.monotonic()
    for left in range(_MOST_PLACES - 1, -1, -1):
        maps = read_maps(tracee.via)
        with limited_by_name(tracee.pid):
            prepared = prepare(tracee, maps, patch, replace, image, accept_loss)
        try:
            changed = _made_present(tracee, maps, prepared, patch, begun + timeout, on_step)
            break
        except PlaceTaken:
            if not left:
                raise
    before = _register(tracee, prepared, timeout, on_step)
    return _switch(tracee, prepared, timeout, on_step, started, changed, before)


def _made_present(
    tracee: Tracee, maps: Maps, prepared: Prepared, patch: PatchFile, deadline: float, on_step: OnStep
) -> bool:
    """Map the patch if it is not there yet; whether that was done. Raises what `_place` does."""
    if prepared.existing is None and prepared.transitions:
        linked = prepared.linked
        mine = [r for r in prepared.remains if r.id == patch.id and not r.mapping.executable]
        refuse_without_memory(tracee, len(linked.text) + len(linked.data))
        _place(tracee, maps, linked, mine, deadline, on_step)
        return True
    if prepared.existing is not None and has_left(tracee, patch.id):
        close_left(tracee, maps, patch.id, on_step)
    return False


def _joined(
    results: Sequence[tuple[Image, Result]],
    problems: Sequence[tuple[Image, SutureError]],
    groups_of: Callable[[Image], Sequence[Group | PlacedGroup]],
    otherwise: Callable[[Image], State],
) -> Result:
    """One result for all copies of a binary in a process. A copy with a problem is in the state that `otherwise`
    tells."""
    groups = [dataclasses.replace(g, copy=image.start) for image, r in results for g in r.groups]
    groups += [
        GroupResult(
            g.name,
            otherwise(image),
            tuple(f.name for f in g.functions),
            problem.what,
            image.start,
            problem.reason,
        )
        for image, problem in problems
        for g in groups_of(image)
    ]
    return dataclasses.replace(
        results[-1][1],
        groups=tuple(groups),
        replaced=tuple(dict.fromkeys(i for _, r in results for i in r.replaced)),
        changed=any(r.changed for _, r in results),
        pauses_us=tuple(us for _, r in results for us in r.pauses_us),
    )


def _register(tracee: Tracee, prepared: Prepared, timeout: float, on_step: OnStep) -> tuple[float, ...]:
    """Make the unwind tables known before any function leads to code that they describe; the pauses. Raises Busy."""
    if prepared.registration is None or not prepared.transitions:
        return ()
    outcome = carry_out(tracee, [prepared.registration], [], timeout=timeout, on_step=on_step)
    if outcome.waiting:
        raise _still_busy(tracee, outcome)
    return outcome.pauses_us


def _place(
    tracee: Tracee, maps: Maps, linked: Linked, remains: Sequence[Remains], deadline: float, on_step: OnStep
) -> None:
    """Map the patch; try again until `deadline` while no thread can be borrowed.

    Raises Busy, Refused, and Taken when the process has mapped something there since its maps were read.
    """
    delay = 0.005
    while True:
        try:
            place(
                tracee, maps, linked.record.id, linked.record.base, linked.text, linked.data, remains, on_step, deadline
            )
            return
        except Busy as problem:
            if time.monotonic() + delay > deadline or is_loading(problem):
                raise
        except OSError as problem:
            tracee.check_same()
            if problem.errno == errno.EEXIST:
                raise PlaceTaken(f"pid {tracee.pid}: something else is mapped where the patch was to go") from problem
            found = why_no_memory(tracee, problem, len(linked.text) + len(linked.data))
            raise Refused(f"pid {tracee.pid}: {found.what}", found.remedy, reason=found.reason) from problem
        time.sleep(delay)
        delay = min(delay * 2, 0.25)
        tracee.check_same()


def prepare(
    tracee: Tracee, maps: Maps, patch: PatchFile, replace: bool, image: Image, accept_loss: bool = False
) -> Prepared:
    """Everything that can be decided about one image without touching the process; also what `--dry-run` prints."""
    refuse_shared(tracee, maps, patch, image)
    placed, remains = find_placed(tracee.via, maps)
    here = [p for p in placed if _is_for(p.record, image)]
    read = reader(tracee.via)
    known = routes(here, read)
    bodies = _check_code(tracee, patch, image, here)
    taken = taken_over(tracee.pid, patch.id, patch.manifest, image.bias, here, known, replace, accept_loss)
    layout = lay_out(patch)
    original = {f.address: bodies[f.address][f.entry : f.entry + JUMP_SIZE] for f in patch.manifest.functions}
    slots = {a: int.from_bytes(memory.read(tracee.via, a + image.bias, 8), "little") for a in slots_read(patch)}
    wanted = [s for s in patch.manifest.symbols.values() if s.kind is SymbolKind.IMPORT]
    imports = find_imports(tracee, maps, image, wanted) if wanted else {}
    named = {n: imports[(s.name, s.version)] for n, s in patch.manifest.symbols.items() if s.kind is SymbolKind.IMPORT}
    runtime = _runtime(tracee, patch, layout, placed, image)
    after = following_of(tracee, runtime) if runtime else 0
    told = runtime.for_link(after) if runtime else None
    existing, linked = _reuse(tracee, patch, layout, image, here, slots, named, original, told)
    if linked is None:
        base = choose_address(maps.mappings, image.start, image.end, layout.size)
        if base is None:
            raise Refused(
                f"pid {tracee.pid}: no room of {layout.size} bytes within 2 GiB of {image.path}",
                RESTART,
                reason=Reason.NO_ROOM,
            )
        linked = link(patch, layout, Place(base, image.bias, slots, named, original, told))
    _check_record(patch, image, linked)
    first = registration(tracee, runtime, linked.record, existing is not None) if runtime else None
    aim = Aim(linked.record, tuple(t.record for t in taken), True)
    full = dict(known)
    for f in linked.record.functions:
        if f.old not in full:
            full[f.old] = Route(f.original, f.old, True, "")
    owners = {p.record.id: p.record for p in here} | {patch.id: linked.record}
    transitions = plan(aim, full, owners)
    untouched = tuple(
        (f.address + image.bias, bodies[f.address])
        for f in patch.manifest.functions
        if (r := full[f.address + image.bias]) is not None and r.code == original[f.address]
    )
    return Prepared(
        image,
        linked,
        existing,
        tuple(remains),
        aim,
        tuple(here),
        full,
        untouched,
        tuple(transitions),
        first,
        tuple(name for t in taken for name in t.lost),
    )


def _check_record(patch: PatchFile, image: Image, linked: Linked) -> None:
    """Raises `BadPatch` for a patch that could be applied and then not be reverted."""
    record = linked.record
    for part in (*(p for g in record.groups for p in g.parts), *record.suspends):
        if not image.holds(part.old - image.bias, part.size):
            raise BadPatch(patch.manifest.name, f"{part.name} at {part.old:#x} is not in the image that it is for")
    try:
        check_revertible(linked.text, record)
    except BadRecord as problem:
        raise BadPatch(patch.manifest.name, f"could not be reverted: its record {problem}") from problem


def _runtime(
    tracee: Tracee, patch: PatchFile, layout: Layout, placed: Sequence[Placed], image: Image
) -> CxxRuntime | None:
    """Whom to tell of the patch's unwind tables. Raises Refused when the patch cannot do without."""
    if layout.unwinding is None:
        return None
    try:
        found = find_runtime(tracee, placed, image.dynamic)
    except Refused:
        if patch.manifest.exceptions:
            raise
        return None
    if found is None and patch.manifest.exceptions:
        raise Refused(
            f"pid {tracee.pid}: an exception may have to pass through the patch, and no C++ runtime is loaded that "
            "could be told",
            RESTART,
            reason=Reason.NO_CXX_RUNTIME,
        )
    return found


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
    time. The patch's memory stays: a pointer into it may be anywhere.

    Needs no patch file. Raises Refused when the patch is not there or another has taken its place, Busy as `apply`
    does.
    """
    require_machine()
    started = time.monotonic()
    with _to_be_changed(pid, timeout, population) as tracee:
        maps = read_maps(tracee.via)
        placed, remains = find_placed(tracee.via, maps)
        present = images(tracee.via, maps)
        mine = [p for p in placed if p.record.id == patch_id and any(_is_for(p.record, i) for i in present)]
        if not mine:
            raise NotCarried(
                f"pid {pid}: does not carry the patch {patch_id}",
                f"see what it carries: suture status {pid}",
                reason=Reason.NOT_CARRIED,
            )
        _settle(tracee, maps, timeout, on_step)
        results: list[tuple[Image, Result]] = []
        problems: list[tuple[Image, SutureError]] = []
        for image in (i for i in present if any(_is_for(p.record, i) for p in mine)):
            here = [p for p in placed if _is_for(p.record, image)]
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
        return _joined(results, problems, lambda image: records[image.bias].groups, lambda image: otherwise)


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
    known = routes(here, reader(tracee.via))
    mine = [p for p in here if p.record.id == patch_id]
    # memory of the same patch may be there twice; the one that functions lead to counts
    chosen = next((p for p in mine if any(r and r.target in _news(p.record) for r in known.values())), mine[0])
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
    prepared = Prepared(image, nothing, chosen, tuple(remains), aim, tuple(here), known, bodies, tuple(transitions))
    return _switch(tracee, prepared, timeout, on_step, started, False)


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


def _untouched(tracee: Tracee, record: Record, known: Table[int, Route | None]) -> tuple[tuple[int, bytes], ...]:
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
                "something else has changed this process: restart it with the fixed package",
                reason=Reason.CODE_DIFFERS,
            )
        rows.append((f.old, body))
    return tuple(rows)


def _settle(tracee: Tracee, maps: Maps, timeout: float, on_step: OnStep) -> None:
    """Make final what an applier that died has left half-way. Raises Busy."""
    placed, _ = find_placed(tracee.via, maps)
    if not placed:
        return
    for image in images(tracee.via, maps):
        here = [p for p in placed if _is_for(p.record, image)]
        rest = settlement(routes(here, reader(tracee.via)), [p.record for p in here]) if here else None
        if rest is None:
            continue
        known = _suspends([p.record for p in here])
        outcome = carry_out(tracee, [rest], [], timeout=timeout, on_step=on_step, suspends=known)
        if outcome.waiting:
            raise _still_busy(tracee, outcome)


def _still_busy(tracee: Tracee, outcome: Outcome, remedy: str = "") -> Busy | Unsupported:
    """The error for an outcome of which nothing was done."""
    cause = outcome.waiting[0][1]
    reasons = "; ".join(dict.fromkeys(c.text for _, c in outcome.waiting))
    kind = Unsupported if cause.reason is Reason.STACKS_UNSEARCHABLE else Busy
    remedy = remedy or cause.remedy or "try again, or give more time: --timeout SECONDS"
    return kind(f"pid {tracee.pid}: {reasons}", remedy, reason=cause.reason)


def _suspends(records: Sequence[Record]) -> list[range]:
    return [range(s.old, s.old + s.size) for r in records for s in r.suspends]


def _news(record: Record) -> frozenset[int]:
    return frozenset(f.new for f in record.functions)


def _refuse_replaced(pid: int, record: Record, known: Table[int, Route | None], here: Sequence[Placed]) -> None:
    owners = {r.owner for f in record.functions if (r := known.get(f.old)) is not None}
    others = owners - {"", record.id}
    if others and record.id not in owners:
        names = ", ".join(sorted(f"{p.record.id} ({p.record.name})" for p in here if p.record.id in others))
        raise Refused(
            f"pid {pid}: {record.id} was replaced by {names}",
            f"revert that one: suture revert {min(others)} {pid}",
            reason=Reason.REPLACED,
        )


def _switch(
    tracee: Tracee,
    prepared: Prepared,
    timeout: float,
    on_step: OnStep,
    started: float,
    changed: bool,
    pauses_before: tuple[float, ...] = (),
) -> Result:
    record, aim = prepared.aim.record, prepared.aim
    try:
        outcome = carry_out(
            tracee,
            prepared.transitions,
            prepared.bodies,
            timeout=timeout,
            on_step=on_step,
            suspends=_suspends([record]),
        )
    finally:
        release_lingering(0.5)
    why = {name: cause for t, cause in outcome.waiting for name in t.groups}
    wanted = State.APPLIED if aim.applies else State.REVERTED
    here = [p for p in find_placed(tracee.via, read_maps(tracee.via))[0] if p.record.bias == record.bias]
    read = reader(tracee.via)
    now = routes(here, read)
    groups = []
    never = 0
    for group in record.groups:
        known = all(f.old in now for f in group.functions)
        state = group_state(record.id, group, now, read)[0] if known else State.REVERTED
        never += state is State.NEVER_APPLIED
        if not aim.applies and state in (State.REPLACED, State.NEVER_APPLIED):
            state = State.REVERTED  # of this patch nothing is in force
        cause = why.get(group.name)
        functions = tuple(f.name for f in group.functions)
        groups.append(
            GroupResult(
                group.name, state, functions, cause.text if cause else "", reason=cause.reason if cause else None
            )
        )
    tracee.check_same()  # else these are another program's
    if outcome.waiting and not outcome.done and not any(g.state is wanted for g in groups):
        endless = [f.name for g in record.groups for f in g.functions if f.endless and g.name in why]
        raise _still_busy(tracee, outcome, remedy_for(endless, record.notes) if endless else "")
    in_force = record.relaxed and any(g.state is State.APPLIED for g in groups)
    return Result(
        tracee.pid,
        record.id,
        record.name,
        wanted,
        tuple(groups),
        tuple(r.id for r in aim.superseded if r.id != record.id),
        changed or bool(outcome.done),
        (*pauses_before, *outcome.pauses_us),
        outcome.threads,
        outcome.foreign_stacks,
        outcome.suspended_stacks,
        time.monotonic() - started,
        old_frames(tracee, record) if in_force else None,
        prepared.lost,
        () if aim.applies else earlier(record, here, now),
        never == len(record.groups),
    )


def _is_for(record: Record, image: Image) -> bool:
    return record.build_id == image.build_id and record.bias == image.bias


def _check_code(tracee: Tracee, patch: PatchFile, image: Image, here: Sequence[Placed]) -> dict[int, bytes]:
    """Original bytes of each old function by link-time address: what is mapped, with the entries that other patches
    wrote undone. Raises WrongTarget when the hash is not the manifest's."""
    bodies = {}
    for function in patch.manifest.functions:
        body = bytearray(memory.read(tracee.via, function.address + image.bias, function.size))
        for p in here:
            for f in p.record.functions:
                if f.old == function.address + image.bias and f.entry == function.entry:
                    body[f.entry : f.entry + JUMP_SIZE] = f.original
        if hashlib.sha256(body).hexdigest() != function.sha256:
            raise WrongTarget(
                f"pid {tracee.pid}: {function.name} at {function.address + image.bias:#x} is not the code that the "
                f"patch was made for, although {image.path} has its build-id",
                "something else has changed this process, or it pretends: restart it with the fixed package",
                reason=Reason.CODE_DIFFERS,
            )
        bodies[function.address] = bytes(body)
    return bodies


def _reuse(
    tracee: Tracee,
    patch: PatchFile,
    layout: Layout,
    image: Image,
    here: Sequence[Placed],
    slots: Table[int, int],
    imports: Table[str, int],
    original: Table[int, bytes],
    runtime: Runtime | None,
) -> tuple[Placed, Linked] | tuple[None, None]:
    """The patch's memory of an earlier time, when its contents are still what they would be made today."""
    for p in here:
        if p.record.id != patch.id or p.record.text_size != layout.text_size or p.record.data_size != layout.data_size:
            continue
        linked = link(patch, layout, Place(p.record.base, image.bias, slots, imports, original, runtime))
        present = bytearray(memory.read(tracee.via, p.record.base, layout.text_size))
        for f in linked.record.functions:  # stubs change with each transition
            at = f.stub - p.record.base
            present[at : at + STUB_SIZE] = linked.text[at : at + STUB_SIZE]
        start = min(layout.slots.values(), default=0) - layout.text_size
        size = 8 * len(layout.slots)
        values = memory.try_read(tracee.via, p.data.start + start, size) if size else b""
        if bytes(present) == linked.text and values == linked.data[start : start + size if size else start]:
            return p, linked
    return None, None
