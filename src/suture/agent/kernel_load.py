"""Patches of the kernel, loaded on behalf of the privileged part under the crash guard (`kernel/mark.py`).

The agent itself loads them again after a boot. One that the machine has died with is held instead, until an
administrator allows it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from suture.agent.hand import HandGone, Patched
from suture.agent.journal import Journal
from suture.agent.register import Register
from suture.error import SutureError
from suture.host.recipient import ApplyOptions
from suture.kernel import mark
from suture.report.agent import PatchInForce
from suture.report.document import ApplyReport
from suture.report.feed import Offer
from suture.report.patch import PatchKind
from suture.report.reason import Cause, Reason

_SETTLED_SECONDS = mark.SETTLED_MINUTES * 60.0


class KernelLoad:
    """Of the patches in a register. `clock` counts seconds."""

    def __init__(self, register: Register, journal: Journal, clock: Callable[[], float] = time.monotonic) -> None:
        self._register, self._journal, self._clock = register, journal, clock
        self._since: dict[str, float] = {}  # by patch: when it was loaded, or first seen with its mark

    def begin(self) -> None:
        """Hold what an earlier boot has died of. Raises OSError."""
        for row in self._rows():
            if not row.held and mark.died(self._register.file(row.offer)):
                patch = row.offer.patch
                remedy = f"find out why; to try it again: suture agent allow {patch}"
                self._register.disallow(patch)
                self._register.put(replace(row, held=True, why=Cause(Reason.AGENT_CRASHED, mark.DIED, remedy)))
                self._journal.tell("held", mark.DIED, patch)

    def apply(self, target: Patched, offer: Offer, options: ApplyOptions) -> ApplyReport:
        """Load a patch. Raises what the target does, and OSError where the mark cannot be written: nothing is loaded
        then."""
        file = self._register.file(offer)
        mark.begin(file)
        try:
            report = target.apply([], replace(options, replace=False))
        except HandGone:  # nobody knows how far it came
            raise
        except SutureError:
            mark.drop(file)  # nothing of it runs
            raise
        self._since[offer.patch] = self._clock()
        return report

    def revert(self, target: Patched, offer: Offer, options: ApplyOptions) -> int:
        """Take a patch out; how many kernels it was in: 1 or 0. Raises what the target does."""
        try:
            target.revert([], "", options)
            count = 1
        except SutureError as problem:
            if problem.cause.reason is not Reason.NO_KERNEL_PATCH:
                raise
            count = 0
        mark.drop(self._register.file(offer))
        return count

    def settle(self) -> None:
        """What the machine has run well with for long enough is no longer suspected. Raises OSError."""
        now = self._clock()
        for row in self._rows():
            file = self._register.file(row.offer)
            if mark.is_loading(file) and now >= self._since.setdefault(row.offer.patch, now) + _SETTLED_SECONDS:
                mark.drop(file)

    def close(self) -> None:
        """The agent ends in good order, as when the machine goes down: nothing is suspected of this boot."""
        for row in self._rows():
            file = self._register.file(row.offer)
            if mark.is_loading(file):
                mark.drop(file)

    def _rows(self) -> list[PatchInForce]:
        return [r for r in self._register.content.in_force if r.offer.kind is PatchKind.KERNEL]
