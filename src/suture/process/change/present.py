"""A patch made present in a process before anything leads to it: its memory mapped or found again, its unwind tables
known to the C++ runtime."""

from __future__ import annotations

import errno
import time
from collections.abc import Sequence
from dataclasses import dataclass

from suture.error import Refused
from suture.patch.file import PatchFile
from suture.patch.link import Linked
from suture.process.allowance import limited_by_name
from suture.process.change.held import still_busy
from suture.process.change.place import close_left, has_left, place
from suture.process.change.prepared import Prepared, prepare
from suture.process.change.switch import carry_out
from suture.process.error import Busy
from suture.process.memory.image import Image
from suture.process.memory.maps import Maps, read_maps
from suture.process.memory.placed import Remains
from suture.process.stop.borrow import OnStep, no_step
from suture.process.stop.obstacle import refuse_without_memory, why_no_memory
from suture.process.stop.unsettled import is_loading
from suture.process.tracee import Tracee
from suture.report.reason import Reason

_MOST_PLACES = 5  # a process that starts maps a library every millisecond or so


class PlaceTaken(Busy):
    """The place that was chosen for the patch is taken."""

    def __init__(self, what: str) -> None:
        super().__init__(what, "try again when the process has finished starting", reason=Reason.BUSY_MAPPING)


@dataclass(frozen=True)
class Manner:
    """How patches go in: what they may take the place of, and the ids of those that switch in the same stop."""

    replace: bool = False
    accept_loss: bool = False
    on_step: OnStep = no_step
    companions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Present:
    """A patch that only needs to be switched. `changed`: its memory was mapped now. Pauses in microseconds."""

    prepared: Prepared
    changed: bool = False
    pauses_us: tuple[float, ...] = ()


def prepare_in(tracee: Tracee, maps: Maps, image: Image, patch: PatchFile, manner: Manner) -> Prepared:
    """What `prepare` says, within what a process may cost."""
    with limited_by_name(tracee.pid):
        return prepare(tracee, maps, patch, manner.replace, image, manner.accept_loss, manner.companions)


def made_present(tracee: Tracee, image: Image, patch: PatchFile, manner: Manner, timeout: float) -> Present:
    """Place a patch for one image, unless it is there. Raises what `prepare` does, Busy, Refused."""
    begun = time.monotonic()
    for left in range(_MOST_PLACES - 1, -1, -1):
        maps = read_maps(tracee.via)
        prepared = prepare_in(tracee, maps, image, patch, manner)
        try:
            changed = _mapped(tracee, maps, prepared, patch, begun + timeout, manner.on_step)
            break
        except PlaceTaken:
            if not left:
                raise
    return Present(prepared, changed, _register(tracee, prepared, timeout, manner.on_step))


def _mapped(tracee: Tracee, maps: Maps, prepared: Prepared, patch: PatchFile, deadline: float, on_step: OnStep) -> bool:
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

    Raises Busy, Refused, and PlaceTaken when the process has mapped something there since its maps were read.
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
