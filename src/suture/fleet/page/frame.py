"""What all pages share: who asks, the form token, the templates. Every text is made harmless and escaped on its way
into a page, whoever it is from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from importlib.resources import files
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Depends, Request, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.datastructures import FormData
from starlette.responses import HTMLResponse, RedirectResponse

from suture.fleet import login
from suture.fleet.error import NotPermitted
from suture.fleet.role import Role, Visitor
from suture.fleet.server import Server
from suture.report.hole import HoleState
from suture.visible import visible

_MOST_TEXT = 4000


async def _read_form(request: Request) -> FormData:
    return await request.form(max_files=0, max_fields=64)


Form = Annotated[FormData, Depends(_read_form)]


class NeedsLogin(Exception):
    """Nobody is logged in."""


@dataclass(frozen=True)
class Visit:
    """One request of a person who is logged in."""

    request: Request
    visitor: Visitor
    secret: str
    now: datetime


class PageFrame:
    """The pages of one server."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.reading, self.writing = server.database.reading, server.database.writing
        self._templates = Environment(
            loader=FileSystemLoader(str(files("suture.fleet") / "template")),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            finalize=_harmless,
        )
        self._templates.globals.update(HoleState=HoleState, Role=Role, query=_query)
        self._templates.filters.update(ago=_ago, moment=datetime.fromisoformat, when=_when, word=_word)

    def visit(self, request: Request) -> Visit:
        """Raises `NeedsLogin`."""
        secret, now = request.cookies.get(login.COOKIE, ""), self.server.now()
        with self.reading() as session:
            found = login.visitor(session, secret, now) if secret else None
        if found is None:
            raise NeedsLogin
        visitor, is_old = found
        if is_old:
            with self.writing() as session:
                login.touch(session, visitor.login, now)
        return Visit(request, visitor, secret, now)

    def posted(self, request: Request, form: FormData, role: Role) -> Visit:
        """A form was sent by a person of this role, from a page of ours. Raises `NeedsLogin`, `NotPermitted`."""
        visit = self.visit(request)
        is_ours = request.headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none")
        if not is_ours or not login.is_form_token(visit.secret, text(form, "form_token")):
            raise NotPermitted(
                "this form is not from a page of this login", "open the page again and send it from there"
            )
        visit.visitor.need(role)
        return visit

    def page(self, visit: Visit, name: str, code: int = 200, /, **values: Any) -> Response:
        """A page from its template; `code` is HTTP's."""
        known = {
            "visitor": visit.visitor,
            "form_token": login.form_token(visit.secret),
            "path": visit.request.url.path,
            "now": visit.now,
        }
        return HTMLResponse(self._templates.get_template(name).render(known | values), code)

    def text(self, name: str, values: Mapping[str, Any]) -> str:
        """A template without a login: a report, a part of a page."""
        return self._templates.get_template(name).render({"visitor": None, **values})

    def bare(self, request: Request, name: str, code: int = 200, /, **values: Any) -> Response:
        """A page for who is not logged in."""
        known = {"visitor": None, "form_token": "", "path": request.url.path, "now": self.server.now()}
        return HTMLResponse(self._templates.get_template(name).render(known | values), code)

    def error(self, request: Request, status: int, what: str, remedy: str) -> Response:
        values = {"status": status, "what": what, "remedy": remedy}
        try:
            return self.page(self.visit(request), "error.html", status, **values)
        except NeedsLogin:
            return self.bare(request, "error.html", status, **values)


def text(form: FormData, name: str) -> str:
    """A field of a form, "" where it is not there."""
    value = form.get(name, "")
    return value.strip()[:_MOST_TEXT] if isinstance(value, str) else ""


def words(form: FormData, name: str) -> list[str]:
    """A field with words between commas or spaces."""
    return [w[:64] for w in text(form, name).replace(",", " ").split()][:32]


def back(to: str) -> Response:
    """On to a page, after a form was sent."""
    return RedirectResponse(to, 303)


def _harmless(value: Any) -> Any:
    if isinstance(value, Markup):
        return value
    if isinstance(value, Enum):
        return value.value
    return visible(value, _MOST_TEXT) if isinstance(value, str) else value


def _query(wish: Any, **changes: Any) -> str:
    """The address of the same list with another page or order."""
    known = {"q": wish.text, "sort": wish.sort, "page": wish.page} | changes
    return "?" + urlencode({k: v for k, v in known.items() if v not in ("", None)})


def _when(value: Any) -> str:
    """A moment for people, in UTC."""
    if not value:
        return ""
    found = datetime.fromisoformat(value) if isinstance(value, str) else value
    return f"{found.astimezone(UTC):%Y-%m-%d %H:%M}"


def _ago(value: Any, now: datetime) -> str:
    """How long before or after now."""
    if not value:
        return ""
    found = datetime.fromisoformat(value) if isinstance(value, str) else value
    seconds = (now - found).total_seconds()
    size = abs(seconds)
    for name, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if size >= length:
            count = int(size // length)
            told = f"{count} {name}{'s' if count > 1 else ''}"
            return f"{told} ago" if seconds >= 0 else f"in {told}"
    return "now"


def _word(value: bool | None) -> str:
    return {True: "yes", False: "no"}.get(value, "not known") if value is not None else "not known"
