"""docs/results/coverage.md from rows."""

from __future__ import annotations

import platform
import re
import tempfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from row import Row, State

from suture.source import cache

_COLUMNS = (
    "fix",
    "CVE",
    "closed by the patch",
    "shipped package",
    "hole",
    "binary",
    "functions replaced",
    "before",
    "after",
    "after revert",
    "make, s",
    "pause, µs",
    "result",
)
_MANY = 6
_LONGEST_NOTE = 400


def document(rows: Sequence[Row], command: str) -> str:
    """The whole page."""
    return "\n".join((*_head(rows, command), *_table(rows), ""))


def summary(rows: Sequence[Row]) -> str:
    """One line of counts."""
    closed = [r for r in rows if r.state is State.CLOSED]
    with_cve = sum(1 for r in closed if r.closed)
    counts = {state: sum(1 for r in rows if r.state is state) for state in State}
    return (
        f"{len(rows)} fixes: {len(closed)} change the outcome of a trigger in the same process ({with_cve} of them "
        f"with a CVE that the ledger closes), {counts[State.PARTLY]} are in with a part of the fix missing, "
        f"{counts[State.REPLACED]} replace code without a trigger, {counts[State.REFUSED]} are refused, "
        f"{counts[State.FAILED]} failed."
    )


def _head(rows: Sequence[Row], command: str) -> list[str]:
    return [
        "# What Suture closes",
        "",
        f"Written by `{command}` on {date.today().isoformat()} (Linux {platform.release()}, {platform.machine()}). "
        "Not edited by hand.",
        "",
        summary(rows),
        "",
        (
            "Each row is a real fix for a binary as the archive ships it. *Before*, *after* and *after revert* are "
            "what the same"
        ),
        (
            "process answers, without a restart: before the live patch, with it, and after it was taken out again. The "
            "triggers"
        ),
        (
            "are in coverage/triggers; a trigger enters its hole in a fork of the patched process, so *ends by "
            "SIGSEGV* is the end"
        ),
        (
            "of that fork. A row without a trigger shows that each function's entry was a jump into the patch, as a "
            "disassembler"
        ),
        (
            "reads the process's memory, and that the old bytes came back. *make* is the time of `suture make` when "
            "the source"
        ),
        (
            "tree is prepared. *Closed by the patch* is what the ledgers of the patches claim: each line that the fix "
            "changes is in a"
        ),
        (
            "patch, is proved to change nothing, or is no code. A row with a missing line is *partly*, and claims no "
            "CVE. *Pause* is how long the process stood still. A refused row says why, and where."
        ),
        "",
    ]


def _table(rows: Sequence[Row]) -> list[str]:
    lines = [_line(_COLUMNS), _line(["---"] * len(_COLUMNS))]
    return lines + [_line(_cells(row)) for row in rows]


def _cells(row: Row) -> list[str]:
    package = row.fix.package
    none = "" if row.fix.trigger else "no trigger"
    return [
        row.fix.name,
        ", ".join(row.fix.cves),
        ", ".join(row.closed),
        f"{package.source} {package.version}",
        row.fix.hole,
        ", ".join(dict.fromkeys(row.binaries)),
        _functions(row.functions),
        none or row.before,
        none or row.after,
        none or row.reverted,
        "" if row.make_seconds is None else f"{row.make_seconds:.1f}",
        "" if row.pause is None else f"{row.pause:.0f}",
        row.state.value + (f": {plain(row.note)}" if row.note else ""),
    ]


def _functions(names: Sequence[str]) -> str:
    known = list(dict.fromkeys(names))
    shown = ", ".join(known[:_MANY])
    return shown if len(known) <= _MANY else f"{shown} and {len(known) - _MANY} more"


def plain(text: str) -> str:
    """A note without this machine's folders, on one line, not too long."""
    for folder in (str(cache.root()), str(Path(__file__).resolve().parent.parent)):
        text = text.replace(folder, "…")
    text = re.sub(rf"{re.escape(tempfile.gettempdir())}/[^/\s:]+", "…", text)
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_NOTE else text[:_LONGEST_NOTE] + "…"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("`", "\\`") for cell in cells) + " |"
