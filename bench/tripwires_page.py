"""docs/results/tripwires.md from the raw numbers of `bench/tripwires`."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from facts import RESULTS, Record

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "results" / "tripwires.md"
_KERNEL = RESULTS / "tripwires_kernel.json"
_NOISE = RESULTS / "tripwires_noise.json"


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
    lines += ["", *(_noise(Record.read(_NOISE)) if _NOISE.is_file() else ())]
    lines += [*(_kernel(Record.read(_KERNEL)) if _KERNEL.is_file() else ()), *_calls(data)]
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


def _noise(record: Record) -> list[str]:
    rows: list[dict[str, Any]] = record.data["rows"]
    programs = [(r["package"], p) for r in rows for p in r["programs"]]
    ran = [(package, p) for package, p in programs if not p["note"]]
    wires = sum(r["tripwires"] for r in rows)
    raised = sorted({(package, place) for package, p in ran for place in p["raised"]})
    left = [(r["package"], n) for r in rows for n in r["noisy"]]
    lines = [
        "## What harmless use raises",
        "",
        f"Written by `{record.command}` on {record.started}. All fixes of a package together are one patch for each "
        "binary, made with `--tripwires --try`: what the trial reaches is left out. Then the package's own tests, its "
        "commands and commands of the release run with these patches from before `main`.",
        "",
        f"{wires} tripwires stay on, {len(left)} were left out after the trial. {len(ran)} of {len(programs)} programs "
        f"ran, and raised {len(raised)} of those that stay on. No trial of `make` runs these programs, so it leaves "
        "these in: what it counts there is no attack.",
        "",
        "| package | tripwire | harmless use that raises it | stays on |",
        "|---|---|---|---|",
    ]
    later = [f"{r['package']} {r['measured']}" for r in rows if "measured" in r]
    if len(later) < len(rows):
        lines[2:3] = [lines[2], "", f"Measured again since: {', '.join(later)}."] if later else lines[2:3]
    for package, text in left:
        place, _, command = text.rpartition(": ")
        lines.append(f"| {package} | {_cell(place)} | {_cell(command)} | no |")
    for package, place in raised:
        own = [p["program"] for name, p in ran if name == package and place in p["raised"]]
        more = f" and {len(own) - 2} more" if len(own) > 2 else ""
        lines.append(f"| {package} | {_cell(place)} | {_cell(', '.join(own[:2]))}{more} | yes |")
    if not left and not raised:
        lines.append("| none | | | |")
    lines += ["", "| package | program | exit status | patches in it | raised | note |", "|---|---|---|---|---|---|"]
    for package, p in programs:
        cells = (package, p["program"], p["status"], p.get("patches", ""), len(p["raised"]), p["note"])
        lines.append("| " + " | ".join(_cell(str(c)) for c in cells) + " |")
    return [*lines, ""]


def _kernel(record: Record) -> list[str]:
    rows: list[dict[str, Any]] = record.data["rows"]
    made = [r for r in rows if r["made"]]
    raised, noisy = [r for r in made if r["fired"]], [r for r in made if r["noisy"]]
    lines = [
        "## Kernel",
        "",
        f"Written by `{record.command}` on {record.started}. Fixes between linux {record.data['version']} and "
        f"{record.data['to']} whose effect a probe shows in the guest ([coverage-kernel.md](coverage-kernel.md)).",
        f"{len(made)} of {len(rows)} became a module, {sum(bool(r['tripwires']) for r in made)} of them with "
        f"tripwires; the probe raises one in {len(raised)}: {_share(len(raised), len(made))}. What a counter has "
        f"before the probe, harmless use of the guest has raised: {len(noisy)} of the modules have any.",
        "",
        "| fix | probe | tripwires | places without | raised | fired before | note |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        cells = (
            r["name"], r["what"], r["tripwires"], r["without"], "; ".join(r["fired"]) or "none",
            "; ".join(r["noisy"]) or "none", r["note"] or "; ".join(r["reasons"]),
        )  # fmt: skip
        lines.append("| " + " | ".join(_cell(str(c)) for c in cells) + " |")
    return [*lines, ""]


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
