"""Tripwires of kernel fixes whose effect is seen in the guest, and whether their probe raises one.
`bench/tripwires_kernel` calls it.

The fixes and probes are those of bench/kernel_behaviour. What a counter has before the probe, the guest's own work has
raised: its start, Suture, and what the probe does before the patch.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from facts import RESULTS, Record, Start
from kernel_behaviour import request_of
from kernel_guest import insert
from tripwires_page import DOCUMENT, document

from suture.error import SutureError
from suture.machine.vm import Guest
from suture.make_kernel.make import KernelMaking, make
from suture.make_kernel.request import ready
from suture.make_kernel.target import find

_HERE = Path(__file__).resolve().parent


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench/tripwires_kernel", description="Tripwires of kernel fixes.")
    parser.add_argument("names", nargs="*", metavar="TEXT", help="only fixes whose name has it, printed only")
    parser.add_argument("--version", default="6.1.176-1")
    parser.add_argument("--to", default="6.1.192-2")
    args = parser.parse_args(words)
    start = Start.now("tripwires_kernel", words)
    fixes: list[dict[str, Any]] = tomllib.loads((_HERE / "kernel_behaviour.toml").read_text())["fix"]
    chosen = [f for f in fixes if not args.names or any(n in f["name"] for n in args.names)]
    made: list[KernelMaking | str] = []
    for fix in chosen:
        try:
            made.append(make(ready(replace(request_of(fix, args.version, args.to), tripwires=True))))
        except SutureError as error:
            made.append(" ".join(error.what.split())[:300])
        print(f"{fix['name']}: {made[-1] if isinstance(made[-1], str) else 'made'}", file=sys.stderr, flush=True)
    rows = []
    with Guest(find(args.version)) as guest:
        shutil.copytree(_HERE / "kernel_probes", guest.share / "probes")
        for fix, patch in zip(chosen, made, strict=True):
            rows.append(_row(guest, fix, patch))
            print(rows[-1], file=sys.stderr, flush=True)
    if not args.names:
        start.finish({"version": args.version, "to": args.to, "rows": rows}).write(RESULTS)
        DOCUMENT.write_text(document(Record.read(RESULTS / "tripwires.json")))
    return 0


def _row(guest: Guest, fix: dict[str, Any], patch: KernelMaking | str) -> dict[str, Any]:
    """One fix: its module applied, and its probe run."""
    row: dict[str, Any] = {
        "name": fix["name"], "what": fix["what"], "tripwires": 0, "without": 0, "reasons": [], "fired": [],
        "noisy": [], "made": False, "note": "",
    }  # fmt: skip
    if isinstance(patch, str):
        return row | {"note": f"no patch: {patch}"}
    said = patch.manifest
    row |= {
        "made": True,
        "tripwires": len(said.tripwires),
        "without": len(said.without_tripwire),
        "reasons": sorted({w.reason for w in said.without_tripwire}),
    }
    insert(guest, guest.target, fix.get("modules", []))
    (guest.share / f"{said.module}.ko").write_bytes(patch.data)
    guest.python(f"/mnt/probes/{fix['probe']}")
    applied = guest.suture(f"apply /mnt/{said.module}.ko --timeout 90 --accept-partial")
    if applied.status:
        return row | {"note": f"not applied: {applied.output.strip()[:200]}"}
    before = _counts(guest, said.module)
    guest.python(f"/mnt/probes/{fix['probe']}")
    after = _counts(guest, said.module)
    guest.suture(f"revert {said.module} --timeout 90")
    fired = sorted(place for place, count in after.items() if count > before.get(place, 0))
    return row | {"fired": fired, "noisy": sorted(place for place, count in before.items() if count)}


def _counts(guest: Guest, module: str) -> dict[str, int]:
    """The counts of a module, by place and condition."""
    status: Any = json.loads(guest.suture("status --kernel --json").output)
    rows = [w for p in status["kernel"]["patches"] if p["name"] == module for w in p["tripwires"]]
    return {f"{w['wire']['file']}:{w['wire']['line']} {w['wire']['condition']}": w["count"] for w in rows}


if __name__ == "__main__":
    sys.exit(main())
