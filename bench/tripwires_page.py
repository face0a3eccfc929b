"""docs/results/tripwires.md from the raw numbers of `bench/tripwires`."""

from __future__ import annotations

import statistics
from typing import Any

from facts import Record


def document(record: Record) -> str:
    """The page."""
    data, machine = record.data, record.machine
    rows: list[dict[str, Any]] = data["rows"]
    made = [r for r in rows if r["made"]]
    wired = [r for r in made if r["tripwires"]]
    raised = [r for r in made if r["fired"]]
    lines = [
        "# Tripwires",
        "",
        f"Written by `{record.command}` on {record.started} ({machine.cores} cores, load {machine.load} at the start).",
        "Not edited by hand; raw numbers in bench/results/tripwires.json.",
        "",
        f"{len(rows)} fixes have a trigger; {len(made)} became a patch. {len(wired)} of these patches have tripwires "
        f"({sum(r['tripwires'] for r in wired)} in all), and the trigger raises one in {len(raised)}: "
        f"{_share(len(raised), len(made))} of all, {_share(len(raised), len(wired))} of those that have any.",
        "",
        "The fixes and triggers are those of [coverage.md](coverage.md). A patch without a tripwire is one of a fix",
        "that adds no check (it frees, initializes, takes another value), or whose checks could not get a counter; the",
        "reasons are below. *Raised* is what the trigger's own process counted on its way through the patched code.",
        "",
        "| fix | hole | tripwires | places without | raised | note |",
        "|---|---|---|---|---|---|",
    ]
    for r in rows:
        cells = (r["name"], r["hole"], r["tripwires"], r["without"], "; ".join(r["fired"]) or "none", r["note"])
        lines.append("| " + " | ".join(_cell(str(c)) for c in cells) + " |")
    lines += ["", "## Why places have none", "", "| reason | fixes |", "|---|---|"]
    counts: dict[str, int] = {}
    for r in rows:
        for reason in {_general(x) for x in r["reasons"]}:
            counts[reason] = counts.get(reason, 0) + 1
    lines += [f"| {_cell(reason)} | {n} |" for reason, n in sorted(counts.items(), key=lambda x: (-x[1], x[0]))]
    lines += ["", *_calls(data)]
    return "\n".join(lines)


def _calls(data: Any) -> list[str]:
    calls: dict[str, list[float]] = data["nanoseconds"]
    base = statistics.median(calls["unpatched"])
    rows = [(state, statistics.median(values)) for state, values in calls.items()]
    return [
        "## What a call costs",
        "",
        f"A function of one multiplication, patched by a fix that adds a check; the call is not rejected. Medians of "
        f"{data['rounds']} processes with {data['blocks']} blocks of 200,000 calls.",
        "",
        "| state | ns for a call | over unpatched |",
        "|---|---|---|",
        *(f"| {state} | {value:.2f} | {value - base:+.2f} |" for state, value in rows),
        "",
    ]


def _share(part: int, whole: int) -> str:
    return f"{100 * part // whole}%" if whole else "none"


def _general(reason: str) -> str:
    """A reason without the names in it."""
    if reason.startswith("with its counter the compiler changes"):
        return "with its counter the compiler changes another function"
    if reason.startswith("the compiler does not take"):
        return "the compiler does not take a counter there"
    return "the limit is inside a macro" if reason.startswith("the limit is inside") else reason


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
