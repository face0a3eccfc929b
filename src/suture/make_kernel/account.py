"""The ledger of each fix of a kernel patch: what became of the lines of each file that it changes."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from suture.delta.ledger import Account, Fate, FileAccount, Ledger, ranges
from suture.make_kernel.affected import ONLY_MODE, Readers
from suture.make_kernel.registration import UnregisteredEntry
from suture.make_kernel.select import NEVER_RUNS
from suture.refusal import RESTART_KERNEL
from suture.source.fix import FilePatch, Fix

_HUNK = re.compile(r"^@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@")


@dataclass(frozen=True)
class UnitResult:
    """What a unit has of the fix: replaced functions as `OBJECT:NAME`, what it lacks in the kernel's tables, new
    exports, and changed functions that never run (`idle`).

    `same`: neither code nor data of it changes.
    """

    functions: tuple[str, ...] = ()
    missing: tuple[UnregisteredEntry, ...] = ()
    exports: tuple[str, ...] = ()
    idle: tuple[str, ...] = ()
    same: bool = True


@dataclass(frozen=True)
class _Changed:
    """Changed lines of a file, by number before and after the fix."""

    removed: dict[int, str] = field(default_factory=dict)
    added: dict[int, str] = field(default_factory=dict)


def ledger(fix: Fix, readers: Mapping[str, Readers], results: Mapping[str, UnitResult], rules_same: bool) -> Ledger:
    """`results` by the source of each unit that was compiled before and after."""
    named: set[UnregisteredEntry] = set()
    files = [_file(p, readers[p.path], results, rules_same, named) for p in fix.files]
    # what no line names is missing all the same
    for number, part in enumerate(fix.files):
        for source in readers[part.path].units:
            for row in results[source].missing:
                if row not in named and not any(_lines(p, row) for p in fix.files):
                    named.add(row)
                    files[number] = FileAccount(part.path, (*files[number].accounts, _missing(row, _Changed())))
    kept = {p.path for p in fix.files}
    files += [_file(p, readers[p.path], results, rules_same, named) for p in fix.left_out if p.path not in kept]
    return Ledger(tuple(files))


def _file(
    part: FilePatch, who: Readers, results: Mapping[str, UnitResult], rules_same: bool, named: set[UnregisteredEntry]
) -> FileAccount:
    lines = changed_lines(part)
    if not part.changes:
        return FileAccount(part.path, (_account(Fate.NO_CODE, lines, reason=ONLY_MODE),))
    if who.left_out:
        remedy = "make the patch without --only, or know that this part is open"
        return FileAccount(part.path, (_account(Fate.MISSING, lines, reason=who.reason, remedy=remedy),))
    if who.is_rule:
        return FileAccount(part.path, (_rule(lines, rules_same),))
    own = [results[s] for s in who.units]
    accounts = []
    if who.outside:
        reason = f"also compiled into {', '.join(who.outside)}, outside the kernel's text"
        return FileAccount(part.path, (_account(Fate.MISSING, lines, reason=reason, remedy=RESTART_KERNEL),))
    for row in sorted({m for r in own for m in r.missing}, key=lambda m: (m.what, m.remedy, m.words)):
        found = _lines(part, row)
        if found is not None:
            named.add(row)
            accounts.append(_missing(row, found))
            for side, numbers in ((lines.removed, found.removed), (lines.added, found.added)):
                for n in numbers:
                    side.pop(n, None)
    functions = tuple(sorted({f for r in own for f in r.functions}))
    exports = sorted({e for r in own for e in r.exports})
    idle = ", ".join(sorted({i for r in own for i in r.idle}))
    if lines.removed or lines.added or not accounts:
        if not own:
            accounts.append(_account(Fate.NO_CODE, lines, reason=who.reason))
        elif all(r.same for r in own):
            accounts.append(_account(Fate.SAME, lines, units=len(own)))
        elif idle and all(r.same or (r.idle and not r.functions) for r in own):
            accounts.append(_account(Fate.SAME, lines, units=len(own), reason=NEVER_RUNS.format(idle)))
        else:
            reasons = [f"code of other modules can't link to {', '.join(exports)}; code of this fix does"] * bool(
                exports
            )
            reasons += [NEVER_RUNS.format(idle)] * bool(idle)
            accounts.append(_account(Fate.PATCHED, lines, functions, len(own), "; ".join(reasons)))
    return FileAccount(part.path, tuple(accounts))


def _rule(lines: _Changed, same: bool) -> Account:
    if same:
        return _account(Fate.SAME, lines, reason="kbuild compiles the same objects with the same flags")
    reason = "build rules change what is compiled; the running kernel was built by the old ones"
    return _account(Fate.MISSING, lines, reason=reason, remedy=RESTART_KERNEL)


def _missing(row: UnregisteredEntry, lines: _Changed) -> Account:
    return _account(Fate.MISSING, lines, reason=row.what, remedy=row.remedy)


def _account(
    fate: Fate, lines: _Changed, functions: tuple[str, ...] = (), units: int = 0, reason: str = "", remedy: str = ""
) -> Account:
    return Account(fate, ranges(lines.removed), ranges(lines.added), functions, units, (), reason, remedy)


def _lines(part: FilePatch, row: UnregisteredEntry) -> _Changed | None:
    """The changed lines that an entry comes from: those with its name, in a macro's call; None when this file has
    none."""
    if not row.words:
        return None
    words = "|".join(map(re.escape, row.words))
    wanted = re.compile(rf"\b[A-Z_a-z]\w*\s*\(.*\b(?:{words})\b|\b(?:{words})\b.*[;=]")
    whole = changed_lines(part)
    found = _Changed(*({n: t for n, t in side.items() if wanted.search(t)} for side in (whole.removed, whole.added)))
    calls = _Changed(
        *(
            {n: t for n, t in s.items() if re.match(r"\s*(?:module_|core_|MODULE_|[A-Z_]+\()", t)}
            for s in (found.removed, found.added)
        )
    )
    best = calls if calls.removed or calls.added else found
    return best if best.removed or best.added else None


def changed_lines(part: FilePatch) -> _Changed:
    """The removed and added lines of a file's patch."""
    found = _Changed()
    old = new = 0
    for line in part.text.split("\n"):
        hunk = _HUNK.match(line)
        if hunk:
            old, new = int(hunk[1]), int(hunk[2])
        elif old == new == 0:
            continue  # the names of the file
        elif line.startswith("-"):
            found.removed[old] = line[1:]
            old += 1
        elif line.startswith("+"):
            found.added[new] = line[1:]
            new += 1
        elif not line.startswith("\\"):
            old, new = old + 1, new + 1
    return found


def is_whole(ledgers: Sequence[Ledger] | Collection[Ledger]) -> bool:
    """Whether no fix lacks a line."""
    return all(one.is_complete for one in ledgers)
