"""What is open, counted for deadlines: at once in a small fleet, kept for a while where it takes long."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import pytest
from sqlalchemy.orm import Session

from suture.comply.catalogue import KevCatalogue
from suture.fleet import hole, open_kind
from suture.fleet.open_kind import OpenCount, OpenCounts, counted
from suture.report.hole import HoleState
from tests.fleet.conftest import FIXED, OFFER, WAITS, FakeFleet, report


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

    def slow(session: object, before: OpenCount | None) -> object:
        clock[0] += 2.0
        made.append(clock[0])
        return real(session, before)  # type: ignore[arg-type]

    monkeypatch.setattr(open_kind, "counted", slow)
    counts = OpenCounts(fleet.server.database, lambda: clock[0])
    counts.keep()
    assert len(made) == 1, "the first is made before anybody asks"
    made.clear()
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


def test_only_holes_that_stand_otherwise_are_counted_anew(fleet: FakeFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    other = replace(OFFER, patch="fedcba9876543210", cves=("CVE-2026-2",))
    first, second = fleet.host("a", "web"), fleet.host("b", "web")
    second.check_in(report("b", waiting=[WAITS, replace(WAITS, offer=other)]))
    asked: list[object] = []
    real = open_kind._count

    def count(session: Session, cves: Collection[str] | None) -> object:
        asked.append(cves)
        return real(session, cves)

    monkeypatch.setattr(open_kind, "_count", count)

    def follow(before: OpenCount | None) -> OpenCount:
        with fleet.server.database.reading() as session:
            found = counted(session, before)
            assert sorted(found.by_hole.items()) == sorted(real(session, None).items())
        return found

    count_1 = follow(None)
    count_2 = follow(count_1)
    assert asked == [None] and count_2.by_hole == count_1.by_hole and count_2.said is count_1.said
    first.check_in(FIXED)
    count_3 = follow(count_2)
    assert asked[-1] == {"CVE-2026-1"} and count_3.said is not count_2.said
    person = fleet.person()
    person.post(f"/hosts/{second.id}", group="db", exposed="yes")
    count_4 = follow(count_3)
    assert asked[-1] == {"CVE-2026-1", "CVE-2026-2"}
    person.post(f"/hosts/{second.id}/withdraw")
    count_5 = follow(count_4)
    assert "CVE-2026-2" not in count_5.by_hole and asked[-1] is not None


def test_what_was_taken_in_about_holes_counts_at_once(fleet: FakeFleet) -> None:
    fleet.host()
    with fleet.server.database.reading() as session:
        before = counted(session)
    assert before.facts["CVE-2026-1"].in_kev is None
    with fleet.server.database.writing() as session:
        hole.fill_kev(session, KevCatalogue("1", {}), fleet.server.now())
    with fleet.server.database.reading() as session:
        assert counted(session, before).facts["CVE-2026-1"].in_kev is False
