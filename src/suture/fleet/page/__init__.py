"""The pages of people, each a router. They are made on the server, need no script but for what is live, and take
nothing from outside."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter

from suture.fleet.page import account, audit, deadline, hole, host, login, overview, report, rollout
from suture.fleet.page.frame import PageFrame

PAGES: tuple[Callable[[PageFrame], APIRouter], ...] = (
    login.pages,
    overview.pages,
    hole.pages,
    host.pages,
    rollout.pages,
    deadline.pages,
    report.pages,
    audit.pages,
    account.pages,
)
