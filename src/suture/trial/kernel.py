"""Trying a kernel patch: the archive's kernel is started in a test machine, the modules that the patch is for are
loaded, and Suture applies and reverts the patch there as it does on hosts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from suture.error import NotFound
from suture.kernel.manifest import KernelPatch, read_patch
from suture.machine.initrd import in_order
from suture.machine.vm import Guest, GuestFailed
from suture.make_kernel.image import VMLINUX
from suture.make_kernel.target import ArchiveKernel
from suture.progress import Progress, silent
from suture.trial.result import Case, Trial, TrialOutcome

# Runs in the guest, by the host's Python: what `suture apply` and `suture revert` do, without starting Python for each.
DRIVER = """
import json, sys
from pathlib import Path
from suture.error import SutureError
from suture.kernel import livepatch
from suture.kernel.manifest import read_patch
from suture.kernel.transition import apply, revert
for name in sys.argv[1:]:
    path = Path("/mnt") / name
    row = {"file": name, "loaded": False, "transition": False, "reverted": False, "said": ""}
    mark = len(livepatch._log())
    try:
        patch = read_patch(path)
        done = apply(path, patch, 90)
        row.update(loaded=True, transition=True, apply_seconds=done.seconds, notes=done.notes)
        back = revert(patch.manifest.module, 90)
        row.update(reverted=True, revert_seconds=back.seconds, after=back.outcome.value)
    except SutureError as error:
        row["said"] = error.what
    usual = ("livepatch:", "suture_", "module verification", "taint")
    row["log"] = [x for x in livepatch._log()[mark:] if not any(u in x for u in usual)]
    print(json.dumps(row), flush=True)
"""
_SOFT = "crc32c_generic"  # what modules ask for at run time (MODULE_SOFTDEP), and no udev is there to bring
_MEMORY = 1536  # MiB
_SECONDS = 900.0
_FAULTS = ("BUG:", "WARNING:", "Oops", "Call Trace")


@dataclass(frozen=True)
class KernelTrial:
    """`later` are patched modules that the test machine cannot load: their functions would be replaced when they come,
    and were not here."""

    trial: Trial
    later: tuple[str, ...] = ()


def try_kernel_patch(target: ArchiveKernel, path: Path, progress: Progress = silent) -> KernelTrial:
    """The trial of one patch. What cannot be run says why; nothing is raised for that."""
    patch = read_patch(path)
    objects = sorted({f.object for f in patch.manifest.functions} - {VMLINUX})
    files = in_order(target, (*((_SOFT,) if objects else ()), *objects))
    shared = {"driver.py": DRIVER.encode(), path.name: patch.data, **{f.name: f.read_bytes() for f in files}}
    progress(f"trying {path.name} in {target.release}")
    try:
        with Guest(target, memory=_MEMORY, shared=shared) as guest:
            for file in files:
                guest.run(f"insmod /share/{file.name}", 120)
            loaded = set(guest.run("cut -d' ' -f1 /proc/modules").output.split())
            answer = guest.python(f"/mnt/driver.py {path.name}", _SECONDS)
    except (GuestFailed, NotFound) as problem:
        case = Case(_command(target), TrialOutcome.NOT_RUN, problem.what.split("\n")[0])
        return KernelTrial(Trial(patch.manifest.module, (case,)))
    rows = [json.loads(x) for x in answer.output.splitlines() if x.startswith("{")]
    case = judged(_command(target), rows[0] if rows else None, answer.output, patch)
    return KernelTrial(Trial(patch.manifest.module, (case,)), tuple(o for o in objects if o not in loaded))


def _command(target: ArchiveKernel) -> str:
    return f"apply and revert in {target.release}"


def judged(command: str, row: dict[str, Any] | None, output: str, patch: KernelPatch) -> Case:
    """What the guest's row says of a patch: loaded, changed over, and taken back with no fault in the kernel's log."""
    if row is None:
        return Case(command, TrialOutcome.FAILED, f"the guest did not come back from it: {output.strip()[-200:]}")
    faults = [x for x in row["log"] if any(f in x for f in _FAULTS)]
    if faults:
        return Case(command, TrialOutcome.FAILED, f"the kernel says: {faults[0]}")
    if not row["transition"] or not row["reverted"]:
        return Case(command, TrialOutcome.FAILED, row["said"].split("\n")[0] or "not reverted")
    seconds = f"{row['apply_seconds']:.1f} s to change over, {row['revert_seconds']:.1f} s back"
    left = "; it stays loaded, since the kernel may hold addresses of its code" if patch.manifest.keep else ""
    return Case(command, TrialOutcome.PASSED, f"{len(patch.manifest.functions)} functions, {seconds}{left}")
