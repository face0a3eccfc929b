"""The time line of a hole is kept as long as nobody sees a difference."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from suture.fleet import history
from suture.fleet.role import Role, Visitor
from tests.fleet.conftest import FIXED, FakeFleet

ANN, BOB = Visitor("ann", Role.ADMIN), Visitor("bob", Role.VIEWER, ("db",))


def test_it_is_computed_again_when_it_is_old_or_something_has_changed_or_for_others(fleet: FakeFleet) -> None:
    host, now = fleet.host("a", "web"), fleet.server.now() + timedelta(hours=1)
    said: dict[Any, Any] = {}
    with fleet.server.database.reading() as session:
        first = history.kept_line(session, ANN, "CVE-2026-1", now, said)
        assert first.columns[-1].open == 1 and first.lasts // timedelta(seconds=1) == 15
        assert history.kept_line(session, ANN, "CVE-2026-1", now + timedelta(seconds=14), said) is first
        assert history.kept_line(session, ANN, "CVE-2026-1", now + timedelta(seconds=17), said) is not first
        assert history.kept_line(session, BOB, "CVE-2026-1", now, said).most == 0
    before = fleet.server.open_counts.now()
    person = fleet.person()
    person.get("/holes/CVE-2026-1")
    host.check_in(FIXED)
    assert fleet.server.open_counts.now().said is not before.said
    assert "Now: 0 open, 0 unknown, 1 closed" in person.get("/holes/CVE-2026-1")
