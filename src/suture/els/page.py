"""The desk as pages on the loopback interface: what waits, both sides of each fix, an editor for its patch, and the
word for a built package.

Whoever has the key that the command prints is the person of the desk. Every text is made harmless and escaped on its
way into a page.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from suture.els.desk import ReviewDesk, name_of
from suture.error import NotFound, SutureError
from suture.report.els import ElsHoleState
from suture.visible import visible

COOKIE = "suture-els"
_MOST_FORM = 4_000_000  # bytes
_CLOSED = (ElsHoleState.PACKAGE, ElsHoleState.THERE, ElsHoleState.BUILT)
_SAFE = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

Page = Callable[[Request], Awaitable[Response]]


def create_app(desk: ReviewDesk, key: str) -> Starlette:
    """The pages; a browser shows `key` once, in ?key=, and gets a cookie for it."""
    return _Pages(desk, key).app()


class _Pages:
    def __init__(self, desk: ReviewDesk, key: str) -> None:
        self._desk, self._key = desk, key
        self._style = (files("suture.fleet") / "asset/style.css").read_text()
        self._style += (files("suture.els") / "template/review.css").read_text()
        self._templates = Environment(
            loader=FileSystemLoader(str(files("suture.els") / "template")),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            finalize=_harmless,
        )
        self._templates.filters.update(lines=_lines)
        self._templates.globals.update(name_of=name_of, closed=_CLOSED)

    def app(self) -> Starlette:
        place = "/packages/{package}"
        routes = [
            Route("/", self._known(self._list)),
            Route(place, self._known(self._package)),
            Route(f"{place}/fixes/{{fix}}", self._known(self._fix)),
            Route(f"{place}/fixes/{{fix}}", self._known(self._keep), methods=["POST"]),
            Route(f"{place}/builds/{{version}}", self._known(self._accept), methods=["POST"]),
            Route("/style.css", self._css),
        ]
        hosts = Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])
        return Starlette(routes=routes, middleware=[hosts])

    def _known(self, page: Page) -> Page:
        """The page for who has the key, and errors as a page."""

        async def asked(request: Request) -> Response:
            given = request.query_params.get("key", "")
            if given and hmac.compare_digest(given.encode(), self._key.encode()):
                answer: Response = RedirectResponse(request.url.path, 303)
                answer.set_cookie(COOKIE, self._key, httponly=True, samesite="strict")
                return answer
            if not hmac.compare_digest(request.cookies.get(COOKIE, "").encode(), self._key.encode()):
                return self._page(
                    "error.html",
                    403,
                    text="this page needs its key",
                    remedy="open the address that suture els page printed",
                )
            if request.method == "POST" and request.headers.get("sec-fetch-site", "same-origin") not in (
                "same-origin",
                "none",
            ):
                return self._page(
                    "error.html",
                    403,
                    text="this form is not from a page of ours",
                    remedy="open the page, and send it from there",
                )
            try:
                return await page(request)
            except SutureError as problem:
                code = 404 if isinstance(problem, NotFound) else 409
                return self._page("error.html", code, text=problem.what, remedy=problem.remedy)

        return asked

    async def _list(self, request: Request) -> Response:
        found = await run_in_threadpool(self._desk.standing, "")
        rows = [(p, [h for h in p.holes if h.state not in _CLOSED], self._desk.waiting(p.package)) for p in found]
        return self._page("list.html", rows=rows)

    async def _package(self, request: Request) -> Response:
        package = await run_in_threadpool(self._desk.package, request.path_params["package"])
        return self._page("package.html", package=package, waiting=self._desk.waiting(package.package))

    async def _fix(self, request: Request) -> Response:
        return await self._shown(request)

    async def _shown(self, request: Request, said: str = "", problem: SutureError | None = None) -> Response:
        name, fix = (request.path_params[k] for k in ("package", "fix"))
        package = await run_in_threadpool(self._desk.package, name)
        found = await run_in_threadpool(self._desk.fix, package.package, fix)
        draft = self._desk.draft(package.package, found)
        return self._page(
            "fix.html",
            200 if problem is None else 409,
            package=package,
            one=found,
            draft=draft,
            editable=draft.isascii() or not any("\udc80" <= c <= "\udcff" for c in draft),
            path=str(self._desk.path(package.package, fix)),
            said=said,
            problem=problem,
        )

    async def _keep(self, request: Request) -> Response:
        if int(request.headers.get("content-length", "0")) > _MOST_FORM:
            return self._page("error.html", 413, text="the patch is too large", remedy="write it into its file")
        form = await request.form(max_files=0, max_fields=4, max_part_size=_MOST_FORM)
        text = str(form.get("patch", "")).replace("\r\n", "\n")
        name, fix = (request.path_params[k] for k in ("package", "fix"))
        package = await run_in_threadpool(self._desk.package, name)
        try:
            paths = await run_in_threadpool(self._desk.keep, package.package, fix, text)
        except NotFound:
            raise
        except SutureError as problem:
            return await self._shown(request, problem=problem)
        return await self._shown(request, said=f"kept; it applies, and changes {', '.join(paths) or 'nothing'}")

    async def _accept(self, request: Request) -> Response:
        package, version = (request.path_params[k] for k in ("package", "version"))
        await run_in_threadpool(self._desk.accept, package, version)
        return RedirectResponse(f"/packages/{package}", 303)

    async def _css(self, _: Request) -> Response:
        return PlainTextResponse(self._style, media_type="text/css", headers=_SAFE)

    def _page(self, name: str, code: int = 200, /, **values: Any) -> Response:
        text = self._templates.get_template(name).render({"who": self._desk.who, **values})
        return HTMLResponse(text, code, headers=_SAFE)


def _lines(text: str) -> list[tuple[str, str]]:
    """The lines of a diff with the class that each is shown by."""
    kinds = {"+": "add", "-": "gone", "@": "at"}
    return [("at" if line.startswith(("---", "+++")) else kinds.get(line[:1], ""), line) for line in text.splitlines()]


def _harmless(value: Any) -> Any:
    """Text without control characters; lines stay lines."""
    if isinstance(value, str) and not hasattr(value, "__html__"):
        return "\n".join(visible(line, 4000).replace("\\t", "\t") for line in value.split("\n"))
    return value
