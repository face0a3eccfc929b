"""Trying patches in a guest: modules that they are for are loaded, each patch is applied and reverted by Suture itself, in the guest."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from suture.kernel.manifest import KernelPatch
from suture.machine.vm import Guest
from suture.make_kernel.image import read_depends
from suture.make_kernel.target import Target

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


def in_guest(
    target: Target, patches: Mapping[str, KernelPatch], keep: Callable[[str, dict[str, Any]], None], batch: int = 4
) -> None:
    """Try each patch; `keep` gets its path and what came of it, as soon as that is known."""
    with Guest(target, memory=1536) as guest:
        (guest.share / "driver.py").write_text(DRIVER)
        needed = sorted({f.object for m in patches.values() for f in m.manifest.functions} - {"vmlinux"})
        refused = insert(guest, target, needed)
        files = {}
        for path, made in patches.items():
            name = f"{made.manifest.module}.ko"
            (guest.share / name).write_bytes(made.data)
            files[name] = path
        names = list(files)
        for at in range(0, len(names), batch):
            answer = guest.python("/mnt/driver.py " + " ".join(names[at : at + batch]), 900)
            for line in answer.output.splitlines():
                if line.startswith("{"):
                    row = json.loads(line)
                    path = files[row.pop("file")]
                    later = sorted({f.object for f in patches[path].manifest.functions} & refused)
                    keep(path, {**row, **({"unloaded_target": later} if later else {})})
                elif line.strip():
                    print(line, flush=True)


def insert(guest: Guest, target: Target, names: list[str]) -> set[str]:
    """Load modules with what they depend on; those that the guest's (virtual) hardware can't have are returned."""
    done: set[str] = set()

    def order(name: str) -> list[Path]:
        path = target.module(name)
        if path is None or name in done:
            return []
        done.add(name)
        return [q for d in read_depends(path) for q in order(d)] + [path]

    # what modules ask for at run time (MODULE_SOFTDEP), and no udev is there to bring
    for name in (*(("crc32c_generic",) if names else ()), *names):
        for path in order(name):
            guest.run(f"insmod /host{path}", 120)
    loaded = set(guest.run("cut -d' ' -f1 /proc/modules").output.split())
    return set(names) - loaded
