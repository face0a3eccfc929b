"""Where each fix that an older release lacks stands, judged from what was carried, built, accepted and published."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from suture.report.document import BackportReport, ElsBuildReport
from suture.report.els import BackportedFix, ElsGrade, ElsHole, ElsHoleState, ElsPackage, FixState, Objection

_BY_NAMES = frozenset({Objection.ABSENT, Objection.UNKNOWN})
"""What is found by names of files and functions alone."""


def standing(
    carried: BackportReport,
    builds: Sequence[ElsBuildReport],
    accepted: Collection[str],
    published: Collection[str],
    live: Mapping[str, str],
) -> ElsPackage:
    """A package. `carried` is what came of each fix; `builds` are the package's; versions of them are `accepted` by a
    person and `published`; `live` says of CVEs what came of their live patches."""
    own = [b for b in builds if b.version == carried.version]
    holes = tuple(_hole(row, own, accepted, published, live) for row in carried.fixes)
    return ElsPackage(carried.package, carried.version, carried.from_version, carried.time, holes)


def _hole(
    row: BackportedFix,
    builds: Sequence[ElsBuildReport],
    accepted: Collection[str],
    published: Collection[str],
    live: Mapping[str, str],
) -> ElsHole:
    inside = [b for b in builds if any(f.cves == row.cves and f.cves for f in b.fixes)]
    said = ", ".join(dict.fromkeys(live[c] for c in row.cves if c in live))
    state, reasons, made = _carried(row), _reasons(row), ""
    if inside:
        build = next((b for b in inside if b.made in published), inside[-1])
        made = build.made
        doubts = (*build.doubts, *(d for f in build.fixes if f.cves == row.cves for d in f.doubts))
        if build.made in published:
            state, reasons = ElsHoleState.PACKAGE, ()
        elif build.grade is ElsGrade.SAFE or build.made in accepted:
            state, reasons = ElsHoleState.BUILT, ()
        else:
            state, reasons = ElsHoleState.WAITING, doubts
    return ElsHole(row.cves, row.patches, state, made, said, reasons)


def _carried(row: BackportedFix) -> ElsHoleState:
    """Where a fix stands that is in no package."""
    kinds = {f.kind for f in row.findings}
    if row.state is FixState.WHOLE:
        return ElsHoleState.OPEN
    if row.state is FixState.THERE:
        return ElsHoleState.THERE
    if kinds and kinds <= _BY_NAMES and not row.files:
        return ElsHoleState.NOT_PROVED
    return ElsHoleState.HANDED_OVER


def _reasons(row: BackportedFix) -> tuple[str, ...]:
    found = tuple(f"{f.path}: {f.reason}{f' ({f.about})' if f.about else ''}" for f in row.findings)
    if not found and not row.files:
        found = (f"no file of it is code: {', '.join(row.left_out) or 'it changes none'}",)
    return found or (("carried; no package was built with it",) if row.state is FixState.WHOLE else ())
