"""The ledger of a fix as lines for a terminal: by what became of the lines, then by file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from suture.cli.demangle import plain_names
from suture.delta.ledger import Account, Fate, Ledger, Lines
from suture.patch.manifest import FixFact, RefusedFunction, closed

_NAMED = 4
_LISTED = 12
_ORDER = (Fate.MISSING, Fate.PATCHED, Fate.ELSEWHERE, Fate.SAME, Fate.NO_CODE)


def fix_lines(fixes: Sequence[FixFact], file: str, whole: bool) -> list[str]:
    """All ledgers of a patch for `file` (a binary, or the kernel). `whole`: every account with its line numbers and
    functions."""
    shown: list[str] = []
    for fix in fixes:
        shown.append(f"fix {fix.name}: {_total(fix.ledger)}")
        shown += [f"  {line}" for fate in _ORDER for line in _fate_lines(fix.ledger, fate, file, whole)]
    return shown


def cve_lines(fixes: Sequence[FixFact], file: str) -> list[str]:
    """What is told of the CVEs that the fixes name: closed, closed together with other patches, not closed, or only
    named."""
    found, told = closed(fixes), dict[str, list[str]]()
    for cve in sorted({c for f in fixes for c in f.cves}):
        if cve not in found:
            names = ", ".join(f.name for f in fixes if cve in f.cves and not f.ledger.is_complete)
            said = f"not closed: part of {names} is missing in {file}"
        elif found[cve]:
            said = f"closed where {', '.join(found[cve])} is patched too, which the fix changes as well"
        else:
            said = "closed"
        told.setdefault(said, []).append(cve)
    for one in (n for f in fixes for n in f.named):
        if not any(one.cve in f.cves for f in fixes):
            rows = told.setdefault(f"named, not claimed: {one.reason} (make --cve claims it)", [])
            rows.extend([one.cve] if one.cve not in rows else [])
    return [f"{', '.join(cves)}: {said}" for said, cves in told.items()]


def unsaid(fixes: Sequence[FixFact], refused: Sequence[RefusedFunction]) -> list[RefusedFunction]:
    """Refusals whose reason no ledger gives: the rest of what is behind lines that are missing for several reasons."""
    said = {(a.reason, a.remedy) for f in fixes for a in f.ledger.missing}
    return [r for r in refused if (r.reason, r.remedy) not in said]


def _total(ledger: Ledger) -> str:
    said = {
        Fate.MISSING: "missing",
        Fate.PATCHED: "in this patch",
        Fate.ELSEWHERE: "in other binaries",
        Fate.SAME: "without effect here",
        Fate.NO_CODE: "no code",
    }
    lines, files = sum(a.lines for a in ledger.accounts), len(ledger.files)
    there = [f for f in _ORDER if any(a.fate is f for a in ledger.accounts)]
    parts = [f"{ledger.lines(f)} {said[f]}" for f in there if f is not Fate.MISSING or ledger.lines(f)]
    if Fate.MISSING in there and not ledger.lines(Fate.MISSING):
        parts.append("and more than lines is missing")
    return f"{_count(lines, 'changed line')} in {_count(files, 'file')}: {', '.join(parts) or 'not accounted for'}"


def _fate_lines(ledger: Ledger, fate: Fate, file: str, whole: bool) -> Iterator[str]:
    rows = [(f.path, a) for f in ledger.files for a in f.accounts if a.fate is fate]
    if not rows:
        return
    yield {
        Fate.MISSING: "missing:",
        Fate.PATCHED: f"in this patch of {file}:",
        Fate.ELSEWHERE: "changes code of other binaries only:",
        Fate.SAME: f"changes no code of {file}:",
        Fate.NO_CODE: "no code (documents, tests, changelogs):",
    }[fate]
    if whole:
        for path, one in rows:
            yield f"  {path}{_ranges(one)}{_told(one, len(one.functions))}"
            yield from ([f"    remedy: {one.remedy}"] if one.remedy else [])
    elif fate is Fate.MISSING:
        yield from _by_reason(rows)
    else:
        yield from _by_file(rows)


def _by_reason(rows: Sequence[tuple[str, Account]]) -> Iterator[str]:
    """Each reason once, with the files that it holds for."""
    reasons: dict[tuple[str, str], dict[str, list[Account]]] = {}
    for path, one in rows:
        reasons.setdefault((one.reason, one.remedy), {}).setdefault(path, []).append(one)
    for (reason, remedy), files in reasons.items():
        named = []
        for path, accounts in files.items():
            names = plain_names(sorted({f for a in accounts for f in a.functions}))
            of = f": {_few(names, _NAMED)}" if names else ""
            lines = sum(a.lines for a in accounts)
            named.append(f"{path} ({_count(lines, 'line')}{of})" if lines or of else path)
        yield f"  {_few(named, _LISTED)}: {reason}"
        yield f"    remedy: {remedy}"


def _by_file(rows: Sequence[tuple[str, Account]]) -> Iterator[str]:
    """A line for each file; files of which nothing more is told than of another share one."""
    files: dict[str, list[Account]] = {}
    for path, one in rows:
        files.setdefault(path, []).append(one)
    alike: dict[str, list[tuple[str, int]]] = {}
    for path, accounts in files.items():
        functions = tuple(sorted({f for a in accounts for f in a.functions}))
        others = tuple(sorted({o for a in accounts for o in a.others}))
        reason = next((a.reason for a in accounts if a.reason and not a.functions), "")
        told = _told(Account(accounts[0].fate, (), (), functions, accounts[0].units, others, reason), _NAMED)
        alike.setdefault(told, []).append((path, sum(a.lines for a in accounts)))
    for told, group in alike.items():
        named = [f"{path} ({_count(n, 'line')})" for path, n in group]
        yield f"  {_few(named, _LISTED)}{told}"


def _told(one: Account, most: int) -> str:
    parts = []
    if one.functions:
        parts.append(_few(plain_names(one.functions), most))
    if one.reason and one.fate is not Fate.NO_CODE:
        parts.append(one.reason)
    elif one.fate is Fate.SAME and one.units:
        unit = "the unit that reads it is" if one.units == 1 else f"the {one.units} units that read it are"
        parts.append(f"{unit} the same before and after")
    if one.others:
        also = "" if one.fate is Fate.ELSEWHERE else "also "
        parts.append(f"{also}changes {', '.join(one.others)}")
    return ": " + "; ".join(parts) if parts else ""


def _ranges(one: Account) -> str:
    parts = [f"{word} {_numbers(lines)}" for word, lines in (("removed", one.removed), ("added", one.added)) if lines]
    return f" ({', '.join(parts)})" if parts else ""


def _numbers(lines: Sequence[Lines]) -> str:
    return " ".join(str(r.first) if r.first == r.last else f"{r.first}-{r.last}" for r in lines)


def _few(names: Sequence[str], most: int) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"
