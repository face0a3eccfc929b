"""One patch in all processes that map a library. `bench/every_process` calls it.

Half of the processes were started alone, each with its own addresses; half are children of a parent, ten in a family,
as servers that fork have them. `suture apply PATCH` and `suture revert PATCH` are run as a person would; for the pause,
single processes are patched one at a time in between.

With `--load` all that is done while the machine is busy: so many loops at the usual priority, each in a session of its
own.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from facts import RESULTS, Start
from summary import Spread
from target import Library, NotMeasured

from suture.cli.output import print_json, print_table
from suture.number import BuildId
from suture.patch.file import read_patch
from suture.process.change.apply import apply
from suture.process.change.revert import revert
from suture.process.see.find import find

COLUMNS = ("run", "seconds", "to find them, s", "CPU, s", "CPU for each, ms", "pause p50, us", "p99", "max")
_FAMILY = 10
_SINGLE = 40
_BUSY_SECONDS = 600


def main(words: Sequence[str] | None = None) -> int:
    """Exit code 1 when a process was left out."""
    parser = argparse.ArgumentParser(
        prog="bench/every_process", description="One patch in all processes that map a library."
    )
    parser.add_argument("--processes", type=int, default=1000, metavar="N", help="how many (1000)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="apply and revert so often (3)")
    parser.add_argument("--load", type=int, default=0, metavar="N", help="beside N busy loops")
    parser.add_argument("--json", action="store_true", help="print the raw numbers")
    parser.add_argument("--into", type=Path, default=RESULTS, metavar="DIR", help="where the raw numbers are kept")
    args = parser.parse_args(words)
    start = Start.now("every_process", words)
    with tempfile.TemporaryDirectory() as name:
        library = Library.compile(Path(name))
        path = library.patch(2)
        build_id = read_patch(path).manifest.target.build_id
        data = _changing(library, args.processes, args.rounds, path, build_id, args.load)
    record = start.finish(data)
    if args.load:
        record = replace(record, bench="every_process_loaded")
    record.write(args.into)
    if args.json:
        print_json(record.data)
    else:
        print_table(COLUMNS, rows(record.data))
    return 0


def _changing(library: Library, processes: int, rounds: int, path: Path, build_id: str, loops: int) -> dict[str, Any]:
    with _many(library.program("sleeper"), processes, build_id), _busy(loops):
        runs: list[dict[str, Any]] = []
        for n in range(rounds):
            kind = "apply" if n == 0 else "apply again"  # again: the patch's memory is there
            runs += [_run(kind, "apply", path, processes), _run("revert", "revert", path, processes)]
        single = _single(path, build_id)
    return {"processes": processes, "busy_loops": loops, "runs": runs, "single_us": single}


@contextmanager
def _many(program: Path, count: int, build_id: str) -> Iterator[None]:
    families = count // 2 // _FAMILY
    alone = count - families * _FAMILY
    started = []
    try:
        for n in range(alone + families):
            argv = [str(program)] if n < alone else [str(program), str(_FAMILY - 1)]
            started.append(subprocess.Popen(argv, start_new_session=True))
        deadline = time.monotonic() + 60
        while len(find(BuildId(build_id))) != count:
            if time.monotonic() > deadline:
                raise NotMeasured(f"{len(find(BuildId(build_id)))} of {count} processes came up")
            time.sleep(0.2)
        yield
    finally:
        for process in started:
            os.killpg(process.pid, signal.SIGKILL)
        for process in started:
            process.wait()


@contextmanager
def _busy(count: int) -> Iterator[None]:
    """Loops that use all the processor time they get. They end by themselves if this program does not end them."""
    loop = ["timeout", f"{_BUSY_SECONDS}", "sh", "-c", "while :; do :; done"]
    started = [subprocess.Popen(loop, start_new_session=True) for _ in range(count)]
    try:
        yield
    finally:
        for process in started:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _run(kind: str, verb: str, patch: Path, count: int) -> dict[str, Any]:
    before, begin = os.times(), time.monotonic()
    command = [str(Path(sys.executable).with_name("suture")), verb, str(patch), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    seconds, after = time.monotonic() - begin, os.times()
    answer = json.loads(done.stdout)
    if "error" in answer:
        raise NotMeasured(f"suture {verb}: {answer['error']}")
    if answer["failed"] or len(answer["processes"]) != count:
        raise NotMeasured(
            f"{verb} ended with {done.returncode}: {len(answer.get('processes', ()))} of {count} processes"
        )
    pauses = [round(us, 1) for p in answer["processes"] for us in p["pauses_us"]]
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    scan = answer.get("scan_seconds")
    return {
        "kind": kind,
        "seconds": seconds,
        "scan_seconds": scan,
        "cpu_seconds": cpu,
        "pauses_us": pauses,
        "load": os.getloadavg()[0],
    }


def _single(path: Path, build_id: str) -> list[float]:
    """Pauses when one process at a time is patched, and nothing else is done."""
    patch = read_patch(path)
    pids = find(BuildId(build_id))
    found: list[float] = []
    for pid in pids[:: max(1, len(pids) // _SINGLE)]:
        found += apply(pid, patch).pauses_us
        found += revert(pid, patch.id).pauses_us
        time.sleep(0.003)
    return [round(us, 1) for us in found]


def rows(data: Mapping[str, Any]) -> list[list[str]]:
    """The table from raw numbers; single processes are its last line."""
    found = []
    for run in data["runs"]:
        scan = "-" if run["scan_seconds"] is None else f"{run['scan_seconds']:.2f}"
        each = 1000 * run["cpu_seconds"] / data["processes"]
        found.append(
            [
                run["kind"],
                f"{run['seconds']:.2f}",
                scan,
                f"{run['cpu_seconds']:.2f}",
                f"{each:.2f}",
                *Spread.of(run["pauses_us"]).cells(),
            ]
        )
    return [*found, ["one process at a time", "-", "-", "-", "-", *Spread.of(data["single_us"]).cells()]]


def goals(data: Mapping[str, Any]) -> list[tuple[str, bool, str]]:
    """(goal, whether it is met, the number), of all runs of their kind the median."""
    applies = [r for r in data["runs"] if r["scan_seconds"] is not None]
    scan, whole = (statistics.median(r[key] for r in applies) for key in ("scan_seconds", "seconds"))
    each = statistics.median(Spread.of(r["pauses_us"]).p50 for r in applies)
    alone = Spread.of(data["single_us"]).p50
    n = data["processes"]
    return [
        (f"{n} processes found in 0.5 s", scan < 0.5, f"{scan:.2f} s"),
        (f"a patch in {n} processes in 3 s", whole < 3, f"{whole:.2f} s"),
        ("each pause as for one process alone", each < 1.25 * alone, f"p50 {each:.0f} us, alone {alone:.0f} us"),
    ]


if __name__ == "__main__":
    sys.exit(main())
