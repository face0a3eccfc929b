"""Reports: a rule, a period, and in which form."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from fastapi import APIRouter, Request, Response

from suture.comply.exposure import Period
from suture.comply.rule import DeadlineRule
from suture.fleet import audit, compliance
from suture.fleet.error import Malformed
from suture.fleet.page.frame import PageFrame
from suture.report.document import ComplianceReport

_KINDS = {
    "json": "application/json",
    "deadlines.csv": "text/csv",
    "exposure.csv": "text/csv",
    "pdf": "application/pdf",
    "evidence.json": "application/json",
}
_MOST_ROWS, _MOST_PRINTED = 500, 100  # of a table; CSV and JSON have all


def pages(frame: PageFrame) -> APIRouter:
    """`/reports`."""
    router = APIRouter(include_in_schema=False)

    @router.get("/reports")
    def page(request: Request) -> Response:
        visit = frame.visit(request)
        first = (visit.now - timedelta(days=30)).date()
        return frame.page(visit, "reports.html", rules=frame.server.settings.rules, first=first, last=visit.now.date())

    @router.get("/reports/show")
    def show(request: Request, begin: str, end: str, rule: str = "", kind: str = "page") -> Response:
        visit = frame.visit(request)
        rules = _rules(frame, rule)
        with frame.reading() as session:
            found = compliance.compile_report(session, visit.visitor, rules, _period(begin, end), visit.now)
        values = {"report": found, "rules": rules, "most": _MOST_PRINTED if kind == "pdf" else _MOST_ROWS}
        if kind == "page":
            return frame.page(visit, "report.html", **values)
        if kind not in _KINDS:
            raise Malformed(f"{kind[:32]!r} is no kind of report", f"choose one of {', '.join(_KINDS)}")
        with frame.writing() as session:
            audit.note(session, visit.visitor.name, "report taken", kind, f"{begin} to {end}, {rule or 'all rules'}")
        text = frame.text("report.html", {**values, "path": "", "now": visit.now, "form_token": ""})
        data = _data(frame, kind, found, text)
        name = f"suture-{begin}-{end}.{kind}"
        return Response(
            data, media_type=_KINDS[kind], headers={"Content-Disposition": f'attachment; filename="{name}"'}
        )

    return router


def _data(frame: PageFrame, kind: str, found: ComplianceReport, page: str) -> bytes:
    if kind == "json":
        return compliance.as_json(found)
    if kind == "deadlines.csv":
        return compliance.deadlines_as_csv(found)
    if kind == "exposure.csv":
        return compliance.exposures_as_csv(found)
    if kind == "pdf":
        return compliance.as_pdf(page)
    return compliance.bundle(found, page, frame.server.key, frame.server.key.name)


def _rules(frame: PageFrame, name: str) -> list[DeadlineRule]:
    if not name:
        return list(frame.server.settings.rules)
    return [frame.server.rule(name)]


def _period(begin: str, end: str) -> Period:
    """Two days; the last one is in it."""
    try:
        first, last = (datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC) for day in (begin, end))
    except ValueError as problem:
        raise Malformed("a day has no form", "write it as 2027-01-31") from problem
    if last < first:
        raise Malformed("the period ends before it begins", "give a later last day")
    return Period(first, last + timedelta(days=1))
