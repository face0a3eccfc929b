"""How long a process stands still while a fix of two binaries goes in, in one stop. `bench/joint` calls it.

By turns, so that the machine's noise meets all: the patch of one of the two libraries alone, the patches of both in
one stop, and the floor of `bench/pause`, a C program that stops all threads, reads registers and used stacks and lets
them go.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from facts import RESULTS, Start
from pause import floor_program
from summary import Spread, ratio
from target import Library, NotMeasured, Shared, ask, started, wait_until_ready

from suture.cli.output import print_json
from suture.patch.file import PatchFile, read_patch
from suture.process.change.apply import apply
from suture.process.change.result import Result
from suture.process.change.revert import revert

_COUNTS = (8, 32, 128)
_GAUGE_SIZE = 16 + 16 * 65536
_SETTLE_SECONDS = 0.003
COLUMNS = ("threads", "floor p50", "one binary p50", "p99", "max", "both p50", "p99", "max", "both to one")


@dataclass(frozen=True)
class Sample:
    """Raw numbers of one number of threads, microseconds: one entry for each apply and each revert."""

    threads: int
    floor: list[float]
    one: list[float]
    both: list[float]


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="bench/joint", description="How long a process stands still while a fix of two binaries goes in."
    )
    parser.add_argument("--rounds", type=int, default=100, metavar="N", help="apply and revert so often (100)")
    parser.add_argument(
        "--threads", type=int, nargs="+", default=_COUNTS, metavar="N", help="threads of the target (8 32 128)"
    )
    parser.add_argument("--json", action="store_true", help="print the raw numbers")
    parser.add_argument("--into", type=Path, default=RESULTS, metavar="DIR", help="where the raw numbers are kept")
    args = parser.parse_args(words)
    start = Start.now("joint", words)
    samples: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first, second = Library.compile(folder), Library.compile(folder, "libmore.so.1")
        program, floor = first.program("threads"), floor_program(folder)
        patches = read_patch(first.patch(2)), read_patch(second.patch(2))
        for threads in args.threads:
            print(f"{threads} threads", file=sys.stderr, flush=True)
            samples.append(asdict(_sample(program, second.path, floor, patches, threads, args.rounds)))
    record = start.finish({"rounds": args.rounds, "samples": samples})
    record.write(args.into)
    if args.json:
        print_json(record.data)
    else:
        for cells in (COLUMNS, *(row(s) for s in samples)):
            print("  ".join(f"{c:>{len(n)}}" for c, n in zip(cells, COLUMNS, strict=True)))
    return 0


def _sample(
    program: Path, second: Path, floor: Path, patches: tuple[PatchFile, PatchFile], threads: int, rounds: int
) -> Sample:
    shared = Shared(_GAUGE_SIZE)
    argv = ["env", f"LD_PRELOAD={second}", program, shared.fd, threads, "idle"]
    try:
        with started(argv, shared=shared) as target:
            wait_until_ready(target, shared, 0, threads)
            with started([floor, target.pid], talks=True) as still:
                sample = Sample(threads, [], [], [])
                for n in range(rounds + 1):
                    alone = (*_in_and_out(target.pid, patches[:1]),)
                    joint = (*_in_and_out(target.pid, patches),)
                    *_, total, seen, _ = (int(x) for x in ask(still, "").split())
                    if seen != threads:
                        raise NotMeasured(f"{seen} of {threads} threads were stopped")
                    if n:  # the first round brings the patches' memory
                        sample.one.extend(alone)
                        sample.both.extend(joint)
                        sample.floor.append(total / 1000)
                    time.sleep(_SETTLE_SECONDS)
                return sample
    finally:
        shared.close()


def _in_and_out(pid: int, patches: Sequence[PatchFile]) -> tuple[float, float]:
    first, *others = patches
    put_in = apply(pid, first, companions=others)
    time.sleep(_SETTLE_SECONDS)
    taken_out = revert(pid, first.id)
    time.sleep(_SETTLE_SECONDS)
    return _pause(put_in, len(others)), _pause(taken_out, len(others))


def _pause(result: Result, others: int) -> float:
    """Of the only stop. Raises NotMeasured where there were more, or not all patches changed in it."""
    if result.exit_code or len(result.pauses_us) != 1 or len(result.companions) != others:
        raise NotMeasured(f"{len(result.pauses_us)} stops, {len(result.companions)} of {others} others in it")
    return round(result.pauses_us[0], 1)


def row(sample: dict[str, Any]) -> list[str]:
    """One line of the table from raw numbers: microseconds, the ratio of medians."""
    one, both = Spread.of(sample["one"]), Spread.of(sample["both"])
    times = ratio(sample["both"], sample["one"])
    return [
        str(sample["threads"]), f"{Spread.of(sample['floor']).p50:.0f}", *one.cells(), *both.cells(), f"{times:.2f}"
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
