"""Rollouts: the list, a new one, and one that is shown while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.responses import StreamingResponse

from suture.fleet import rollout
from suture.fleet.error import Malformed, NoSuchThing
from suture.fleet.page.frame import Form, NeedsLogin, PageFrame, back, text, words
from suture.fleet.plan import USUAL, PlannedStage, RolloutPlan
from suture.fleet.role import Role

_LIVE_SECONDS, _MOST_LIVE = 1.0, 3600.0


def pages(frame: PageFrame) -> APIRouter:
    """`/rollouts`."""
    router = APIRouter(include_in_schema=False)

    @router.get("/rollouts")
    def page(request: Request) -> Response:
        visit = frame.visit(request)
        with frame.reading() as session:
            return frame.page(
                visit,
                "rollouts.html",
                rollouts=rollout.latest(session, visit.visitor),
                patches=rollout.patches(session, visit.visitor),
                usual=USUAL,
            )

    @router.post("/rollouts")
    def begin(request: Request, form: Form) -> Response:
        visit = frame.posted(request, form, Role.OPERATOR)
        with frame.writing() as session:
            number = rollout.begin(
                session, visit.visitor, text(form, "patch"), _plan(form), text(form, "name"), visit.now
            )
        frame.server.check_ins.forget()
        return back(f"/rollouts/{number}")

    @router.post("/rollouts/stop")
    def stop_all(request: Request, form: Form) -> Response:
        visit = frame.posted(request, form, Role.OPERATOR)
        with frame.writing() as session:
            rollout.stop_all(session, visit.visitor, visit.now)
        frame.server.check_ins.forget()
        return back("/rollouts")

    @router.get("/rollouts/{number}")
    def one(request: Request, number: int) -> Response:
        visit = frame.visit(request)
        with frame.reading() as session:
            row = rollout.row_of(session, visit.visitor, number)
            return frame.page(
                visit,
                "rollout.html",
                rollout=rollout.told(session, row),
                plan=row.plan,
                events=rollout.events(session, number),
            )

    @router.get("/rollouts/{number}/live")
    async def live(request: Request, number: int) -> Response:
        await run_in_threadpool(_part, frame, request, number)

        async def told() -> AsyncIterator[str]:
            last = ""
            for _ in range(int(_MOST_LIVE / _LIVE_SECONDS)):
                try:
                    part, is_over = await run_in_threadpool(_part, frame, request, number)
                except (NeedsLogin, NoSuchThing):
                    return
                if part != last:
                    yield "".join(f"data: {line}\n" for line in part.splitlines()) + "\n"
                    last = part
                if is_over:
                    yield "event: over\ndata: over\n\n"
                    return
                await asyncio.sleep(_LIVE_SECONDS)

        return StreamingResponse(told(), media_type="text/event-stream")

    @router.post("/rollouts/{number}/approve")
    def approve(request: Request, form: Form, number: int) -> Response:
        visit = frame.posted(request, form, Role.APPROVER)
        with frame.writing() as session:
            rollout.approve(session, visit.visitor, number, visit.now)
        frame.server.check_ins.forget()
        return back(f"/rollouts/{number}")

    @router.post("/rollouts/{number}/stop")
    def stop(request: Request, form: Form, number: int) -> Response:
        visit = frame.posted(request, form, Role.OPERATOR)
        with frame.writing() as session:
            rollout.stop(session, visit.visitor, number, text(form, "why"), visit.now)
        frame.server.check_ins.forget()
        return back(f"/rollouts/{number}")

    return router


def _part(frame: PageFrame, request: Request, number: int) -> tuple[str, bool]:
    """The part of the page that changes, and whether the rollout is over."""
    visit = frame.visit(request)
    with frame.reading() as session:
        row = rollout.row_of(session, visit.visitor, number)
        said = rollout.told(session, row)
        values = {"rollout": said, "events": rollout.events(session, number), "now": visit.now}
    return frame.text("rollout_live.html", values), said.status.is_over


def _plan(form: FormData) -> RolloutPlan:
    """The plan of the form: canaries, a share, all."""
    soaks = [_number(form, f"soak_{n}", 60 * 24 * 30) for n in (1, 2)]
    stages = (
        PlannedStage(
            "canaries", tuple(words(form, "tags")), _number(form, "canaries", 100_000), soak=timedelta(minutes=soaks[0])
        ),
        PlannedStage("a share", percent=max(_number(form, "percent", 100), 1), soak=timedelta(minutes=soaks[1])),
        PlannedStage("all", soak=timedelta()),
    )
    hours = (_number(form, "first_hour", 23), _number(form, "last_hour", 24)) if text(form, "hours") else None
    return RolloutPlan(
        stages,
        max(_number(form, "quorum", 100), 1),
        _number(form, "most_failed", 1_000_000),
        hours,
        bool(text(form, "approval")),
        bool(text(form, "emergency")),
    )


def _number(form: FormData, name: str, most: int) -> int:
    word = text(form, name)
    if not (word.isascii() and word.isdigit() and len(word) < 8 and int(word) <= most):
        raise Malformed(f"{name.replace('_', ' ')} is no number from 0 to {most}", "go back and correct it")
    return int(word)
