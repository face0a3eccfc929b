"""Holes: the list, and one with the hosts that have it."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from suture.fleet import deadline, event, history, hole
from suture.fleet.listing import ListWish
from suture.fleet.page.frame import PageFrame


def pages(frame: PageFrame) -> APIRouter:
    """`/holes`."""
    router = APIRouter(include_in_schema=False)

    @router.get("/holes")
    def page(request: Request, q: str = "", sort: str = "", page: int = 1, only: str = "") -> Response:
        visit = frame.visit(request)
        with frame.reading() as session:
            found = hole.holes(session, visit.visitor, ListWish.of(q, sort, page), only)
        return frame.page(visit, "holes.html", found=found, only=only)

    @router.get("/holes/{cve}")
    def one(request: Request, cve: str, q: str = "", sort: str = "", page: int = 1, only: str = "") -> Response:
        visit = frame.visit(request)
        count = frame.server.open_counts.now()
        with frame.reading() as session:
            row = hole.row_of(session, cve)
            said = hole.one(session, visit.visitor, cve)
            rules = [
                (rule, deadline.running(session, visit.visitor, rule, visit.now, cve, count))
                for rule in frame.server.settings.rules
            ]
            return frame.page(
                visit,
                "hole.html",
                hole=said,
                facts=hole.facts(row),
                row=row,
                found=hole.spans(session, visit.visitor, cve, ListWish.of(q, sort, page), only, count.said),
                rules=rules,
                counted=count.at,
                line=history.kept_line(session, visit.visitor, cve, visit.now, count.said),
                attempts=event.attempts(session, visit.visitor, cve),
                only=only,
            )

    return router
