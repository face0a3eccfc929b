"""Attempts that hosts have told of, on the page of the hole that they were for."""

from __future__ import annotations

from suture.fleet import event
from suture.fleet.event import NoticeKind
from suture.fleet.role import Role, Visitor
from tests.fleet.conftest import FakeFleet

ANN = Visitor("ann", Role.ADMIN)


def tell(fleet: FakeFleet, cves: str, host: str, tries: int) -> None:
    subject = f"{cves}: {tries} attempts on {host}"
    with fleet.server.database.writing() as session:
        event.note(session, NoticeKind.ATTEMPT_SEEN, subject, "libx, f, as user www", f"{tries}", fleet.server.now())


def seen(fleet: FakeFleet, visitor: Visitor, cve: str) -> list[tuple[str, str]]:
    with fleet.server.database.reading() as session:
        return [(a.host, a.count) for a in event.attempts(session, visitor, cve)]


def test_the_attempts_of_a_hole_are_those_that_name_it_the_newest_first(fleet: FakeFleet) -> None:
    tell(fleet, "CVE-2026-1", "web1", 2)
    tell(fleet, "CVE-2026-7, CVE-2026-1", "web2", 3)
    tell(fleet, "CVE-2026-10", "web3", 4)
    with fleet.server.database.writing() as session:
        event.note(session, NoticeKind.DEADLINE_NEAR, "CVE-2026-1: the deadline is near", "", "x", fleet.server.now())
    assert seen(fleet, ANN, "CVE-2026-1") == [("web2", "3"), ("web1", "2")]
    assert seen(fleet, ANN, "CVE-2026-%") == []


def test_a_person_sees_those_on_his_hosts(fleet: FakeFleet) -> None:
    for name, group in (("a", "web"), ("b", "db"), ("twin", "web"), ("twin", "db")):
        fleet.host(name, group)
    for number, name in enumerate(("a", "b", "twin", "nobody"), 2):
        tell(fleet, "CVE-2026-1", name, number)
    assert seen(fleet, Visitor("bob", Role.VIEWER, ("web",)), "CVE-2026-1") == [("a", "2")]


def test_the_page_of_the_hole_shows_them_and_their_names_are_harmless(fleet: FakeFleet) -> None:
    fleet.host()
    person = fleet.person()
    assert "Attempts" not in person.get("/holes/CVE-2026-1")
    tell(fleet, "CVE-2026-1", "<b>web1", 33)
    page = person.get("/holes/CVE-2026-1")
    assert "Attempts" in page and "&lt;b&gt;web1" in page and "<b>web1" not in page and ">33<" in page
