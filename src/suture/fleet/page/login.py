"""Logging in and out."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from suture.fleet import account, login
from suture.fleet.agent_door import address_of
from suture.fleet.error import NotPermitted, TooMany
from suture.fleet.page.frame import Form, PageFrame, back, text
from suture.fleet.role import Role


def pages(frame: PageFrame) -> APIRouter:
    """`/login` and `/logout`."""
    router = APIRouter(include_in_schema=False)

    @router.get("/login")
    def page(request: Request) -> Response:
        return frame.bare(request, "login.html", problem="", name="")

    @router.post("/login")
    def enter(request: Request, form: Form) -> Response:
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise NotPermitted("this form is not from a page of this server", "open /login and log in there")
        return _enter(frame, request, text(form, "name"), str(form.get("password", "")))

    @router.post("/logout")
    def leave(request: Request, form: Form) -> Response:
        visit = frame.posted(request, form, Role.VIEWER)
        with frame.writing() as session:
            login.end(session, visit.visitor.login)
        answer = back("/login")
        answer.delete_cookie(login.COOKIE)
        return answer

    return router


def _enter(frame: PageFrame, request: Request, name: str, password: str) -> Response:
    frame.server.logins.use(address_of(request))
    now = frame.server.now()
    try:
        with frame.writing() as session:
            row = account.check(session, name, password, now)
            secret = login.begin(session, row, now) if row is not None else ""
    except TooMany as problem:
        return frame.bare(request, "login.html", 429, problem=f"{problem.what}; {problem.remedy}", name=name)
    if not secret:
        return frame.bare(request, "login.html", 403, problem="The name or the password is wrong.", name=name)
    answer = back("/")
    answer.set_cookie(
        login.COOKIE,
        secret,
        max_age=int(login.MOST.total_seconds()),
        secure=frame.server.settings.secure,
        httponly=True,
        samesite="strict",
    )
    return answer
