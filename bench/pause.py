"""How long a process stands still while it is patched, beside the least that is possible. `bench/pause` calls it.

In one run and by turns, so that the machine's noise meets both: the engine applies or reverts, and a C program (the
floor) only stops all threads, reads registers and used stacks and lets them go. What a thread of the target notices is
measured by its own clock.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from subprocess import Popen
from typing import Any

from facts import RESULTS, Start
from summary import Spread, ratio
from target import Library, NotMeasured, Shared, ask, started, wait_until_ready

from suture.cli.exit_code import INTERRUPTED
from suture.cli.output import print_json
from suture.command import run
from suture.patch.file import PatchFile, read_patch
from suture.process.change.apply import apply
from suture.process.change.result import Result
from suture.process.change.revert import revert

_COUNTS = (1, 8, 32, 128, 512)
_GAPS = 65536
_GAUGE_SIZE = 16 + 16 * _GAPS
_SETTLE_SECONDS = 0.003
_FRESH_ROUNDS = 10
_LOADS = ("idle", "busy")
_MOST_BUSY = 128
_BUSY_FLOOR_EVERY = 10  # rounds: a stop that waits for each thread's turn on the cores takes up to seconds


@dataclass(frozen=True)
class Sample:
    """Raw numbers of one number of threads, microseconds. One entry for each apply or revert:

    `engine` the longest of its pauses (`stops` tells how many it took), `floor` the C program's next to it (busy: to
    each tenth), `*_inside` the longest gap that the target's own clock reader saw during each. `floor_parts` are stop,
    registers, stacks, resume. `realtime` is the floor under SCHED_FIFO. `fresh` are pauses of commands that were
    started for one apply or revert each.
    """

    threads: int
    load: str
    engine: list[float]
    floor: list[float]
    realtime: list[float]
    engine_inside: list[float]
    floor_inside: list[float]
    stops: list[int]
    floor_parts: list[list[float]]
    stack_bytes: int
    fresh: list[float]


class Gauge:
    """The clock reader's notes: for each gap of more than 10 microseconds when it ended and how long it was, in
    nanoseconds."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    def longest_during(self, work: Callable[[], Any]) -> tuple[Any, float]:
        """Do `work`; what it returned, and the longest gap meanwhile in microseconds (0: none above the threshold)."""
        before = self._shared.word(1)
        begin = time.monotonic_ns()
        result = work()
        end = time.monotonic_ns()
        time.sleep(0.001)  # the reader notes a gap when it runs again
        after = self._shared.word(1)
        longest = 0
        for n in range(max(before, after - _GAPS), after):
            ended, gap = self._shared.words(2 + 2 * (n % _GAPS), 2)
            if ended >= begin and ended - gap <= end:
                longest = max(longest, gap)
        return result, longest / 1000


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="bench/pause", description="How long a process stands still while it is patched."
    )
    parser.add_argument("--rounds", type=int, default=200, metavar="N", help="apply and revert so often (200)")
    parser.add_argument(
        "--threads",
        type=int,
        nargs="+",
        default=_COUNTS,
        metavar="N",
        help="threads of the target (1 8 32 128 512; busy up to 128)",
    )
    parser.add_argument("--load", choices=("idle", "busy", "both"), default="both", help="what the target's threads do")
    parser.add_argument("--json", action="store_true", help="print the raw numbers")
    parser.add_argument("--into", type=Path, default=RESULTS, metavar="DIR", help="where the raw numbers are kept")
    args = parser.parse_args(words)
    start = Start.now("pause", words)
    lines = [(load, n) for load in _LOADS if args.load in (load, "both") for n in args.threads]
    # a busy target has at least one thread beside the main one and the clock reader; the floor waits a second for 512
    most = _MOST_BUSY if args.threads == _COUNTS else max(args.threads)
    lines = [(load, n) for load, n in lines if load == "idle" or 2 < n <= most]
    samples: list[dict[str, Any]] = []
    record = start.finish(_data(args.rounds, samples, len(lines)))
    if not args.json:
        print(_aligned(COLUMNS), flush=True)
    try:
        with tempfile.TemporaryDirectory() as name:
            library = Library.compile(Path(name))
            programs = library.program("threads"), floor_program(Path(name))
            patch = library.patch(2)
            for load, threads in lines:
                print(f"{threads} threads, {load}", file=sys.stderr, flush=True)
                samples.append(asdict(_sample(programs, patch, threads, load, args.rounds)))
                record = start.finish(_data(args.rounds, samples, len(lines)))
                record.write(args.into)
                if not args.json:
                    print(_aligned(row(samples[-1])), flush=True)
    except KeyboardInterrupt:
        print(f"interrupted: {len(samples)} of {len(lines)} lines were measured and are kept", file=sys.stderr)
        return INTERRUPTED
    finally:
        if args.json:
            print_json(record.data)
    return 0


def _data(rounds: int, samples: Sequence[dict[str, Any]], planned: int) -> dict[str, Any]:
    return {"rounds": rounds, "planned": planned, "samples": samples}


def _aligned(cells: Sequence[str]) -> str:
    """A line as wide as the column names, so that it can be printed before the next is measured."""
    return "  ".join(f"{cell:>{max(len(name), 6)}}" for name, cell in zip(COLUMNS, cells, strict=True))


def floor_program(folder: Path) -> Path:
    """The floor, compiled into the folder."""
    out = folder / "floor"
    run(["gcc", "-O2", "-o", str(out), "floor.c"], cwd=Path(__file__).resolve().parent / "programs")
    return out


def _sample(programs: tuple[Path, Path], patch_path: Path, threads: int, load: str, rounds: int) -> Sample:
    shared = Shared(_GAUGE_SIZE)
    try:
        with started([programs[0], shared.fd, threads, load], shared=shared) as target:
            wait_until_ready(target, shared, 0, threads)
            with started([programs[1], target.pid], talks=True) as floor, _first():
                sample = Sample(threads, load, [], [], [], [], [], [], [], 0, [])
                return _rounds(sample, target.pid, floor, Gauge(shared), patch_path, rounds)
    finally:
        shared.close()


@contextmanager
def _first() -> Iterator[None]:
    """Inside, we and the commands that we start go before the target's threads, of which 128 that compute make the
    start of a command take two minutes. The pause is the same: in it the engine has real-time priority anyway."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    os.setpriority(os.PRIO_PROCESS, 0, -20)
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, before)


def _rounds(sample: Sample, pid: int, floor: Popen[str], gauge: Gauge, patch_path: Path, rounds: int) -> Sample:
    patch = read_patch(patch_path)
    apply(pid, patch)  # the first brings the patch's memory and is no different in its pause
    revert(pid, patch.id)
    size = 0
    for n in range(2 * rounds):
        result, inside = gauge.longest_during(partial(_switch, pid, patch, n % 2 == 0))
        if not result.pauses_us or result.exit_code:
            raise NotMeasured(f"round {n}: nothing was switched")
        sample.engine.append(round(max(result.pauses_us), 1))
        sample.stops.append(len(result.pauses_us))
        sample.engine_inside.append(inside)
        time.sleep(_SETTLE_SECONDS)
        if sample.load == "idle" or n % _BUSY_FLOOR_EVERY == 0:
            answer, inside = gauge.longest_during(lambda: ask(floor, ""))
            *parts, total, seen, size = (int(x) for x in answer.split())
            if seen != sample.threads or result.threads != sample.threads:
                raise NotMeasured(f"{seen} and {result.threads} of {sample.threads} threads were stopped")
            sample.floor.append(total / 1000)
            sample.floor_parts.append([p / 1000 for p in parts])
            sample.floor_inside.append(inside)
            time.sleep(_SETTLE_SECONDS)
        sample.realtime.append(int(ask(floor, "realtime").split()[4]) / 1000)
        time.sleep(_SETTLE_SECONDS)
    for _ in range(min(_FRESH_ROUNDS, rounds)):
        for words in (["apply", str(patch_path), str(pid)], ["revert", patch.id, str(pid)]):
            sample.fresh.append(_by_command(words))
            time.sleep(_SETTLE_SECONDS)
    return Sample(**{**asdict(sample), "stack_bytes": size})


def _switch(pid: int, patch: PatchFile, applies: bool) -> Result:
    return apply(pid, patch) if applies else revert(pid, patch.id)


def _by_command(words: Sequence[str]) -> float:
    """The longest pause of one `suture apply` or `suture revert`, as a person would run it."""
    raw = json.loads(run([sys.executable, "-m", "suture.cli", *words, "--json"]))
    return max(float(pause) for result in raw["processes"] for pause in result["pauses_us"])


COLUMNS = (
    "threads", "load", "floor p50", "p99", "max", "real-time floor p50", "engine p50", "p99", "max",
    "ratio p50", "to real-time", "fresh p50", "seen p50", "p99", "max",
    "seen floor p50", "more stops",
)  # fmt: skip


def row(sample: dict[str, Any]) -> list[str]:
    """One line of the table from raw numbers: microseconds, the ratio of medians."""
    floor, engine = Spread.of(sample["floor"]), Spread.of(sample["engine"])
    seen, seen_floor = Spread.of(sample["engine_inside"]), Spread.of(sample["floor_inside"])
    inside = [*seen.cells(), f"{seen_floor.p50:.0f}"] if sample["load"] == "idle" else ["-"] * 4
    fresh = f"{Spread.of(sample['fresh']).p50:.0f}"
    more = sum(n > 1 for n in sample["stops"])
    return [
        str(sample["threads"]), sample["load"], *floor.cells(),
        f"{Spread.of(sample['realtime']).p50:.0f}",
        *engine.cells(), f"{ratio(sample['engine'], sample['floor']):.2f}",
        f"{ratio(sample['engine'], sample['realtime']):.2f}", fresh, *inside, f"{more} of {len(sample['stops'])}",
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
