"""What is open, counted for deadlines: at once in a small fleet, kept for a while where it takes long."""

from __future__ import annotations

import pytest

from suture.fleet import open_kind
from suture.fleet.open_kind import OpenCounts
from suture.report.hole import HoleState
from tests.fleet.conftest import FIXED, FakeFleet


def test_hosts_of_one_kind_are_one_row_from_the_first_of_them(fleet: FakeFleet) -> None:
    first, second, third = fleet.host("a", "web"), fleet.host("b", "web"), fleet.host("c", "db")
    third.check_in(FIXED)
    count = fleet.server.open_counts.now()
    (db, web) = sorted(count.kinds, key=lambda k: k.group)
    assert (web.cve, web.hosts, web.state, web.exposed) == ("CVE-2026-1", 2, HoleState.OPEN, None)
    assert (db.hosts, db.state) == (1, HoleState.LOST_AT_NEXT_START)
    assert web.seen <= count.at
    fleet.person().post(f"/hosts/{second.id}", group="web", exposed="yes")
    kinds = {(k.exposed, k.hosts) for k in fleet.server.open_counts.now().kinds if k.group == "web"}
    assert kinds == {(True, 1), (None, 1)} and first.id != second.id


def test_a_count_that_takes_long_is_kept_and_made_anew_before_anybody_waits(
    fleet: FakeFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = fleet.host()
    clock = [0.0]
    made: list[float] = []
    real = open_kind.counted

    def slow(session: object) -> object:
        clock[0] += 2.0
        made.append(clock[0])
        return real(session)  # type: ignore[arg-type]

    monkeypatch.setattr(open_kind, "counted", slow)
    counts = OpenCounts(fleet.server.database, lambda: clock[0])
    before = counts.now()
    host.check_in(FIXED)
    clock[0] += 10
    assert counts.now() is before and len(made) == 1
    counts.keep()
    assert len(made) == 1, "it lasts for 40 s, so half of that is left"
    clock[0] += 15
    counts.keep()
    assert len(made) == 2
    assert [k.state for k in counts.now().kinds] == [HoleState.LOST_AT_NEXT_START]
    clock[0] += 1000
    counts.keep()
    assert len(made) == 2, "nobody has asked for it"
    counts.now()
    assert len(made) == 3
