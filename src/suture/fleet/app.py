"""The server as a web application: the door of the hosts, the pages of people, the interface of programs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from importlib.resources import files

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DataError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse
from starlette.staticfiles import StaticFiles

from suture import __version__
from suture.error import ExitCode, SutureError
from suture.fleet import api
from suture.fleet.agent_door import door
from suture.fleet.error import FleetRefusal
from suture.fleet.guard import App, RequestGuard
from suture.fleet.keeper import Keeper, stepping, sweeping, telling
from suture.fleet.page import PAGES
from suture.fleet.page.frame import NeedsLogin, PageFrame
from suture.fleet.server import Server
from suture.fleet.short_way import ShortWay

_GRACE = 3  # check-ins of a host, before it can be away
_STATUS = {ExitCode.USAGE: 422, ExitCode.NOT_FOUND: 404, ExitCode.NO_PERMISSION: 403, ExitCode.REFUSED: 409}


def create_app(server: Server) -> App:
    """The application; while it runs, it also keeps house (`keeper.py`)."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        grace = timedelta(seconds=_GRACE * server.settings.every_seconds)
        away = sweeping(server.database, server.settings.away_after, grace)
        keeper = Keeper(server.check_ins, (away, stepping(server.database, server.check_ins)))
        # Of its own, as a count takes long in a large fleet, and who is told may be slow.
        teller = Keeper(server.check_ins, (server.check_ins.read_all, server.open_counts.keep, telling(server)))
        keeper.start()
        teller.start()
        yield
        keeper.stop()
        teller.stop()

    app = FastAPI(title="Suture fleet", version=__version__, lifespan=lifespan, openapi_url=None)
    app.state.server = server
    frame = PageFrame(server)
    app.include_router(door(server))
    for page in PAGES:
        app.include_router(page(frame))
    app.include_router(api.routes(server))
    api.describe(app)
    app.mount("/asset", StaticFiles(directory=str(files("suture.fleet") / "asset")))

    def refused(request: Request, problem: Exception) -> Response:
        """A defect of ours is told as such, without what is inside."""
        known = problem if isinstance(problem, SutureError) else None
        status = known.status if isinstance(known, FleetRefusal) else 500
        if known is not None and not isinstance(known, FleetRefusal):
            status = _STATUS.get(known.exit_code, 500)
        what = known.what if known else "an unforeseen failure"
        remedy = known.remedy if known else "this is a defect in Suture: look into the server's log and report it"
        return told(request, status, what, remedy)

    def told(request: Request, status: int, what: str, remedy: str) -> Response:
        if request.url.path.startswith(("/agent/", "/api/", "/metrics")):
            return JSONResponse({"error": what, "remedy": remedy}, status)
        return frame.error(request, status, what, remedy)

    def to_login(request: Request, problem: Exception) -> Response:
        return RedirectResponse("/login", 303)

    def no_page(request: Request, problem: Exception) -> Response:
        assert isinstance(problem, HTTPException)
        return told(request, problem.status_code, str(problem.detail), "go back, or to the overview")

    def no_form(request: Request, problem: Exception) -> Response:
        return told(request, 422, "what was sent has not its form", "go back and correct it")

    app.add_exception_handler(NeedsLogin, to_login)
    app.add_exception_handler(SutureError, refused)
    app.add_exception_handler(HTTPException, no_page)
    app.add_exception_handler(RequestValidationError, no_form)
    app.add_exception_handler(DataError, no_form)  # what no column takes
    app.add_exception_handler(Exception, refused)
    return RequestGuard(ShortWay(app, server))
