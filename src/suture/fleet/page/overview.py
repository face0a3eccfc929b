"""The first page: what is open now, which deadlines run out next, what runs."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from suture.fleet import applicant, deadline, hole, host, outbox, rollout
from suture.fleet.listing import ListWish
from suture.fleet.page.frame import PageFrame
from suture.fleet.role import Role

_MOST = 8


def pages(frame: PageFrame) -> APIRouter:
    """`/`."""
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    def page(request: Request) -> Response:
        visit = frame.visit(request)
        rule = frame.server.rule()
        lets_in = visit.visitor.role.may(Role.OPERATOR) and not visit.visitor.groups
        count = frame.server.open_counts.now()
        with frame.reading() as session:
            return frame.page(
                visit,
                "overview.html",
                counts=host.counts(session, visit.visitor),
                totals=hole.totals(session, visit.visitor),
                worst=hole.holes(session, visit.visitor, ListWish.of(size=_MOST), "open"),
                deadlines=deadline.running(session, visit.visitor, rule, visit.now, count=count, most=_MOST),
                rule=rule,
                counted=count.at,
                unsent=outbox.unsent(session),
                sources=hole.sources(session),
                waiting=len(applicant.waiting(session, visit.now)) if lets_in else 0,
                rollouts=rollout.running(session, visit.visitor),
            )

    return router
