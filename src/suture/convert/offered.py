"""The patches of an update as they are offered: with tripwires, tried, and without those that harmless use reaches.

No tripwire costs a CVE: where they can't be put in, or a trial fails with them, the patches are made without them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from suture.convert.result import PatchResult
from suture.elf.file import ElfFile
from suture.error import SutureError
from suture.make.make import Making, write
from suture.make.request import Ready
from suture.make.wiring import nature
from suture.patch.tripwire import NOISY, UNWIRED
from suture.progress import Clock, Progress
from suture.trial.result import Trial, TrialOutcome, reached_by
from suture.trial.trial import Candidate, try_patches

_MOST_ROUNDS = 3  # of leaving out what fires: what is left out in one can't be what fires in the next

Remake = Callable[[Mapping[str, str]], Making]
"""The same patches with tripwires, but for places (FILE:LINE) that are to have none, each with the reason."""


@dataclass
class PatchesToOffer:
    """`plain` are the patches of all that goes in, `remake` makes them with tripwires; None where nobody wants any."""

    prepared: Ready
    plain: Making
    remake: Remake | None
    folder: Path
    clock: Clock
    progress: Progress

    def made(self) -> tuple[PatchResult, ...]:
        """The patches in the folder, not tried."""
        making, why = self._wired({})
        return tuple(self._written(making, why))

    def tried(self) -> tuple[PatchResult, ...]:
        """The patches that stay in the folder, and those that failed their trial and do not."""
        noisy: dict[str, str] = {}
        making, why = self._wired(noisy)
        for number in range(_MOST_ROUNDS + 2):
            patches = self._written(making, why)
            found, trials = self._tries(patches)
            fired = {p: reached_by(c) for t in trials for p, c in t.noisy.items() if p not in noisy}
            failed = [f"{p.binary}: {p.detail}" for p in found if p.trial == TrialOutcome.FAILED.value]
            if making is self.plain or not (failed or fired):
                break
            for patch in patches:
                Path(patch.path).unlink(missing_ok=True)
            if failed:
                making, why = self.plain, f"with them the trial failed: {failed[0]}"
            elif number >= _MOST_ROUNDS:
                making, why = self.plain, f"others fire in each trial, the last at {min(fired)}"
            else:
                noisy |= fired
                self.progress(f"leaving out {len(fired)} tripwires that fire by themselves")
                making, why = self._wired(noisy)
        for patch in found:
            if patch.trial == TrialOutcome.FAILED.value:
                Path(patch.path).unlink(missing_ok=True)
        return tuple(found)

    def _wired(self, unwanted: Mapping[str, str]) -> tuple[Making, str]:
        """The patches with tripwires; else the plain ones, and why."""
        if self.remake is None:
            return self.plain, ""
        try:
            with self.clock.step("tripwires"):
                made = self.remake(unwanted)
        except SutureError as problem:
            return self.plain, problem.what
        if [nature(m.manifest) for m in made.patches] != [nature(m.manifest) for m in self.plain.patches]:
            return self.plain, "with them they would be other patches"
        return made, ""

    def _written(self, making: Making, why: str) -> list[PatchResult]:
        rows = []
        for made in making.patches:
            written, said = write(made, self.folder), made.manifest
            without = said.without_tripwire
            noisy = {f"{w.file}:{w.line}": w.reason for w in without if w.reason.startswith(NOISY)}
            failed = next((w.reason for w in without if w.reason.startswith(UNWIRED)), "")
            rows.append(
                PatchResult(
                    made.id,
                    made.file_name,
                    str(written.path),
                    said.target.file,
                    said.target.build_id,
                    len(said.functions),
                    said.grade.value,
                    tripwires=len(said.tripwires),
                    noisy=noisy,
                    unwired=why or failed,
                )
            )
        return rows

    def _tries(self, patches: Sequence[PatchResult]) -> tuple[list[PatchResult], Sequence[Trial]]:
        """The patches with what their trials came to."""
        by_build_id = {ElfFile.read(s.path).build_id or "": s for s in self.prepared.shipped}
        candidates = [Candidate(Path(p.path), by_build_id[p.build_id]) for p in patches]
        with self.clock.step("trial"):
            trials = try_patches(self.prepared.tree, self.prepared.shipped, candidates, self.progress)
        found = []
        for patch, trial in zip(patches, trials, strict=True):
            ran = tuple(c.command for c in trial.cases if c.outcome is TrialOutcome.PASSED)
            tried = replace(patch, trial=trial.outcome.value, tried=ran, detail=trial.detail)
            found.append(replace(tried, calls=trial.calls, looks=trial.looks))
        return found, trials
