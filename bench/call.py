"""What a call of a replaced function costs over a call of the same function unpatched. `bench/call` calls it.

The target times loops itself, with the call and without it by turns; the loop alone is subtracted. Old and new function
do the same work (a multiplication by another number), so the difference is the jump at the entry.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from subprocess import Popen

from facts import RESULTS, Start
from target import Library, NotMeasured, ask, started

from suture.cli.output import print_json, print_table
from suture.patch.file import read_patch
from suture.process.change.apply import apply
from suture.process.change.revert import revert

STATES = ("unpatched", "patched", "reverted")
_ANSWERS = {"unpatched": 4, "patched": 6, "reverted": 4}


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench/call", description="What a call of a replaced function costs.")
    parser.add_argument("--rounds", type=int, default=20, metavar="N", help="apply and revert so often (20)")
    parser.add_argument(
        "--blocks", type=int, default=40, metavar="N", help="blocks of 200,000 calls in each state of a round (40)"
    )
    parser.add_argument("--json", action="store_true", help="print the raw numbers")
    parser.add_argument("--into", type=Path, default=RESULTS, metavar="DIR", help="where the raw numbers are kept")
    args = parser.parse_args(words)
    start = Start.now("call", words)
    calls: dict[str, list[float]] = {state: [] for state in STATES}
    with tempfile.TemporaryDirectory() as name:
        library = Library.compile(Path(name))
        program, patch = library.program("calls"), read_patch(library.patch(2))
        for _ in range(args.rounds):
            # a new process each time: where code and stacks come to lie changes the numbers more than the patch does
            with started([program], talks=True) as target:
                calls["unpatched"] += timed(target, args.blocks, _ANSWERS["unpatched"])
                apply(target.pid, patch)
                calls["patched"] += timed(target, args.blocks, _ANSWERS["patched"])
                revert(target.pid, patch.id)
                calls["reverted"] += timed(target, args.blocks, _ANSWERS["reverted"])
    record = start.finish({"rounds": args.rounds, "blocks": args.blocks, "nanoseconds": calls})
    record.write(args.into)
    if args.json:
        print_json(record.data)
    else:
        print_table(COLUMNS, rows(calls))
    return 0


def timed(target: Popen[str], blocks: int, expected: int) -> list[float]:
    """Nanoseconds for one call, by block, without the loop. Raises NotMeasured when the function answers otherwise than
    `expected`."""
    count, answer = (int(x) for x in ask(target, str(blocks)).split())
    if answer != expected:
        raise NotMeasured(f"the target answers {answer} where it should say {expected}")
    assert target.stdout is not None
    found = []
    for _ in range(blocks):
        with_call, without = (int(x) for x in target.stdout.readline().split())
        found.append((with_call - without) / count)
    return found


COLUMNS = ("state", "ns for a call", "over unpatched")


def over_unpatched(calls: dict[str, list[float]]) -> float:
    """Nanoseconds that a patched call costs more, medians."""
    return statistics.median(calls["patched"]) - statistics.median(calls["unpatched"])


def rows(calls: dict[str, list[float]]) -> list[list[str]]:
    base = statistics.median(calls["unpatched"])
    middle = {state: statistics.median(calls[state]) for state in STATES}
    return [[state, f"{middle[state]:.2f}", f"{middle[state] - base:+.2f}"] for state in STATES]


if __name__ == "__main__":
    sys.exit(main())
