"""A host's state goes into the database: spans of its holes begin and end, tallies follow, patches are kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from suture.comply.catalogue import KEV
from suture.fleet.state import Condensed, HostPatch, PatchStanding
from suture.fleet.table import DataSourceRow, HoleRow, HostPatchRow, HostRow, PatchRow, SpanRow, TallyRow
from suture.report.encoding import plain
from suture.report.feed import Offer, OfferState
from suture.report.hole import HoleState


def record(session: Session, host: HostRow, said: Condensed, now: datetime) -> None:
    """What the host says now. A hole that it says nothing of any more is gone."""
    _holes(session, host, said.holes, now)
    _patches(session, host, said.patches, now)


def lose(session: Session, host: HostRow, since: datetime) -> None:
    """The host is away: what was not closed for good is unknown from when it was last heard of."""
    spans = _current(session, host.id)
    _holes(session, host, {cve: HoleState.UNKNOWN for cve, span in spans.items() if span.state is not None}, since)


def forget(session: Session, host: HostRow) -> None:
    """Take a host that is to be deleted out of the tallies."""
    for cve, span in _current(session, host.id).items():
        if span.state is not None:
            _count(session, cve, host.group, HoleState(span.state), -1)


def move(session: Session, host: HostRow, group: str) -> None:
    """Put a host into another group."""
    forget(session, host)
    host.group = group
    for cve, span in _current(session, host.id).items():
        if span.state is not None:
            _count(session, cve, group, HoleState(span.state), 1)


def _current(session: Session, host: str) -> dict[str, SpanRow]:
    rows = session.scalars(select(SpanRow).where(SpanRow.host == host, SpanRow.until.is_(None)))
    return {r.cve: r for r in rows}


def _holes(session: Session, host: HostRow, holes: Mapping[str, HoleState], now: datetime) -> None:
    spans = _current(session, host.id)
    _know(session, holes.keys() - spans.keys(), now)
    for cve in sorted({*holes, *spans}):
        span, state = spans.get(cve), holes.get(cve)
        if span is not None and span.state == (state.value if state else None):
            continue
        if span is not None:
            span.until = max(now, span.since)
            if span.state is not None:
                _count(session, cve, host.group, HoleState(span.state), -1)
        seen = span.seen if span is not None and span.state is not None else now
        session.add(SpanRow(host=host.id, cve=cve, state=state.value if state else None, seen=seen, since=now))
        if state is not None:
            _count(session, cve, host.group, state, 1)
    host.open_holes = sum(not s.is_closed for s in holes.values())


def _know(session: Session, cves: Iterable[str], now: datetime) -> None:
    named = set(cves)
    known = set(session.scalars(select(HoleRow.cve).where(HoleRow.cve.in_(named)))) if named else set()
    if not named - known:
        return
    catalogued = session.get(DataSourceRow, KEV) is not None  # what is not in it now was in none of its rows
    in_kev = False if catalogued else None
    session.add_all(HoleRow(cve=cve, first_seen=now, in_kev=in_kev) for cve in sorted(named - known))
    session.flush()


def _count(session: Session, cve: str, group: str, state: HoleState, by: int) -> None:
    row = session.get(TallyRow, (cve, group, state.value), with_for_update=True)
    if row is None:
        row = TallyRow(cve=cve, group=group, state=state.value, hosts=0)
        session.add(row)
        session.flush()
    row.hosts += by


def _patches(session: Session, host: HostRow, patches: Iterable[HostPatch], now: datetime) -> None:
    rows = {r.patch: r for r in session.scalars(select(HostPatchRow).where(HostPatchRow.host == host.id))}
    named = set()
    for patch in patches:
        named.add(patch.offer.patch)
        keep_offer(session, patch.offer, now)
        row = rows.get(patch.offer.patch)
        if row is None:
            row = HostPatchRow(host=host.id, patch=patch.offer.patch, state=PatchStanding.WAITING.value, why="")
            session.add(row)
        row.state, row.why = patch.standing.value, patch.why[:2000]
    gone = rows.keys() - named
    if gone:
        session.execute(delete(HostPatchRow).where(HostPatchRow.host == host.id, HostPatchRow.patch.in_(gone)))


def keep_offer(session: Session, offer: Offer, now: datetime) -> None:
    """A patch as the feed has it. A withdrawal is kept, whatever other hosts still say."""
    row = session.get(PatchRow, offer.patch)
    if row is None:
        session.add(PatchRow(id=offer.patch, offer=plain(offer), state=offer.state.value, first_seen=now))
        session.flush()
    elif offer.state is not OfferState.OFFERED and row.state == OfferState.OFFERED.value:
        row.offer, row.state = plain(offer), offer.state.value
