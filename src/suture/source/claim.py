"""Which CVEs fixes that are made together claim.

A part of a fix claims its CVE when all the other parts are there, and then all of them have to be whole
(delta/ledger.py); so does whatever else is named for a CVE that another of the fixes claims.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import replace

from suture.source.fix import Fix
from suture.source.subject import Named


def together(fixes: Sequence[Fix]) -> list[Fix]:
    """The fixes as they claim when they are made together; what is left named says which part was not given."""
    left = {cve: _missing(fixes, cve) for cve in {n.cve for f in fixes for n in f.named if n.number}}
    whole = {cve for cve, why in left.items() if not why}
    done = claiming(fixes, whole | {c for f in fixes for c in f.cves})
    return [replace(f, named=tuple(_with_reason(n, left) for n in f.named)) for f in done]


def claiming(fixes: Sequence[Fix], cves: Collection[str]) -> list[Fix]:
    """The fixes, of which all that are named for one of `cves` claim it."""
    found = []
    for fix in fixes:
        mine = {n.cve for n in fix.named if n.is_part and n.cve in cves}
        named = tuple(n for n in fix.named if n.cve not in mine)
        found.append(replace(fix, cves=tuple(sorted({*fix.cves, *mine})), named=named))
    return found


def told(fix: Fix) -> str:
    """The CVEs that a fix claims and those that it only names, as text; `as_told` reads it."""
    return json.dumps([fix.cves, [[n.cve, n.reason, n.is_part] for n in fix.named]], separators=(",", ":"))


def as_told(fix: Fix, text: str) -> Fix:
    """The fix with the claims of another one of the same changes. Raises ValueError for what `told` has not written."""
    try:
        cves, named = json.loads(text)
        rows = [(cve, reason, is_part) for cve, reason, is_part in named]
    except TypeError as problem:
        raise ValueError(text) from problem
    words = [*cves, *(x for row in rows for x in row[:2])]
    if not (all(isinstance(w, str) for w in words) and all(isinstance(row[2], bool) for row in rows)):
        raise ValueError(text)
    return replace(fix, cves=tuple(cves), named=tuple(Named(*row) for row in rows))


def _missing(fixes: Sequence[Fix], cve: str) -> str:
    """What is said of the numbered parts of a CVE's fix that are not there; "" where all seem to be."""
    parts = [n for f in fixes for n in f.named if n.cve == cve and n.number]
    numbers, count = {n.number for n in parts}, max(n.count for n in parts)
    left = [n for n in range(1, max(*numbers, count) + 1) if n not in numbers]
    if left:
        return f"part {', '.join(map(str, left[:3]))} was not given"
    return "no other part was given" if numbers == {1} and count != 1 else ""


def _with_reason(named: Named, left: dict[str, str]) -> Named:
    return replace(named, reason=f"{named.reason}, and {left[named.cve]}") if named.number else named
