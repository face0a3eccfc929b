"""Many rounds of applying and reverting kernel patches while the guest forks, writes files and talks over loopback."""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

from facts import RESULTS, Start
from kernel_behaviour import request_of
from kernel_guest import insert

from suture.machine.vm import Guest
from suture.make_kernel.make import make
from suture.make_kernel.request import ready
from suture.make_kernel.target import find

_HERE = Path(__file__).resolve().parent
_LOAD = """
(while :; do /bin/true; sh -c :; done) >/dev/null 2>&1 &
(mkdir -p /tmp/load; while :; do dd if=/dev/zero of=/tmp/load/a bs=64k count=16; cp /tmp/load/a /tmp/load/b;
    rm /tmp/load/*; done) >/dev/null 2>&1 &
(while :; do nc -l -p 7000 -e /bin/cat; done) >/dev/null 2>&1 &
(while :; do echo hello | timeout 2 nc 127.0.0.1 7000; done) >/dev/null 2>&1 &
(while :; do ping -c 1 127.0.0.1; done) >/dev/null 2>&1 &
"""
_DRIVER = """
import json, sys, time
from pathlib import Path
from suture.kernel.manifest import read_patch
from suture.kernel.transition import apply, revert
rounds, files = int(sys.argv[1]), [Path("/mnt") / n for n in sys.argv[2:]]
patches = [(f, read_patch(f)) for f in files]
for number in range(rounds):
    path, patch = patches[number % len(patches)]
    up = apply(path, patch, 120)
    down = revert(patch.manifest.module, 120)
    print(json.dumps([patch.manifest.module, up.outcome.value,
        up.seconds, down.outcome.value, down.seconds]), flush=True)
"""
_BAD = (
    "BUG",
    "Oops",
    "WARNING",
    "Call Trace",
    "hung_task",
    "detected stall",
    "Kernel panic",
    "general protection",
    "unable to handle",
    "corrupt",
)


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="bench/kernel_soak", description="Applies and reverts under load in the guest."
    )
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--fixes", type=int, default=3, help="how many fixes of bench/kernel_behaviour.toml take turns")
    parser.add_argument("--version", default="6.1.176-1")
    parser.add_argument("--to", default="6.1.192-2")
    args = parser.parse_args(words)
    start = Start.now("kernel_soak", words)
    target = find(args.version)
    fixes = tomllib.loads((_HERE / "kernel_behaviour.toml").read_text())["fix"][: args.fixes]
    made = [make(ready(request_of(f, args.version, args.to))) for f in fixes]
    rows: list[list[object]] = []
    with Guest(target, memory=1536) as guest:
        names = []
        for fix, patch in zip(fixes, made, strict=True):
            insert(guest, target, fix.get("modules", []))
            names.append(f"{patch.manifest.module}.ko")
            (guest.share / names[-1]).write_bytes(patch.data)
        (guest.share / "soak.py").write_text(_DRIVER)
        guest.run(_LOAD)
        forks = "awk '/^processes/ {print $2}' /proc/stat"
        before = int(guest.run(forks).output)
        done = 0
        while done < args.rounds:
            count = min(10, args.rounds - done)
            answer = guest.python(f"/mnt/soak.py {count} {' '.join(names)}", 1500)
            rows += [json.loads(x) for x in answer.output.splitlines() if x.startswith("[")]
            done += count
            if answer.status:
                print(answer.output, file=sys.stderr)
                break
        born = int(guest.run(forks).output) - before
        log = guest.run("dmesg").output.splitlines()
    bad = [x for x in log if any(b in x for b in _BAD)]
    record = start.finish({"rounds": len(rows), "wanted": args.rounds, "bad": bad, "processes": born, "samples": rows})
    record.write(RESULTS)
    print(json.dumps({"rounds": len(rows), "bad": bad, "processes": born}))
    return 0 if len(rows) == args.rounds and not bad else 1


if __name__ == "__main__":
    sys.exit(main())
