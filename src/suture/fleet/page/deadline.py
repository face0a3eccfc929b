"""Deadlines by rule, and exceptions."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import APIRouter, Request, Response

from suture.fleet import deadline, exemption
from suture.fleet.error import Malformed
from suture.fleet.listing import ListWish
from suture.fleet.page.frame import Form, PageFrame, back, text
from suture.fleet.role import Role


def pages(frame: PageFrame) -> APIRouter:
    """`/deadlines` and `/exceptions`."""
    router = APIRouter(include_in_schema=False)

    @router.get("/deadlines")
    def page(request: Request, rule: str = "", q: str = "", page: int = 1) -> Response:
        visit = frame.visit(request)
        chosen, count = frame.server.rule(rule), frame.server.open_counts.now()
        wish = ListWish.of(q, "", page)
        with frame.reading() as session:
            return frame.page(
                visit,
                "deadlines.html",
                rule=chosen,
                counted=count.at,
                rules=frame.server.settings.rules,
                found=deadline.page(session, visit.visitor, chosen, visit.now, wish, count),
                exemptions=exemption.exemptions(session),
            )

    @router.post("/exceptions")
    def ask(request: Request, form: Form) -> Response:
        visit = frame.posted(request, form, Role.OPERATOR)
        try:
            expires = datetime.fromisoformat(text(form, "expires")).replace(tzinfo=UTC)
        except ValueError as problem:
            raise Malformed("the day on which the exception ends has no form", "write it as 2027-01-31") from problem
        cve, host, reason, control = (text(form, n) for n in ("cve", "host", "reason", "control"))
        with frame.writing() as session:
            exemption.ask(session, visit.visitor, cve, host, reason, control, expires, visit.now)
        return back("/deadlines#exceptions")

    @router.post("/exceptions/{number}/approve")
    def approve(request: Request, number: int, form: Form) -> Response:
        visit = frame.posted(request, form, Role.APPROVER)
        with frame.writing() as session:
            exemption.approve(session, visit.visitor, number)
        return back("/deadlines#exceptions")

    @router.post("/exceptions/{number}/end")
    def end(request: Request, number: int, form: Form) -> Response:
        visit = frame.posted(request, form, Role.OPERATOR)
        with frame.writing() as session:
            exemption.end(session, visit.visitor, number, visit.now)
        return back("/deadlines#exceptions")

    return router
