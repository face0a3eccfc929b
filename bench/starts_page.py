"""docs/results/starts.md from the raw numbers of `bench/starts`."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from facts import Record

_ROWS = (
    ("a program that loads the library", "start"),
    ("the same, guarded: held and patched", "start_guarded"),
    ("`head`, which reads the file", "read"),
    ("the same, guarded: let go", "read_guarded"),
)


def document(record: Record) -> str:
    """The page."""
    data, machine = record.data, record.machine
    measured = data["microseconds"]
    lines = [
        "# Starts under the guard",
        "",
        f"Written by `{record.command}` on {record.started} ({machine.cores} cores, load {machine.load} at the start).",
        "Not edited by hand; raw numbers in bench/results/starts.json.",
        "",
        f"{data['rounds']} turns of {data['starts']} starts of each kind; microseconds from the start of a process to "
        "its end.",
        "",
        "| what starts | median | p99 | most |",
        "|---|---|---|---|",
    ]
    for what, name in _ROWS:
        values = sorted(measured[name])
        lines.append(f"| {what} | {statistics.median(values):.0f} | {_p99(values)} | {values[-1]} |")
    held = statistics.median(measured["start_guarded"]) - statistics.median(measured["start"])
    free, guarded, seconds = data["bursts"]["none"], data["bursts"]["guard"], data["burst_seconds"]
    lines += [
        "",
        f"A start that is held and patched takes {held / 1000:.1f} ms longer, medians.",
        "",
        f"As many starts as there can be, from {data['workers']} processes for {seconds:.0f} s: "
        f"{sum(free.values()) / seconds:.0f} a second without a guard, {sum(guarded.values()) / seconds:.0f} with it.",
        f"Of the {sum(guarded.values())} guarded ones {guarded['new']} executed the new code from the first call, "
        f"{guarded['old']} the old code, {guarded['other']} ended otherwise.",
        "The guard patches one process after the other; who comes meanwhile waits inside open.",
        "",
    ]
    return "\n".join(lines)


def _p99(values: Sequence[int]) -> int:
    return values[min(len(values) - 1, len(values) * 99 // 100)]
