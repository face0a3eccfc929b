"""Fixes whose effect is seen from user space: the same probe before, while its patch is in force, and after it was
reverted."""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from facts import RESULTS, Record, Start
from kernel_guest import insert
from kernel_page import DOCUMENT, document

from suture.error import SutureError
from suture.machine.vm import Guest
from suture.make_kernel.make import KernelMaking, make
from suture.make_kernel.prepare import ROOT, prepare, unpacked
from suture.make_kernel.request import KernelRequest, ready
from suture.make_kernel.target import find
from suture.source.difference import tree_difference

_HERE = Path(__file__).resolve().parent


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="bench/kernel_behaviour", description="Shows what fixes change, in the guest."
    )
    parser.add_argument("--version", default="6.1.176-1")
    parser.add_argument("--to", default="6.1.192-2")
    args = parser.parse_args(words)
    start = Start.now("kernel_behaviour", words)
    fixes: list[dict[str, Any]] = tomllib.loads((_HERE / "kernel_behaviour.toml").read_text())["fix"]
    made: list[KernelMaking | str] = []
    for fix in fixes:
        try:
            made.append(make(ready(request_of(fix, args.version, args.to))))
            print(f"{fix['name']}: made", file=sys.stderr, flush=True)
        except SutureError as error:
            made.append(" ".join(error.what.split())[:300])
            print(f"{fix['name']}: {made[-1]}", file=sys.stderr, flush=True)
    rows = []
    target = find(args.version)
    with Guest(target) as guest:
        shutil.copytree(_HERE / "kernel_probes", guest.share / "probes")
        for fix, patch in zip(fixes, made, strict=True):
            row = {"name": fix["name"], "what": fix["what"], "before": "", "during": "", "after": "", "shown": False}
            if isinstance(patch, str):
                row["before"] = f"no patch: {patch}"
            else:
                row |= _try(guest, fix, patch)
            rows.append(row)
            print(row, file=sys.stderr, flush=True)
    start.finish({"version": args.version, "to": args.to, "rows": rows}).write(RESULTS)
    DOCUMENT.write_text(document(Record.read(RESULTS / "kernel_coverage.json")))
    return 0 if sum(bool(r["shown"]) for r in rows) >= 6 else 1


def request_of(fix: dict[str, Any], version: str, to: str) -> KernelRequest:
    """All that changes in the fix's files; of a file that several fixes change, only the hunks that hold the text
    `hunk`."""
    if "hunk" not in fix:
        return KernelRequest(f"linux={version}", to=to, only=tuple(fix["only"]))
    target = find(version)
    newer = unpacked(target, to) / ROOT.lstrip("/")
    whole = tree_difference(prepare(target).files, newer, fix["name"], tuple(fix["only"]))
    texts = []
    for part in whole.files:
        head, *hunks = re.split(r"^(?=@@ )", part.text, flags=re.MULTILINE)
        texts += [head, *(h for h in hunks if fix["hunk"] in h)]
    name = re.sub(r"\W+", "-", fix["name"].partition(":")[0]) + ".patch"
    return KernelRequest(f"linux={version}", ((name, "".join(texts)),))


def _try(guest: Guest, fix: dict[str, Any], patch: KernelMaking) -> dict[str, Any]:
    insert(guest, guest.target, fix.get("modules", []))
    name = f"{patch.manifest.module}.ko"
    (guest.share / name).write_bytes(patch.data)

    def probe() -> str:
        answer = guest.python(f"/mnt/probes/{fix['probe']}")
        return (answer.output.strip().splitlines() or [f"status {answer.status}"])[-1]

    before = probe()
    applied = guest.suture(f"apply /mnt/{name} --timeout 90 --accept-partial")
    during = probe() if applied.status == 0 else f"not applied: {applied.output.strip()[:200]}"
    reverted = guest.suture(f"revert {patch.manifest.module} --timeout 90")
    after = probe() if reverted.status == 0 else f"not reverted: {reverted.output.strip()[:200]}"
    shown = applied.status == reverted.status == 0 and before == after != during
    return {"before": before, "during": during, "after": after, "shown": shown}


if __name__ == "__main__":
    sys.exit(main())
