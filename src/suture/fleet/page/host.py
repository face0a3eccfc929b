"""Hosts: the list, one of them, and what a person says of one."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from suture.fleet import applicant, enrolment, host
from suture.fleet.listing import ListWish
from suture.fleet.page.frame import Form, PageFrame, back, text, words
from suture.fleet.role import Role

_EXPOSED = {"yes": True, "no": False}


def pages(frame: PageFrame) -> APIRouter:
    """`/hosts`."""
    router = APIRouter(include_in_schema=False)

    @router.get("/hosts")
    def page(request: Request, q: str = "", sort: str = "", page: int = 1, only: str = "") -> Response:
        visit = frame.visit(request)
        with frame.reading() as session:
            found = host.hosts(session, visit.visitor, ListWish.of(q, sort, page), only)
            lets_in = visit.visitor.role.may(Role.OPERATOR) and not visit.visitor.groups
            waiting = applicant.waiting(session, visit.now) if lets_in else []
        return frame.page(visit, "hosts.html", found=found, only=only, waiting=waiting)

    @router.post("/applicants/{number}")
    def admit(request: Request, number: str, form: Form) -> Response:
        visit = frame.posted(request, form, Role.OPERATOR)
        with frame.writing() as session:
            if text(form, "answer") == "let in":
                enrolment.admit(session, visit.visitor, number, text(form, "group")[:64], visit.now)
            else:
                applicant.turn_away(session, visit.visitor, number, visit.now)
        return back("/hosts")

    @router.get("/hosts/{number}")
    def one(request: Request, number: str) -> Response:
        visit = frame.visit(request)
        with frame.reading() as session:
            return frame.page(visit, "host.html", whole=host.whole(session, visit.visitor, number))

    @router.post("/hosts/{number}")
    def describe(request: Request, number: str, form: Form) -> Response:
        visit = frame.posted(request, form, Role.OPERATOR)
        with frame.writing() as session:
            host.describe(
                session,
                visit.visitor,
                host.row_of(session, visit.visitor, number),
                group=text(form, "group")[:64],
                tags=words(form, "tags"),
                classes=words(form, "classes"),
                exposed=_EXPOSED.get(text(form, "exposed")),
            )
        return back(f"/hosts/{number}")

    @router.post("/hosts/{number}/withdraw")
    def withdraw(request: Request, number: str, form: Form) -> Response:
        visit = frame.posted(request, form, Role.ADMIN)
        with frame.writing() as session:
            host.withdraw(session, visit.visitor, host.row_of(session, visit.visitor, number))
        frame.server.check_ins.forget(number)
        return back("/hosts?only=withdrawn")

    return router
