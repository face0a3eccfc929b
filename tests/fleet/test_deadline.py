"""Deadlines that run, cut into pages: in the order in which they run out, whoever asks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from suture.fleet import deadline
from suture.fleet.listing import ListWish
from suture.fleet.open_kind import counted
from suture.fleet.role import Role, Visitor
from tests.fleet.conftest import OFFER, WAITS, FakeFleet, report

CVES = tuple(f"CVE-2026-{1000 + n}" for n in range(120))
ANN = Visitor("ann", Role.ADMIN)


def many(fleet: FakeFleet) -> None:
    waits = replace(WAITS, offer=replace(OFFER, cves=CVES))
    fleet.host("a", "web").check_in(report("a", waiting=[waits]))


def shown(page: str) -> Sequence[str]:
    return re.findall(r'<tr><th scope="row"><a href="/holes/(CVE-2026-1\d\d\d)">', page)


def test_the_pages_together_are_the_whole_list(fleet: FakeFleet) -> None:
    many(fleet)
    server, rule = fleet.server, fleet.server.rule()
    with server.database.reading() as session:
        count = counted(session)
        whole = deadline.running(session, ANN, rule, server.now(), count=count)
        assert [d.cve for d in whole] == list(CVES)
        assert deadline.running(session, ANN, rule, server.now(), count=count, most=8) == whole[:8]
        pages = [deadline.page(session, ANN, rule, server.now(), ListWish.of(page=n), count) for n in (1, 2, 3, 4)]
        assert [d.cve for p in pages for d in p.rows] == list(CVES) and {p.total for p in pages} == {len(CVES)}
        assert [len(p.rows) for p in pages] == [50, 50, 20, 0]
        one = deadline.page(session, ANN, rule, server.now(), ListWish.of("cve-2026-1077"), count)
        assert [d.cve for d in one.rows] == ["CVE-2026-1077"]
        other = Visitor("bob", Role.VIEWER, ("db",))
        assert deadline.page(session, other, rule, server.now(), ListWish.of(), count).total == 0


def test_the_page_has_links_to_the_others_and_looks_for_a_hole(fleet: FakeFleet) -> None:
    many(fleet)
    person = fleet.person()
    first = person.get("/deadlines")
    assert shown(first) == list(CVES[:50]) and "120 in all; page 1 of 3" in first
    (following,) = re.findall(r'rel="next" href="([^"]+)"', first)
    assert shown(person.get("/deadlines" + following.replace("&amp;", "&"))) == list(CVES[50:100])
    assert shown(person.get("/deadlines?q=1077")) == ["CVE-2026-1077"]


def test_what_is_excepted_comes_last_on_every_page(fleet: FakeFleet) -> None:
    many(fleet)
    ann, bob = fleet.person(), fleet.person("bob", Role.APPROVER)
    ann.post("/exceptions", cve=CVES[0], host="", reason="it is off", control="a firewall", expires="2099-01-01")
    bob.post("/exceptions/1/approve")
    assert shown(ann.get("/deadlines"))[0] == CVES[1]
    assert shown(ann.get("/deadlines?page=3"))[-1] == CVES[0]
