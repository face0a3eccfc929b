"""Patches of several binaries that belong together, switched in one stop of a process: all of them, or none."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

from suture.error import SutureError, Unsupported
from suture.patch.file import PatchFile
from suture.patch.main_loop import remedy_for
from suture.process.change.fitting import NotLoaded, fitting_images
from suture.process.change.held import result_of, still_busy, suspends_of
from suture.process.change.joint import together
from suture.process.change.prepared import Prepared
from suture.process.change.present import Manner, Present, made_present, prepare_in
from suture.process.change.result import Result, joined
from suture.process.change.switch import Outcome, carry_out
from suture.process.change.transition import Transition
from suture.process.error import Busy, WrongTarget
from suture.process.memory.image import Image
from suture.process.memory.loaded import loader_state
from suture.process.memory.maps import Maps, read_maps
from suture.process.memory.placed import State
from suture.process.stop.borrow import OnStep
from suture.process.stop.detach import release_lingering
from suture.process.stop.unsettled import loading
from suture.process.tracee import Tracee

Fitting = Sequence[tuple[PatchFile, Sequence[Image]]]
"""Patches, each with the images of a process that it is for."""
Problem = TypeVar("Problem", bound=SutureError)


def fitting_together(tracee: Tracee, maps: Maps, patches: Sequence[PatchFile], where_loaded: bool) -> Fitting:
    """Never empty. Raises as `fitting_images` does: for any patch; with `where_loaded` NotLoaded when none fits,
    WrongTarget for one of whose binary the process has a build that no patch is for, and Busy where one is not loaded
    and the loader is at work: it may be the next."""
    found: list[tuple[PatchFile, Sequence[Image]]] = []
    absent: list[tuple[PatchFile, NotLoaded]] = []
    for patch in patches:
        with _naming(patch, patches):
            try:
                found.append((patch, fitting_images(tracee, maps, patch)))
            except NotLoaded as problem:
                if not where_loaded:
                    raise
                absent.append((patch, problem))
    if not found:
        raise absent[0][1]
    if absent and (state := loader_state(tracee.via)) is not None and not state.is_consistent:
        raise loading(tracee.pid)
    known = {p.manifest.target.build_id for p in patches}
    for patch, missing in absent:
        if not missing.builds <= known:
            with _naming(patch, patches):
                raise WrongTarget(missing.what, missing.remedy, reason=missing.reason)
    return found


def apply_together(tracee: Tracee, fitting: Fitting, manner: Manner, timeout: float, started: float) -> Result:
    """Apply all, in each copy of their binaries. The result is the first patch's, with those of the others.

    Raises what applying one does, and Busy where one of their functions stays in use; then none is in force that was
    not before.
    """
    patches = [patch for patch, _ in fitting]
    planned_together(tracee, read_maps(tracee.via), fitting, manner)  # what is refused is refused before it is placed
    present: list[Present] = []
    for patch, image, own in _rows(fitting, manner):
        left = max(0.0, started + timeout - time.monotonic())
        with _naming(patch, patches):
            present.append(made_present(tracee, image, patch, own, left))
    left = max(0.0, started + timeout - time.monotonic())
    return switched_together(tracee, present, left, manner.on_step, started)


def planned_together(
    tracee: Tracee, maps: Maps, fitting: Fitting, manner: Manner
) -> tuple[list[Prepared], list[Transition]]:
    """What is decided before anything is touched, for one patch or several. Raises what `prepare` does, and Refused
    where two patches would change one function."""
    patches = [patch for patch, _ in fitting]
    prepared: list[Prepared] = []
    for patch, image, own in _rows(fitting, manner):
        with _naming(patch, patches):
            prepared.append(prepare_in(tracee, maps, image, patch, own))
    transitions = [t for p in prepared for t in p.transitions]
    if len(patches) == 1:
        return prepared, transitions
    whole = together(tracee.pid, transitions)
    return prepared, [whole] if whole is not None else []


def _rows(fitting: Fitting, manner: Manner) -> list[tuple[PatchFile, Image, Manner]]:
    patches = [patch for patch, _ in fitting]
    return [(patch, image, _manner_of(patch, patches, manner)) for patch, images in fitting for image in images]


def _manner_of(patch: PatchFile, patches: Sequence[PatchFile], manner: Manner) -> Manner:
    return replace(manner, companions=tuple(sorted(p.id for p in patches if p.id != patch.id)))


def switched_together(
    tracee: Tracee, present: Sequence[Present], timeout: float, on_step: OnStep, started: float
) -> Result:
    """Carry out all that is prepared in one stop. Raises Busy when something stays in use."""
    prepared = [p.prepared for p in present]
    whole = together(tracee.pid, [t for p in prepared for t in p.transitions])
    bodies = list(dict.fromkeys(b for p in prepared for b in p.bodies))
    try:
        outcome = carry_out(
            tracee,
            [whole] if whole is not None else [],
            bodies,
            timeout=timeout,
            on_step=on_step,
            suspends=suspends_of([p.aim.record for p in prepared]),
        )
    finally:
        release_lingering(0.5)
    tracee.check_same()
    if outcome.waiting:
        raise _still_busy(tracee, present, outcome)
    by_patch: dict[str, list[tuple[Image, Result]]] = {}
    for one in present:
        moved = bool(one.prepared.transitions)
        own = result_of(tracee, one.prepared, outcome, {}, started, one.changed or moved, one.pauses_us)
        by_patch.setdefault(own.patch, []).append((one.prepared.image, own))
    results = [_of_copies(rows) for rows in by_patch.values()]
    before = tuple(us for p in present for us in p.pauses_us)
    others = tuple(replace(r, pauses_us=()) for r in results[1:])
    return replace(results[0], pauses_us=(*before, *outcome.pauses_us), companions=others)


def _of_copies(rows: Sequence[tuple[Image, Result]]) -> Result:
    if len(rows) == 1:
        return rows[0][1]
    return joined(rows, [], lambda image: (), lambda image: State.REVERTED)


def _still_busy(tracee: Tracee, present: Sequence[Present], outcome: Outcome) -> Busy | Unsupported:
    """Says also whose functions are in use."""
    held = {(h.range.start, h.range.end) for h in outcome.hits}
    records = [p.prepared.aim.record for p in present]
    blocking: dict[str, None] = {}
    endless: list[str] = []
    for one in present:
        record = one.prepared.aim.record
        if any((r.start, r.end) in held for t in one.prepared.transitions for r in t.forbidden):
            blocking[record.name] = None
            endless += [f.name for f in record.functions if f.endless]
    notes = [n for r in records for n in r.notes]
    problem = still_busy(tracee, outcome, remedy_for(endless, notes) if endless else "")
    names = list(dict.fromkeys(r.name for r in records))
    waits = f", which {' and '.join(blocking)} changes" if blocking else ""
    return _with(problem, f"{problem.what}{waits}; {_all_or_none(names)}")


def _all_or_none(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]} change in one stop, so none of them did"


@contextmanager
def _naming(patch: PatchFile, patches: Sequence[PatchFile]) -> Iterator[None]:
    """Inside, what one of several patches is refused for is told as what keeps all of them out."""
    try:
        yield
    except SutureError as problem:
        if len(patches) > 1:
            names = [p.manifest.name for p in patches]
            _with(problem, f"{problem.what} ({patch.manifest.name}); {_all_or_none(names)}")
        raise


def _with(problem: Problem, what: str) -> Problem:
    problem.what, problem.args = what, (what,)
    return problem
