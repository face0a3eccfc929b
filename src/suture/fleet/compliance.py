"""Reports for auditors: what came of rules in a period, from the spans in the database; as a document, as tables, as
a page, as PDF, and with all of them in one signed bundle."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from datetime import datetime
from importlib.resources import files

from sqlalchemy.orm import Session

from suture.comply.bundle import EvidenceBundle, seal
from suture.comply.deadline import figures
from suture.comply.exposure import Period, figure
from suture.comply.rule import DeadlineRule
from suture.error import NotFound
from suture.fleet import audit
from suture.fleet.deadline import judged, pairs
from suture.fleet.exemption import exemptions
from suture.fleet.hole import sources
from suture.fleet.host import moment
from suture.fleet.role import Visitor
from suture.fleet.server_key import ServerKey
from suture.report.deadline import Exemption
from suture.report.document import ComplianceReport
from suture.report.encoding import encode


def compile_report(
    session: Session, visitor: Visitor, rules: Sequence[DeadlineRule], period: Period, now: datetime
) -> ComplianceReport:
    """What a visitor may know of a period."""
    found = list(pairs(session, visitor, period))
    deadlines = tuple(judged(found, rules, session, now))
    exposures = (figure(p.asset.host, p.facts, p.spans, period, now) for p in found)
    number, digest = audit.head(session)
    return ComplianceReport(
        moment(now),
        0,
        moment(period.begin),
        moment(period.end),
        visitor.groups,
        tuple(figures(rule, deadlines) for rule in rules),
        deadlines,
        tuple(e for e in exposures if e is not None),
        tuple(e for e in exemptions(session) if _held(e, period)),
        sources(session),
        {p.asset.host: p.name for p in found},
        number,
        digest,
    )


def _held(one: Exemption, period: Period) -> bool:
    return datetime.fromisoformat(one.created) < period.end and datetime.fromisoformat(one.expires) > period.begin


def as_json(report: ComplianceReport) -> bytes:
    """The document."""
    return json.dumps(encode(report), indent=1).encode()


def deadlines_as_csv(report: ComplianceReport) -> bytes:
    """One row for each rule, host and hole."""
    head = ("rule", "clause", "host", "name", "hole", "stands", "deadline", "clock", "start", "due", "closed")
    rows = [
        (
            *(d.rule, d.clause, d.host, report.names.get(d.host, ""), d.cve, d.hole.value, d.state.value, d.clock),
            *(d.start, d.due, d.ended, "; ".join(d.duties), " ".join(d.assumed), d.exemption or ""),
        )
        for d in report.deadlines
    ]
    return _csv((*head, "also asked for", "taken for the worse", "exception"), rows)


def exposures_as_csv(report: ComplianceReport) -> bytes:
    """One row for each host and hole, in hours."""
    head = ("host", "name", "hole", "begin", "end", "open", "mitigated", "unknown", "with a monthly window")
    rows = [
        (
            *(e.host, report.names.get(e.host, ""), e.cve, e.begin, e.end),
            *(e.hours_open, e.hours_mitigated, e.hours_unknown, e.hours_monthly),
        )
        for e in report.exposures
    ]
    return _csv(head, rows)


def bundle(report: ComplianceReport, page: str, key: ServerKey, server: str) -> bytes:
    """All of it, signed by the server's key; `suture comply verify` opens it."""
    parts = {
        "report.json": as_json(report),
        "deadlines.csv": deadlines_as_csv(report),
        "exposure.csv": exposures_as_csv(report),
        "report.html": page.encode(),
    }
    return seal(EvidenceBundle(report.time, server, key.public, parts), key.sign)


def as_pdf(page: str) -> bytes:
    """A page as PDF; nothing that it names is fetched. Raises `NotFound` without the libraries that draw text."""
    try:
        from weasyprint import CSS, HTML
    except OSError as problem:
        raise NotFound(
            f"PDF: {str(problem).splitlines()[0]}", "apt-get install libpango-1.0-0 libpangoft2-1.0-0"
        ) from problem
    style = files("suture.fleet").joinpath("asset/report.css").read_text()
    made = HTML(string=page, url_fetcher=_nothing).write_pdf(stylesheets=[CSS(string=style, url_fetcher=_nothing)])
    return bytes(made)


def _nothing(url: str, *_: object, **__: object) -> dict[str, object]:
    return {"string": b"", "mime_type": "text/css"}


def _csv(head: Sequence[str], rows: Sequence[Sequence[object]]) -> bytes:
    """No cell is a formula to a spreadsheet, whatever a host calls itself."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(head)
    writer.writerows([[_cell(c) for c in row] for row in rows])
    return text.getvalue().encode()


def _cell(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
