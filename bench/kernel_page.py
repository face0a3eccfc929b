"""docs/results/coverage-kernel.md from the kept numbers of bench/kernel_coverage and bench/kernel_behaviour."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any

from facts import RESULTS, Record
from kernel_pool import MOST, MOST_FOR_A_NAME

DOCUMENT = Path(__file__).resolve().parent.parent / "docs/results/coverage-kernel.md"


_TAKES = {
    "a type's layout changes": "a person who writes the fix with shadow variables: objects of the old layout exist",
    "a constant table changes": "a callback that writes it: who has its address keeps the old one",
    "a variable's initial value changes": "a callback that sets it",
    "does not compile without more of the difference": "the rest of a commit that goes further than the rule",
    "initialisation code changes": "a fix for what runs already: the code has run, or livepatch can't divert it",
    "a function can't be diverted (notrace)": "another way to divert: kernel/trace is compiled without the tracer's",
    "a header that many files use changes": "compiling more than 120 files, or a rule that takes in less",
}
"""What stands against a class of refusals."""
_LONGEST = 200
_GOAL = 0.8


def document(record: Record) -> str:
    """The whole page."""
    rows: list[dict[str, Any]] = record.data["rows"]
    measured = [r for r in rows if r["outcome"] != "not measured"]
    code = [r for r in measured if r["outcome"] != "no code changes"]
    made = [r for r in rows if r["outcome"] == "made"]
    whole = [r for r in made if r["complete"]]
    tried = [r for r in made if "loaded" in r]
    done = [r for r in tried if r.get("reverted") and not r.get("log")]
    lacking_rows = record.data["wanted"] - len(measured)
    lines = [
        "# Coverage of the kernel",
        "",
        f"Written by `{record.command}` ({record.started}) from bench/results. Not edited by hand.",
        *(["", _short(lacking_rows, record.data["wanted"], len(code), len(made))] if lacking_rows else []),
        "",
        *wrap(_about(record), 118, break_on_hyphens=False),
        "",
        *_engines(record, measured),
        f"Of {len(measured)} changes {len(code)} change code. Of these **{len(made)} "
        f"({_share(len(made), len(code), 0)}) became a patch, and {len(whole)} ({_share(len(whole), len(code), 0)}) "
        "a complete one**.",
        f"{len(tried)} were tried in the archive's own kernel: {len(done)} were loaded, finished their transition "
        "and were reverted, with nothing else in",
        "the kernel's log.",
        "",
        _standing(len(made), len(code)),
        "",
        "What stands between that and 95%:",
        "",
        "| refused because | changes | what it would take |",
        "|---|---|---|",
    ]
    counts = Counter(r.get("kind", "") for r in code if r["outcome"] == "refused")
    lines += [f"| {kind} | {count} | {_TAKES.get(kind, '')} |" for kind, count in counts.most_common()]
    lacking = Counter(m.partition(":")[0] for r in made if not r["complete"] for m in r["missing"])
    lines += [f"| partial: {what} | {count} | |" for what, count in lacking.most_common()]
    lines += ["", "## Every function", "", *_sweep()]
    lines += ["", "## Changed behaviour", "", *_behaviour(), "", "## Seconds", "", *_seconds()]
    lines += ["", "## Under load", "", *_soak()]
    lines += [
        "",
        "## Each change",
        "",
        "| file | hunks | in | outcome | functions | seconds | transition | reverted |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        functions = (
            f"{len(r['functions'])}: {', '.join(f.partition(':')[2] for f in r['functions'][:4])}"
            if r["functions"]
            else ""
        )
        lines.append(
            f"| {r['path']}{_others(r)}{_mark(record, r)} | {r.get('hunks', '')} | {r['module']} | {_outcome(r)} | "
            f"{functions} | {_number(r.get('seconds'))} | {_number(r.get('apply_seconds'))} | {_reverted(r)} |"
        )
    lines += [
        "",
        (
            "*seconds*: from the fix to the module, the tree prepared. *transition*: seconds from loading to its "
            "end in the guest under"
        ),
        (
            "emulation. *keep*: disabled and left loaded, since the kernel may hold addresses of new code. *later*: "
            "the module that is"
        ),
        "patched did not load in the guest, so its functions would be replaced when it comes.",
    ]
    return "\n".join(lines) + "\n"


def _engines(record: Record, measured: Sequence[dict[str, Any]]) -> list[str]:
    """Which changes an earlier engine measured: it may have refused what this one makes."""
    older = [r for r in measured if r.get("engine") != record.data.get("engine")]
    refused = sum(r["outcome"] == "refused" for r in older)
    if not older:
        return []
    return [
        (
            f"{len(older)} of the changes were measured by an earlier engine, and not again since (marked *): "
            f"{refused} of them it refused."
        ),
        "",
    ]


def _short(lacking: int, wanted: int, code: int, made: int) -> str:
    """What an unfinished run must say: what takes long is among what is missing."""
    return (
        f"**Not finished**: {lacking} of the first {wanted} changes are not measured yet (`--resume` goes on). What "
        "takes longest,\nchanges that touch headers of many files, is among them, so the shares below may be too "
        f"good: were each of them refused, it\nwould be {_share(made, code + lacking, 0)} that became a patch."
    )


def _about(record: Record) -> str:
    """What was measured, and how."""
    return (
        f"Single changes of C files from linux {record.data['version']} to {record.data['to']}, chosen by a rule "
        "and not by success: the files of net, fs, mm, kernel, block, ipc, security, lib, crypto, io_uring and of "
        "the drivers' net, tty, char, md, nvme and scsi that differ, in the order of the SHA-256 of their paths, "
        "those that this kernel has compiled. Sixteen stable releases meet in the difference of a file, so it is "
        "taken apart into hunks that belong together: they change the same function, or share a name that comes "
        "or goes (bench/kernel_change.py). Of each file the change whose text has the smallest SHA-256 is tried. "
        "Where the compiler or Suture misses a name, the change takes in what brings it, in the smallest parts "
        "that no unchanged line divides: of headers, of functions of other C files, of each function and file "
        f"that the compiler rejects (bench/kernel_pool.py), at most {MOST_FOR_A_NAME} for a name and {MOST} in "
        "all. Every changed line is accounted for (docs/how-to/kernel.md); *complete* means that none is missing."
    )


def _standing(made: int, code: int) -> str:
    """Where the goal stands."""
    wanted = math.ceil(_GOAL * code)
    if made >= wanted:
        return f"The goal is {_share(_GOAL, 1, 0)}: it is met."
    return f"The goal is {_share(_GOAL, 1, 0)}: it is not met, {wanted - made} changes are lacking."


def _mark(record: Record, row: dict[str, Any]) -> str:
    measured_before = row["outcome"] != "not measured" and row.get("engine") != record.data.get("engine")
    return " *" if measured_before else ""


def _others(row: dict[str, Any]) -> str:
    more = len(row["files"]) - 1
    return f" + {more} file{'s' * (more > 1)}" if more > 0 else ""


def _share(part: float, whole: float, digits: int) -> str:
    return f"{100 * part / max(whole, 1):.{digits}f}%"


def _number(value: float | None) -> str:
    return f"{value:.1f}" if value is not None else ""


def _outcome(row: dict[str, Any]) -> str:
    if row["outcome"] == "made":
        how = "made" if row["complete"] else f"partial ({'; '.join(row['missing'])[:120]})"
        text = (
            f"{how}, loaded"
            if row.get("loaded")
            else f"{how}, not loaded: {row['said']}"
            if "said" in row
            else f"{how}, not tried"
        )
        return (text + (" (later)" if row.get("unloaded_target") else "")).replace("|", "/").replace("\n", "; ")
    return f"{row['outcome']}{': ' * bool(row['reason'])}{_first(row)}"


def _first(row: dict[str, Any]) -> str:
    """The first reason of a refusal, at most `_LONGEST` characters of it, and how many more there are."""
    reason, more = row["reason"].replace("|", "/").replace("\n", "; "), row.get("more", 0)
    if len(reason) > _LONGEST:
        reason = f"{reason[:_LONGEST].rsplit(' ', 1)[0]} …"
    return f"{reason} (and {more} more)" if more else reason


def _reverted(row: dict[str, Any]) -> str:
    if not row.get("reverted"):
        return ""
    text = f"{row['revert_seconds']:.1f}" + (" keep" if "disabled" in row.get("after", "") else "")
    return text + (f"; log: {'; '.join(row['log'])[:80]}" if row.get("log") else "")


def swept(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The sums over all files of bench/kernel_sweep; reasons with their number, the most frequent first."""
    reasons: Counter[str] = Counter()
    for row in rows:
        reasons.update(row["reasons"])
    sums = {k: sum(r[k] for r in rows) for k in ("functions", "found", "replaceable")}
    return {"source": f"{len(rows)} files", **sums, "reasons": dict(reasons.most_common())}


def _sweep() -> list[str]:
    path = RESULTS / "kernel_sweep.json"
    if not path.exists():
        return ["No numbers yet: run `bench/kernel_sweep`."]
    record = Record.read(path)
    rows = record.data["rows"]
    sums = swept(rows)
    functions, found, fit = (sums[k] for k in ("functions", "found", "replaceable"))
    return [
        (
            f"`{record.command}` ({record.started}): {len(rows)} files, chosen in the same way and from arch/x86 too, "
            f"with {functions}"
        ),
        f"functions. {found} of them ({_share(found, functions, 1)}) are found where the image has them, and {fit}",
        (
            f"({_share(fit, functions, 1)}) could be replaced with all that they refer to. A function may have several "
            "reasons not to be."
        ),
        "",
        "| reason | functions |",
        "|---|---|",
        *[f"| {reason} | {count} |" for reason, count in sums["reasons"].items()],
    ]


def _seconds() -> list[str]:
    path = RESULTS / "kernel_seconds.json"
    if not path.exists():
        return ["No numbers yet: run `bench/kernel_seconds`."]
    record = Record.read(path)
    return [
        (
            f"`{record.command}` ({record.started}), {record.machine.cores} cores, load {record.machine.load} when it "
            "began. A full"
        ),
        "kpatch build of the same kernel is documented to take about 20 minutes.",
        "",
        "| step | seconds |",
        "|---|---|",
        *[f"| {name} | {value:.1f} |" for name, value in record.data["seconds"].items()],
        *[f"| of it: {name} | {value:.1f} |" for name, value in record.data["steps"].items()],
    ]


def _soak() -> list[str]:
    path = RESULTS / "kernel_soak.json"
    if not path.exists():
        return ["No numbers yet: run `bench/kernel_soak`."]
    record = Record.read(path)
    data = record.data
    up, down = (sorted(s[n] for s in data["samples"]) for n in (2, 4))
    bad = "Nothing bad in the kernel's log." if not data["bad"] else f"In the log: {'; '.join(data['bad'][:5])}"
    return [
        (
            f"`{record.command}` ({record.started}): {data['rounds']} of {data['wanted']} rounds of apply and revert "
            "while the guest forked"
        ),
        (
            f"({data['processes']} processes), wrote and removed files, and talked over loopback. Applying took "
            f"{up[len(up) // 2]:.1f} s in the"
        ),
        f"middle and {up[-1]:.1f} s at most, reverting {down[len(down) // 2]:.1f} and {down[-1]:.1f} s. {bad}",
    ]


def _behaviour() -> list[str]:
    path = RESULTS / "kernel_behaviour.json"
    if not path.exists():
        return ["No numbers yet: run `bench/kernel_behaviour`."]
    record = Record.read(path)
    rows = record.data["rows"]
    shown = [r for r in rows if r["shown"]]
    return [
        (
            f"`{record.command}` ({record.started}): {len(shown)} of {len(rows)} fixes show in the guest what they "
            "change: before, while the"
        ),
        "patch is in force, and after it was reverted.",
        "",
        "| fix | what is done | before | patched | reverted |",
        "|---|---|---|---|---|",
        *[f"| {r['name']} | {r['what']} | {r['before']} | {r['during']} | {r['after']} |" for r in rows],
    ]


if __name__ == "__main__":
    DOCUMENT.write_text(document(Record.read(RESULTS / "kernel_coverage.json")))
