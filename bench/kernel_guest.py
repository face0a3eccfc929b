"""Trying patches in a guest: modules that they are for are loaded, each patch is applied and reverted by Suture itself,
in the guest."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from suture.kernel.manifest import KernelPatch
from suture.machine.initrd import in_order
from suture.machine.vm import Guest
from suture.make_kernel.target import ArchiveKernel
from suture.trial.kernel import DRIVER


def in_guest(
    target: ArchiveKernel,
    waiting: Callable[[], Mapping[str, KernelPatch] | None],
    keep: Callable[[str, dict[str, Any]], None],
    batch: int = 4,
) -> None:
    """Try patches in one guest: those that `waiting` gives, until it gives None. `keep` gets the path of each and what
    came of it, as soon as that is known.
    """
    with Guest(target, memory=1536) as guest:
        (guest.share / "driver.py").write_text(DRIVER)
        inserted: set[str] = set()
        refused: set[str] = set()
        while (patches := waiting()) is not None:
            some = dict(list(patches.items())[:batch])
            if not some:
                time.sleep(1)
                continue
            needed = {f.object for m in some.values() for f in m.manifest.functions} - {"vmlinux"} - inserted
            refused |= insert(guest, target, sorted(needed))
            inserted |= needed
            for path, row in _tried(guest, some):
                later = sorted({f.object for f in some[path].manifest.functions} & refused)
                keep(path, {**row, **({"unloaded_target": later} if later else {})})


def _tried(guest: Guest, patches: Mapping[str, KernelPatch]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows that the driver prints. Where it stopped is told as that."""
    files = {}
    for path, made in patches.items():
        name = f"{made.manifest.module}.ko"
        (guest.share / name).write_bytes(made.data)
        files[name] = path
    answer = guest.python("/mnt/driver.py " + " ".join(files), 900)
    for line in answer.output.splitlines():
        if line.startswith("{"):
            row = json.loads(line)
            yield files.pop(row.pop("file")), row
        elif line.strip():
            print(line, flush=True)
    for path in files.values():
        yield (
            path,
            {
                "loaded": False,
                "transition": False,
                "reverted": False,
                "said": "the guest did not come back from it",
                "log": [],
            },
        )


def insert(guest: Guest, target: ArchiveKernel, names: list[str]) -> set[str]:
    """Load modules with what they depend on; those that the guest's (virtual) hardware can't have are returned."""
    # what modules ask for at run time (MODULE_SOFTDEP), and no udev is there to bring
    for path in in_order(target, (*(("crc32c_generic",) if names else ()), *names)):
        guest.run(f"insmod /host{path}", 120)
    loaded = set(guest.run("cut -d' ' -f1 /proc/modules").output.split())
    return set(names) - loaded
