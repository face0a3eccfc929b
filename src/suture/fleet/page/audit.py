"""The audit log."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from sqlalchemy import select

from suture.fleet.listing import ListWish, listed
from suture.fleet.page.frame import PageFrame
from suture.fleet.table import AuditRow

_COLUMNS: dict[str, Any] = {"number": AuditRow.number, "who": AuditRow.who, "what": AuditRow.what}
_SEARCHED: tuple[Any, ...] = (AuditRow.who, AuditRow.what, AuditRow.subject, AuditRow.detail)


def pages(frame: PageFrame) -> APIRouter:
    """`/audit`."""
    router = APIRouter(include_in_schema=False)

    @router.get("/audit")
    def page(request: Request, q: str = "", sort: str = "", page: int = 1) -> Response:
        visit = frame.visit(request)
        visit.visitor.need_all_hosts()
        with frame.reading() as session:
            found = listed(session, select(AuditRow), ListWish.of(q, sort, page), _COLUMNS, _SEARCHED, "-number")
        return frame.page(visit, "audit.html", found=found)

    return router
