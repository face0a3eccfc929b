"""docs/results/benchmarks.md from the raw numbers of bench/results: tables, goals, and whether each is met."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import call
import joint
import making
import pause
import soak
from facts import RESULTS, Record
from markdown_table import table
from summary import Spread, ratio

_DOCUMENT = Path(__file__).resolve().parent.parent / "docs/results/benchmarks.md"
_MOST_TIMES_FLOOR = 1.5
_FROM_THREADS = 32
_MOST_PAUSE_US = 1000.0
_IDLE_LOAD = 0.5
_RECORDS = ("pause", "joint", "call", "soak", "making", "build")


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="bench/report", description="Writes docs/results/benchmarks.md from the kept raw numbers."
    )
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR", help="where the raw numbers are kept")
    parser.add_argument(
        "--output", type=Path, default=_DOCUMENT, metavar="FILE", help="the page (docs/results/benchmarks.md)"
    )
    args = parser.parse_args(words)
    kept = [args.results / f"{name}.json" for name in _RECORDS]
    args.output.write_text(document({path.stem: Record.read(path) for path in kept if path.exists()}))
    return 0


def document(records: Mapping[str, Record]) -> str:
    """The whole page. A benchmark without numbers is said to have none."""
    lines = [
        "# Benchmarks",
        "",
        "Written by `bench/report` from the raw numbers in `bench/results`. Not edited by hand.",
        "",
    ]
    empty = {"pause": _pause, "joint": _joint, "call": _call, "soak": _soak}
    for name, section in empty.items():
        lines += section(records[name]) if name in records else _nothing(name)
    lines += _making(records) if records.keys() & {"making", "build"} else _nothing("making")
    return "\n".join(lines).rstrip() + "\n"


def _nothing(name: str) -> list[str]:
    return [f"## bench/{name}", "", f"No numbers yet: run `bench/{name}`.", ""]


def _pause(record: Record) -> list[str]:
    samples = record.data["samples"]
    return [
        "## The pause",
        "",
        *_made_by(record),
        "",
        f"{record.data['rounds']} rounds of apply and revert for each line; microseconds. One thread reads the clock "
        "all the time (*seen* is its longest gap during an apply or revert); *idle*: the others wait in pause, a "
        "futex or epoll_wait, with some 8 KiB of stack in use; *busy*: they compute, so that a stop waits for their "
        "turns on the cores. The *floor* is a C program that stops all threads, reads registers and used stacks and "
        "lets them go, by turns with the engine; *real-time* is the same under SCHED_FIFO. *Fresh* is the pause of "
        "a `suture` command started for one apply or revert. *Ratio* is that of the medians of engine and floor, "
        "*to real-time* that of engine and real-time floor: the engine stops its target under SCHED_FIFO, so where "
        "cores are busy the second is the fair one; *more stops* counts applies and reverts that met a thread "
        "inside and needed another stop.",
        "",
        *table(pause.COLUMNS, [pause.row(s) for s in samples]),
        "",
        *_unmeasured(record),
        *_goals(_pause_goals(samples, record)),
    ]


def _unmeasured(record: Record) -> list[str]:
    left = record.data.get("planned", 0) - len(record.data["samples"])
    return [f"The run was interrupted: {left} lines were not measured.", ""] if left > 0 else []


def _pause_goals(samples: Sequence[Mapping[str, Any]], record: Record) -> list[tuple[str, bool, str]]:
    idle = [s for s in samples if s["load"] == "idle"]
    goals = []
    for s in idle:
        if s["threads"] >= _FROM_THREADS:
            times = ratio(s["engine"], s["floor"])
            goal = f"at most {_MOST_TIMES_FLOOR} times the floor at {s['threads']} threads"
            goals.append((goal, times <= _MOST_TIMES_FLOOR, f"{times:.2f}"))
    for s in idle:
        if s["threads"] == _FROM_THREADS:
            middle = Spread.of(s["engine"]).p50
            note = f"{middle:.0f} us" + ("" if record.machine.load < _IDLE_LOAD else ", on a machine that was not idle")
            goals.append((f"under 1 ms at {_FROM_THREADS} threads", middle < _MOST_PAUSE_US, note))
    return goals


def _joint(record: Record) -> list[str]:
    samples = record.data["samples"]
    return [
        "## One stop for two binaries",
        "",
        *_made_by(record),
        "",
        f"{record.data['rounds']} rounds for each line, by turns, of threads that wait; microseconds. *One binary*: "
        "its patch goes in and out. *Both*: the patches of two libraries go in, and out, in one stop and by one "
        "change. The *floor* is that of the pause above.",
        "",
        *table(joint.COLUMNS, [joint.row(s) for s in samples]),
        "",
    ]


def _call(record: Record) -> list[str]:
    calls = record.data["nanoseconds"]
    blocks = len(calls["patched"])
    return [
        "## A call of a replaced function",
        "",
        *_made_by(record),
        "",
        f"Medians of {blocks} blocks of 200,000 calls in each state, from {record.data['rounds']} processes; the "
        f"loop alone is subtracted. A patched call costs {call.over_unpatched(calls):+.2f} ns.",
        "",
        *table(call.COLUMNS, call.rows(calls)),
        "",
    ]


def _soak(record: Record) -> list[str]:
    data = record.data
    none = not data["faults"]
    return [
        "## Soak",
        "",
        *_made_by(record),
        "",
        f"{data['workers']} threads call a group of two functions and check each answer, while threads are born and "
        "end, signals arrive, and the group is switched from version 1 to 2 to 3 and back. *Mixed* are answers of "
        "which one half is of one version and one of another.",
        "",
        *table(("what", "value"), soak.rows(data)),
        "",
        *_goals([
            ("no crash, no wrong or mixed answer, no lost signal, nothing left behind",
            none, "; ".join(data["faults"]) or "none"),
            ("1,000 rounds", data["rounds"] >= 1000, str(data["rounds"])),
        ]),
    ]  # fmt: skip


def _making(records: Mapping[str, Record]) -> list[str]:
    made, build = records.get("making"), records.get("build")
    lines = ["## Making a live patch", ""]
    for record in (made, build):
        lines += _made_by(record) if record else []
    data = made.data if made else {}
    stand_ins = [p for p, row in data.items() if not row["real"]]
    lines += [
        "",
        "Seconds. *Cold*: an empty cache, everything from the archive, the clean room included. *Warm*: the tree is "
        "prepared and nothing is compiled (median of 5), with its steps. *Again*: the same fix once more. *Full "
        "build*: dpkg-buildpackage in the same clean room, tests left out.",
        "",
        *table(making.COLUMNS, making.rows(data, build.data if build else {})),
        "",
        *(
            [f"No real fix: {', '.join(stand_ins)} (the archive does not hand out the source of a later version).", ""]
            if stand_ins
            else []
        ),
    ]
    goals = [
        (
            f"{package}: {row['goal']:.0f} s warm",
            making.warm_seconds(row) <= row["goal"],
            f"{making.warm_seconds(row):.2f} s",
        )
        for package, row in data.items()
        if row.get("goal") and row.get("warm")
    ]
    return lines + _goals(goals)


def _made_by(record: Record) -> list[str]:
    m = record.machine
    kind = "virtual, " if m.virtual else ""
    return [
        f"`{record.command}`, {record.started}: {m.processor}, {m.cores} cores ({kind}Linux {m.kernel}, Python "
        f"{m.python}), load average at the start {m.load:.2f}."
    ]


def _goals(goals: Sequence[tuple[str, bool, str]]) -> list[str]:
    return (
        [*(f"- Goal {'met' if met else 'not met'}: {goal} ({value})." for goal, met, value in goals), ""]
        if goals
        else []
    )


if __name__ == "__main__":
    sys.exit(main())
