"""Applying a live patch to one process: what to do is decided by `transition`, done by `place` and `switch`."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterable, Sequence

from suture.error import Refused, SutureError, Unsupported
from suture.patch.file import PatchFile
from suture.patch.link import Linked
from suture.patch.x86_64 import UNUSED
from suture.process.allowance import limited_by_name
from suture.process.change.fitting import fitting_images
from suture.process.change.held import settle, still_busy, switched, to_be_changed
from suture.process.change.place import close_left, has_left, place
from suture.process.change.prepared import Prepared, is_for, prepare
from suture.process.change.result import Result, joined
from suture.process.change.switch import carry_out
from suture.process.error import Busy, WrongTarget
from suture.process.memory.image import Image
from suture.process.memory.maps import Maps, read_maps
from suture.process.memory.placed import (
    Remains,
    State,
    find_placed,
    reader,
)
from suture.process.stop.borrow import OnStep, no_step
from suture.process.stop.detach import release_lingering
from suture.process.stop.obstacle import refuse_without_memory, why_no_memory
from suture.process.stop.unsettled import is_loading
from suture.process.tracee import Sharers, Tracee
from suture.process.x86_64 import require_machine
from suture.report.reason import Reason


class PlaceTaken(Busy):
    """The place that was chosen for the patch is taken."""

    def __init__(self, what: str) -> None:
        super().__init__(what, "try again when the process has finished starting", reason=Reason.BUSY_MAPPING)


_LOADING_SECONDS = 0.02
_MOST_PLACES = 5  # a process that starts maps a library every millisecond or so


def apply(
    pid: int,
    patch: PatchFile,
    *,
    timeout: float = 10.0,
    replace: bool = False,
    accept_loss: bool = False,
    on_step: OnStep = no_step,
    population: Sharers | None = None,
    kept: Iterable[int] = (),
) -> Result:
    """Apply a patch, in each copy of the binary that the process has loaded. Groups whose functions stay in use are
    left out, and so are copies that cannot be patched (`Result.exit_code` PARTIAL). `population` is for many processes
    in a row (`everywhere`); `kept` are threads that the caller has stopped, and that stay so (Tracee).

    Raises Busy when nothing could be applied for that reason, WrongTarget, Refused (overlap with another patch without
    `replace` or `supersedes`, functions of that patch lost without `accept_loss`, an open verdict), NoProcess,
    NoPermission, AlreadyTraced, Unsupported.
    """
    require_machine()
    deadline = time.monotonic() + timeout
    while True:
        try:
            left = max(0.0, deadline - time.monotonic())
            return _apply(pid, patch, left, replace, accept_loss, on_step, population, kept)
        except Busy as problem:  # it has only just been started: all is to be read anew
            if not is_loading(problem) or time.monotonic() + _LOADING_SECONDS > deadline:
                raise
        time.sleep(_LOADING_SECONDS)


def _apply(
    pid: int,
    patch: PatchFile,
    timeout: float,
    replace: bool,
    accept_loss: bool,
    on_step: OnStep,
    population: Sharers | None,
    kept: Iterable[int],
) -> Result:
    started = time.monotonic()
    with to_be_changed(pid, timeout, population, kept) as tracee:
        maps = read_maps(tracee.via)
        release_lingering()
        settle(tracee, maps, timeout, on_step)
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
        return joined(results, problems, lambda image: patch.manifest.groups, lambda image: stands[image.start])


def _left_as(tracee: Tracee, patch_id: str, image: Image) -> State:
    """What is true of a copy that could not be patched."""
    placed = find_placed(tracee.via, read_maps(tracee.via))[0]
    read = reader(tracee.via)
    mine = [p.record for p in placed if p.record.id == patch_id and is_for(p.record, image)]
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
    return switched(tracee, prepared, timeout, on_step, started, changed, before)


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


def _register(tracee: Tracee, prepared: Prepared, timeout: float, on_step: OnStep) -> tuple[float, ...]:
    """Make the unwind tables known before any function leads to code that they describe; the pauses. Raises Busy."""
    if prepared.registration is None or not prepared.transitions:
        return ()
    outcome = carry_out(tracee, [prepared.registration], [], timeout=timeout, on_step=on_step)
    if outcome.waiting:
        raise still_busy(tracee, outcome)
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
