"""The interface of programs: what the pages show, as the documents of docs/reference/report.md, for who has a token.
Its description (OpenAPI) is at /api/v1/openapi.json."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, PlainTextResponse

from suture import __version__
from suture.fleet import account, deadline, hole, host, metric, plan, rollout, vex
from suture.fleet.error import Forged
from suture.fleet.listing import ListWish
from suture.fleet.role import Role, Visitor
from suture.fleet.server import Server
from suture.report.document import (
    Document,
    FleetDeadlinesReport,
    FleetHolesReport,
    FleetHostsReport,
    FleetRolloutsReport,
)
from suture.report.encoding import encode
from suture.report.moment import now

_BEARER = "bearer "


class NewRollout(BaseModel):
    """A rollout that is asked for; `plan` as docs/how-to/fleet.md has it, none for the usual one."""

    patch: str = Field(pattern="^[0-9a-f]{16}$")
    name: str = Field(default="", max_length=255)
    plan: dict[str, Any] | None = None


class Stop(BaseModel):
    """Why a rollout is stopped."""

    why: str = Field(default="", max_length=2000)


def _visitor(request: Request) -> Visitor:
    given = request.headers.get("authorization", "")
    if not given.lower().startswith(_BEARER):
        raise Forged("an API token is needed", "send Authorization: Bearer TOKEN; suture fleet api-token makes one")
    server: Server = request.app.state.server
    with server.database.reading() as session:
        return account.by_api_token(session, given[len(_BEARER) :].strip(), server.now())


Known = Annotated[Visitor, Depends(_visitor)]


def routes(server: Server) -> APIRouter:
    """`/api/v1` and `/metrics`."""
    router = APIRouter()

    @router.get("/api/v1/hosts", summary="Hosts, those with most open holes first")
    def hosts(who: Known, text: str = "", only: str = "", page: int = 1, size: int = 50) -> Response:
        with server.database.reading() as session:
            found = host.hosts(session, who, ListWish.of(text, "", page, size), only)
        return _document(FleetHostsReport(now(), 0, found.rows, found.total))

    @router.get("/api/v1/holes", summary="Holes, those open on most hosts first")
    def holes(who: Known, text: str = "", only: str = "", page: int = 1, size: int = 50) -> Response:
        with server.database.reading() as session:
            found = hole.holes(session, who, ListWish.of(text, "", page, size), only)
        return _document(FleetHolesReport(now(), 0, found.rows, found.total))

    @router.get("/api/v1/deadlines", summary="What is not closed by a rule, the next to run out first")
    def deadlines(who: Known, rule: str = "") -> Response:
        count = server.open_counts.now()
        with server.database.reading() as session:
            found = deadline.running(session, who, server.rule(rule), server.now(), count=count)
        return _document(FleetDeadlinesReport(now(), 0, found))

    @router.get("/api/v1/vex", summary="How holes stand on hosts, as CSAF 2.0, profile VEX")
    def vex_(who: Known, request: Request) -> Response:
        with server.database.reading() as session:
            address = str(request.base_url).rstrip("/")
            return JSONResponse(vex.vex(session, who, server.now(), f"suture {__version__}", address))

    @router.get("/api/v1/rollouts", summary="The last rollouts, and the patches that the feed has signed")
    def rollouts(who: Known) -> Response:
        with server.database.reading() as session:
            return _document(FleetRolloutsReport(now(), 0, rollout.latest(session, who), rollout.patches(session, who)))

    @router.post("/api/v1/rollouts", summary="Ask for a rollout", status_code=201)
    def begin(who: Known, wanted: NewRollout) -> Response:
        who.need(Role.OPERATOR)
        chosen = plan.parse(wanted.plan) if wanted.plan is not None else plan.USUAL
        with server.database.writing() as session:
            number = rollout.begin(session, who, wanted.patch, chosen, wanted.name, server.now())
            found = rollout.told(session, rollout.row_of(session, who, number))
        server.check_ins.forget()
        return _document(FleetRolloutsReport(now(), 0, (found,), ()), 201)

    @router.post("/api/v1/rollouts/{number}/approve", summary="Approve what another has asked for")
    def approve(who: Known, number: int) -> Response:
        with server.database.writing() as session:
            rollout.approve(session, who, number, server.now())
            found = rollout.told(session, rollout.row_of(session, who, number))
        server.check_ins.forget()
        return _document(FleetRolloutsReport(now(), 0, (found,), ()))

    @router.post("/api/v1/rollouts/{number}/stop", summary="Stop a rollout and take it back")
    def stop(who: Known, number: int, wanted: Stop) -> Response:
        with server.database.writing() as session:
            rollout.stop(session, who, number, wanted.why, server.now())
            found = rollout.told(session, rollout.row_of(session, who, number))
        server.check_ins.forget()
        return _document(FleetRolloutsReport(now(), 0, (found,), ()))

    @router.get("/metrics", summary="For Prometheus")
    def metrics(who: Known) -> Response:
        with server.database.reading() as session:
            return PlainTextResponse(metric.text(session, who), media_type="text/plain; version=0.0.4; charset=utf-8")

    return router


def describe(app: FastAPI) -> None:
    """Serve the description of the interface."""

    @app.get("/api/v1/openapi.json", include_in_schema=False)
    def openapi() -> Response:
        return JSONResponse(get_openapi(title=app.title, version=app.version, routes=app.routes))


def _document(document: Document, status: int = 200) -> Response:
    return JSONResponse(encode(document), status)
