"""Applying and reverting a kernel patch: load, wait until every task has changed over, name those that have not, the
way back."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from suture.error import ExitCode, NotFound, SutureError
from suture.kernel import livepatch
from suture.kernel.attempts import carried
from suture.kernel.check import check, facts
from suture.kernel.livepatch import LoadedPatch
from suture.kernel.manifest import KernelPatch
from suture.report.kernel import HoldingTask, KernelOutcome
from suture.report.reason import Reason

_STEP = 0.05
_BACK = 60.0  # seconds that turning round may take: tasks that had not changed over need not change back


class Stalled(SutureError):
    """Tasks stayed inside old code. The patch was taken back, or is still on its way."""

    exit_code = ExitCode.BUSY


@dataclass(frozen=True)
class TransitionResult:
    """`seconds` from loading to the end of the transition; `replaced` are older patches that this one took the place
    of."""

    name: str
    outcome: KernelOutcome
    seconds: float
    notes: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()


@dataclass
class _Wait:
    name: str
    wanted: bool
    timeout: float
    began: float = field(default_factory=time.monotonic)

    def ended(self) -> bool:
        """Wait for the end of a transition; False when time is up."""
        path = livepatch.SYS / "kernel/livepatch" / self.name / "transition"
        while time.monotonic() - self.began < self.timeout:
            try:
                if path.read_text().strip() == "0":
                    return True
            except OSError:
                return True  # a reverted patch has no folder any more
            time.sleep(_STEP)
        return False


def apply(path: Path, patch: KernelPatch, timeout: float, accept_loss: bool = False) -> TransitionResult:
    """Load a patch and wait for its transition.

    Raises what `check` does, `LoadFailed`, and `Stalled` after the patch has been taken back.
    """
    began = time.monotonic()
    name = patch.manifest.module
    here = facts(tuple(patch.manifest.objects))
    notes = check(patch, here, accept_loss)
    before = {p.name: p for p in here.patches}
    own = before.get(name)
    if own is not None and own.enabled:
        return TransitionResult(name, KernelOutcome.ALREADY, 0.0, notes)
    if own is not None:
        livepatch.unload(name)  # 6.1 can't enable a disabled patch again; it is loaded anew
    livepatch.load(path, carried(patch.manifest, here.patches))
    if not _Wait(name, True, timeout).ended():
        raise _taken_back(name, timeout)
    replaced = _sweep(before, name) if patch.manifest.replace else ()
    return TransitionResult(name, KernelOutcome.APPLIED, time.monotonic() - began, notes, replaced)


def revert(name: str, timeout: float) -> TransitionResult:
    """Disable a patch, wait, and unload it unless its code may still be referred to. Raises `NotFound`, `Stalled`."""
    began = time.monotonic()
    found = next((p for p in livepatch.patches() if p.name == name), None)
    if found is None:
        raise NotFound(
            f"the running kernel has no live patch {name}",
            "suture status --kernel lists them",
            reason=Reason.NO_KERNEL_PATCH,
        )
    if found.enabled:
        livepatch.set_enabled(name, False)
    if (found.enabled or found.transition) and not _Wait(name, False, timeout).ended():
        tasks = holding(0)
        livepatch.set_enabled(name, True)
        back = _Wait(name, True, _BACK).ended()
        state = "it is in force again" if back else "it is still changing over"
        raise Stalled(
            f"{name}: not reverted in {timeout:g} s, {state}{_listed(tasks)}", _REMEDY, reason=Reason.BUSY_TASKS
        )
    if found.record.get("keep") == "yes":
        why = ("stays loaded: the kernel may hold addresses of its code",)
        return TransitionResult(name, KernelOutcome.DISABLED, time.monotonic() - began, why)
    _unload(name)
    return TransitionResult(name, KernelOutcome.REVERTED, time.monotonic() - began)


_REMEDY = "try again with a longer --timeout when the tasks above are idle, or end or restart them"


def _taken_back(name: str, timeout: float) -> Stalled:
    tasks = holding(1)
    livepatch.set_enabled(name, False)
    back = _Wait(name, False, _BACK).ended()
    if back:
        _unload(name)
    state = "it was taken back, nothing is changed" if back else "it is on its way back"
    return Stalled(
        f"{name}: not all tasks changed over in {timeout:g} s; {state}{_listed(tasks)}",
        _REMEDY,
        reason=Reason.BUSY_TASKS,
    )


def _sweep(before: dict[str, LoadedPatch], name: str) -> tuple[str, ...]:
    """Unload our older patches that a cumulative one has replaced."""
    gone = []
    for older in before.values():
        if older.name != name and older.is_ours:
            gone.append(older.name)
            if older.record.get("keep") != "yes":
                _unload(older.name)
    return tuple(gone)


def _unload(name: str) -> None:
    """Unload, giving the kernel a moment to drop its last reference."""
    for left in range(50, -1, -1):
        try:
            return livepatch.unload(name)
        except SutureError:
            if not left:
                raise
            time.sleep(_STEP)


def holding(wanted: int, proc: Path = Path("/proc")) -> tuple[HoldingTask, ...]:
    """Tasks whose patch state is not the wanted one (1 patched, 0 unpatched)."""
    found = []
    for path in sorted(proc.glob("[0-9]*/task/[0-9]*"), key=lambda p: int(p.name)):
        try:
            state = int((path / "patch_state").read_text())
            if state in (-1, wanted):
                continue
            stack = tuple(x.partition("] ")[2].split("+")[0] for x in (path / "stack").read_text().splitlines())
            name, status = (
                (path / "comm").read_text().strip(),
                (path / "stat").read_text().rpartition(")")[2].split()[0],
            )
        except (OSError, ValueError, IndexError):
            continue
        found.append(HoldingTask(int(path.parts[-3]), int(path.name), name, status, stack))
    return tuple(found)


def _listed(tasks: tuple[HoldingTask, ...]) -> str:
    rows = [f"\n  {t.command} (pid {t.pid}, task {t.tid}, {t.state}): {' < '.join(t.stack[:8])}" for t in tasks[:10]]
    return "".join([":", *rows, f"\n  and {len(tasks) - 10} more" if len(tasks) > 10 else ""]) if rows else ""
