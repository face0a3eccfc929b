"""The hosts of a hole, as the database gives them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event

from suture.fleet import hole
from suture.fleet.listing import ListWish
from suture.fleet.role import Role, Visitor
from suture.fleet.server import Server
from tests.fleet.conftest import FakeFleet

CVE = "CVE-2026-1"
EVERYBODY = Visitor("ann", Role.VIEWER)


@contextmanager
def statements(server: Server) -> Iterator[list[tuple[str, Any]]]:
    """What is sent to the database, with its parameters."""
    sent: list[tuple[str, Any]] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> None:
        sent.append((statement, parameters))

    event.listen(server.database.engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(server.database.engine, "before_cursor_execute", note)


@pytest.mark.parametrize("sort", ["", "since", "-since"])
def test_the_newest_and_the_oldest_come_from_an_index_and_nothing_is_sorted(fleet: FakeFleet, sort: str) -> None:
    fleet.host("web1")
    fleet.host("web2")
    with fleet.server.database.reading() as session:
        with statements(fleet.server) as sent:
            found = hole.spans(session, EVERYBODY, CVE, ListWish.of(sort=sort))
        names = [s.name for s in found.rows]
        assert names == sorted(names, reverse=sort.startswith("-")) and len(names) == 2
        ((asked, parameters),) = [s for s in sent if "ORDER BY" in s[0]]
        connection = session.connection()
        is_sqlite = connection.dialect.name == "sqlite"
        if not is_sqlite:  # of two rows it would take all, whatever the index
            for name in ("seqscan", "bitmapscan", "hashjoin", "mergejoin"):
                connection.exec_driver_sql(f"SET LOCAL enable_{name} = off")
        explain = "EXPLAIN QUERY PLAN " if is_sqlite else "EXPLAIN "
        plan = "\n".join(str(row) for row in connection.exec_driver_sql(explain + asked, parameters))
        assert "span_of_hole" in plan and "Sort" not in plan and "TEMP B-TREE" not in plan, plan
