"""People: their accounts, roles and groups; tokens that let hosts in."""

from __future__ import annotations

from datetime import timedelta

from fastapi import APIRouter, Request, Response
from sqlalchemy import select
from starlette.datastructures import FormData

from suture.fleet import account, enrolment
from suture.fleet.error import Malformed
from suture.fleet.page.frame import Form, PageFrame, Visit, back, text, words
from suture.fleet.role import Role
from suture.fleet.table import AccountRow, TokenRow

_LASTS = timedelta(days=7)
_MOST_USES = 100_000


def pages(frame: PageFrame) -> APIRouter:
    """`/users` and `/tokens`."""
    router = APIRouter(include_in_schema=False)

    def shown(visit: Visit, token: str = "") -> Response:
        with frame.reading() as session:
            people = list(session.scalars(select(AccountRow).order_by(AccountRow.name)))
            tokens = list(
                session.scalars(
                    select(TokenRow).where(TokenRow.expires > visit.now, TokenRow.uses_left > 0).order_by(TokenRow.id)
                )
            )
        return frame.page(visit, "users.html", people=people, tokens=tokens, token=token, roles=list(Role))

    @router.get("/users")
    def page(request: Request) -> Response:
        visit = frame.visit(request)
        visit.visitor.need(Role.ADMIN)
        return shown(visit)

    @router.post("/users")
    def add(request: Request, form: Form) -> Response:
        visit = frame.posted(request, form, Role.ADMIN)
        _add(frame, visit, form)
        return back("/users")

    @router.post("/users/{name}")
    def change(request: Request, name: str, form: Form) -> Response:
        visit = frame.posted(request, form, Role.ADMIN)
        with frame.writing() as session:
            account.change(
                session,
                visit.visitor.name,
                name,
                role=_role(text(form, "role")),
                groups=words(form, "groups"),
                disabled=bool(text(form, "disabled")),
            )
        return back("/users")

    @router.post("/tokens")
    def token(request: Request, form: Form) -> Response:
        visit = frame.posted(request, form, Role.ADMIN)
        uses = text(form, "uses")
        if not uses.isdigit() or not 0 < int(uses) <= _MOST_USES:
            raise Malformed("the number of hosts has no form", "write a number of 1 and more")
        with frame.writing() as session:
            made = enrolment.new_token(
                session,
                visit.visitor.name,
                text(form, "label")[:255],
                text(form, "group")[:64],
                int(uses),
                visit.now,
                _LASTS,
            )
        return shown(visit, made)

    return router


def _add(frame: PageFrame, visit: Visit, form: FormData) -> None:
    with frame.writing() as session:
        account.add(
            session,
            visit.visitor.name,
            text(form, "name"),
            str(form.get("password", "")),
            _role(text(form, "role")),
            words(form, "groups"),
        )


def _role(word: str) -> Role:
    try:
        return Role(word)
    except ValueError as problem:
        raise Malformed(f"{word[:32]!r} is no role", "choose one of the list") from problem
