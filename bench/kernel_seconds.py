"""Seconds of each step for the kernel: a tree made ready from nothing, one unit, one module, and from a fix to its
module in force."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from facts import RESULTS, Record, Start
from kernel_page import DOCUMENT, document

from suture.machine.vm import Guest
from suture.make_kernel import unit
from suture.make_kernel.make import make
from suture.make_kernel.prepare import prepare, unpacked
from suture.make_kernel.request import KernelRequest, ready
from suture.make_kernel.target import find
from suture.source import cache

_T = TypeVar("_T")
_FIX = Path(__file__).resolve().parent.parent / "tests/kernel/fixes/kdskbmeta.patch"
_UNITS = ("drivers/tty/vt/vt_ioctl.c", "fs/pipe.c", "net/ipv4/tcp_input.c")
_SHARED = ("apt", "binary", "room", "layer", "vmlinux", "accelerator")  # fetched or installed; not a part of preparing


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="bench/kernel_seconds", description="Times making and loading a kernel patch."
    )
    parser.add_argument("--version", default="6.1.176-1")
    args = parser.parse_args(words)
    start = Start.now("kernel_seconds", words)
    seconds: dict[str, float] = {}

    def timed(name: str, work: Callable[[], _T]) -> _T:
        began = time.monotonic()
        done = work()
        seconds[name] = round(time.monotonic() - began, 2)
        print(name, seconds[name], file=sys.stderr, flush=True)
        return done

    target = find(args.version)
    prepare(target)
    usual = cache.root()
    with tempfile.TemporaryDirectory(dir=usual) as name:
        for shared in _SHARED:
            if (usual / shared).exists():
                (Path(name) / shared).symlink_to(usual / shared)
        os.environ["SUTURE_CACHE"] = name
        timed("unpack the source", lambda: unpacked(target, args.version))
        tree = timed("prepare the tree", lambda: prepare(target))
        found = timed(f"ask kbuild for {len(_UNITS)} files", lambda: unit.units(tree, _UNITS))
        chosen = [u for u in found.values() if isinstance(u, unit.KernelUnit)]
        timed(f"compile {len(_UNITS)} files with sections", lambda: unit.compile_sections(tree, chosen, None, ""))
        del os.environ["SUTURE_CACHE"]
        shutil.rmtree(Path(name) / "tree", ignore_errors=True)
    text = _FIX.read_text()
    with Guest(target) as guest:
        began = time.monotonic()
        # a name of its own, so that nothing of post is in the cache
        fix = text.replace("return -EPERM", f"return -(EPERM + 0 * {time.time_ns() % 100000})")
        made = make(ready(KernelRequest(f"linux={args.version}", ((_FIX.name, fix),))))
        seconds["from the fix to the module, warm"] = round(time.monotonic() - began, 2)
        path = guest.share / f"{made.manifest.module}.ko"
        path.write_bytes(made.data)
        answer = guest.suture(f"apply /mnt/{path.name} --timeout 120 --accept-partial")
        seconds["from the fix to the module in force in the guest, warm"] = round(time.monotonic() - began, 2)
        assert answer.status == 0, answer.output
        steps = {k: round(v, 2) for k, v in made.seconds.items()}
    start.finish({"seconds": seconds, "steps": steps}).write(RESULTS)
    if (RESULTS / "kernel_coverage.json").exists():
        DOCUMENT.write_text(document(Record.read(RESULTS / "kernel_coverage.json")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
