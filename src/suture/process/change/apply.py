"""Applying a live patch to one process: what to do is decided by `transition`, done by `place` and `switch`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from suture.error import Refused, SutureError, Unsupported
from suture.patch.file import PatchFile
from suture.patch.x86_64 import UNUSED
from suture.process.allowance import limited_by_name
from suture.process.change.held import settle, switched, to_be_changed
from suture.process.change.prepared import is_for
from suture.process.change.present import Manner, made_present
from suture.process.change.result import Result, joined
from suture.process.change.together import apply_together, fitting_together
from suture.process.error import Busy, WrongTarget
from suture.process.memory.image import Image
from suture.process.memory.maps import read_maps
from suture.process.memory.placed import State, find_placed, reader
from suture.process.stop.borrow import OnStep, no_step
from suture.process.stop.detach import release_lingering
from suture.process.stop.unsettled import is_loading
from suture.process.tracee import Sharers, Tracee
from suture.process.x86_64 import require_machine

_LOADING_SECONDS = 0.02


def apply(
    pid: int,
    patch: PatchFile,
    *,
    companions: Sequence[PatchFile] = (),
    where_loaded: bool = False,
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

    With `companions` all functions of all patches change in one stop, or none does (`Result.companions`). With
    `where_loaded` those are left out whose binary the process has not loaded, in no build.

    Raises Busy when nothing could be applied for that reason, WrongTarget, Refused (overlap with another patch without
    `replace` or `supersedes`, functions of that patch lost without `accept_loss`, an open verdict), NoProcess,
    NoPermission, AlreadyTraced, Unsupported.
    """
    require_machine()
    deadline = time.monotonic() + timeout
    while True:
        try:
            left = max(0.0, deadline - time.monotonic())
            manner = Manner(replace, accept_loss, on_step)
            return _apply(pid, (patch, *companions), where_loaded, left, manner, population, kept)
        except Busy as problem:  # it has only just been started: all is to be read anew
            if not is_loading(problem) or time.monotonic() + _LOADING_SECONDS > deadline:
                raise
        time.sleep(_LOADING_SECONDS)


def _apply(
    pid: int,
    patches: Sequence[PatchFile],
    where_loaded: bool,
    timeout: float,
    manner: Manner,
    population: Sharers | None,
    kept: Iterable[int],
) -> Result:
    started = time.monotonic()
    with to_be_changed(pid, timeout, population, kept) as tracee:
        maps = read_maps(tracee.via)
        release_lingering()
        settle(tracee, maps, timeout, manner.on_step)
        left = max(0.0, started + timeout - time.monotonic())
        with limited_by_name(pid):
            found = fitting_together(tracee, maps, patches, where_loaded)
        if len(found) > 1:
            return apply_together(tracee, found, manner, left, started)
        ((patch, copies),) = found
        results: list[tuple[Image, Result]] = []
        problems: list[tuple[Image, SutureError]] = []
        for image in copies:
            left = max(0.0, started + timeout - time.monotonic())
            try:
                results.append((image, _apply_to(tracee, image, patch, manner, left, started)))
            except (Busy, Refused, Unsupported, WrongTarget) as problem:
                problems.append((image, problem))
        if not results:
            raise problems[0][1]
        if len(copies) == 1:
            return results[0][1]
        stands = {image.start: _left_as(tracee, patch.id, image) for image, _ in problems}
        return joined(results, problems, lambda image: patch.manifest.groups, lambda image: stands[image.start])


def _apply_to(tracee: Tracee, image: Image, patch: PatchFile, manner: Manner, timeout: float, started: float) -> Result:
    present = made_present(tracee, image, patch, manner, timeout)
    return switched(tracee, present.prepared, timeout, manner.on_step, started, present.changed, present.pauses_us)


def _left_as(tracee: Tracee, patch_id: str, image: Image) -> State:
    """What is true of a copy that could not be patched."""
    placed = find_placed(tracee.via, read_maps(tracee.via))[0]
    read = reader(tracee.via)
    mine = [p.record for p in placed if p.record.id == patch_id and is_for(p.record, image)]
    used = any(read(group.switch, 1) != UNUSED for record in mine for group in record.groups)
    return State.REVERTED if used else State.NEVER_APPLIED
