"""The pages as people and attackers meet them."""

from __future__ import annotations

import re
from typing import Any

import pytest

from suture.comply.catalogue import KevCatalogue
from suture.fleet import hole
from suture.fleet.role import Role
from suture.fleet.table import HoleRow
from tests.fleet.conftest import PASSWORD, FakeFleet, report

PAGES = ("/", "/holes", "/hosts", "/rollouts", "/deadlines", "/reports", "/audit", "/users")
HOSTILE = "<script>alert(1)</script>\"'{{7*7}}\x1b[31m\u202e%00"


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_for_who_is_logged_in(fleet: FakeFleet, page: str) -> None:
    found = fleet.client.get(page, follow_redirects=False)
    assert (found.status_code, found.headers["location"]) == (303, "/login")
    assert "<h1>" in fleet.person().get(page)


@pytest.mark.parametrize("page", ["/login", *PAGES, "/asset/style.css", "/nowhere"])
def test_every_answer_forbids_what_is_from_elsewhere(fleet: FakeFleet, page: str) -> None:
    headers = fleet.person().client.get(page).headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("page", PAGES)
def test_pages_take_nothing_from_outside_and_have_no_style_or_script_within(fleet: FakeFleet, page: str) -> None:
    fleet.host()
    text = fleet.person().get(page)
    assert not re.search(r'(?:src|href|action)="(?:https?:)?//', text)
    assert " style=" not in text and "<style" not in text and not re.search(r"\son\w+=", text)
    assert not re.search(r"<script(?! src=\"/asset/)", text)


def test_whatever_a_host_calls_itself_is_text_on_a_page(fleet: FakeFleet) -> None:
    host = fleet.host(HOSTILE, state=report(HOSTILE))
    person = fleet.person()
    for page in ("/hosts", f"/hosts/{host.id}", "/audit"):
        text = person.get(page)
        assert "<script>alert" not in text and "\x1b" not in text and "\u202e" not in text
        assert "&lt;script&gt;alert(1)" in text and "{{7*7}}" in text


def test_a_search_is_text_in_the_page_and_in_the_database(fleet: FakeFleet) -> None:
    fleet.host("100%_sure")
    person = fleet.person()
    assert "100%_sure" in person.get("/hosts?q=100%25_s")
    assert "100%_sure" not in person.get("/hosts?q=1%25s")
    text = person.get("/hosts?q=%22%3E%3Cscript%3E'--&sort=name;drop&page=99999999")
    assert '"><script>' not in text


def test_a_form_from_elsewhere_does_nothing(fleet: FakeFleet) -> None:
    host, person = fleet.host(), fleet.person()
    path, fields = f"/hosts/{host.id}", {"group": "stolen", "form_token": person.form_token()}
    assert person.client.post(path, data={"group": "stolen"}).status_code == 403
    assert person.client.post(path, data={**fields, "form_token": "0" * 64}).status_code == 403
    elsewhere = person.client.post(path, data=fields, headers={"sec-fetch-site": "cross-site"})
    assert elsewhere.status_code == 403
    assert "stolen" not in person.get("/hosts")
    assert person.client.post(path, data=fields).status_code == 200


def test_a_form_token_of_another_login_does_not_count(fleet: FakeFleet) -> None:
    host, ann, eve = fleet.host(), fleet.person("ann"), fleet.person("eve", Role.OPERATOR)
    stolen = {"group": "x", "form_token": eve.form_token()}
    assert ann.client.post(f"/hosts/{host.id}", data=stolen).status_code == 403


def test_nobody_does_more_than_his_role_may(fleet: FakeFleet) -> None:
    host, viewer = fleet.host(), fleet.person("vic", Role.VIEWER)
    asked: Any = {"cve": "CVE-2026-1", "reason": "r", "control": "c", "expires": "2099-01-01"}
    assert "needs operator" in viewer.post(f"/hosts/{host.id}", 403, group="x")
    viewer.post("/exceptions", 403, **asked)
    viewer.post(f"/hosts/{host.id}/withdraw", 403)
    viewer.get("/users", 403)
    viewer.post("/users", 403, name="mallory", password=PASSWORD, role="admin")
    fleet.person("op", Role.OPERATOR).post("/exceptions", **asked)
    viewer.post("/exceptions/1/approve", 403)
    assert "Approve 1" not in viewer.get("/deadlines") and "Approve 1" in fleet.person("app", Role.APPROVER).get(
        "/deadlines"
    )


def test_nobody_approves_his_own_exception(fleet: FakeFleet) -> None:
    fleet.host()
    one, two = fleet.person("one", Role.APPROVER), fleet.person("two", Role.APPROVER)
    one.post("/exceptions", cve="CVE-2026-1", reason="r", control="c", expires="2099-01-01")
    assert "himself" in one.post("/exceptions/1/approve", 422)
    assert "exempt" not in one.get("/deadlines")
    two.post("/exceptions/1/approve")
    assert "exempt" in two.get("/deadlines")


def test_a_person_of_a_group_sees_its_hosts_alone(fleet: FakeFleet) -> None:
    mine, other = fleet.host("mine", "web"), fleet.host("other", "db")
    person = fleet.person("wes", Role.OPERATOR, ["web"])
    assert "mine" in person.get("/hosts") and "other" not in person.get("/hosts")
    person.get(f"/hosts/{mine.id}")
    person.get(f"/hosts/{other.id}", 404)
    person.post(f"/hosts/{other.id}", 404, group="web")
    person.post(f"/hosts/{mine.id}", 404, group="db")
    person.get("/audit", 403)
    assert "1 open</small>" in person.get("/holes")


def test_wrong_passwords_lock_an_account_and_tell_nothing_of_names(fleet: FakeFleet) -> None:
    fleet.person("ann")
    told = {
        name: fleet.client.post("/login", data={"name": name, "password": "wrong"}).text.replace(name, "")
        for name in ("ann", "nobody")
    }
    assert told["ann"] == told["nobody"]
    found = [fleet.client.post("/login", data={"name": "ann", "password": "wrong"}).status_code for _ in range(5)]
    assert found[-1] == 429
    assert fleet.client.post("/login", data={"name": "ann", "password": PASSWORD}).status_code == 429


def test_a_disabled_account_is_logged_out(fleet: FakeFleet) -> None:
    ann, bob = fleet.person("ann"), fleet.person("bob", Role.VIEWER)
    ann.post("/users/bob", role="viewer", groups="", disabled="1")
    assert bob.client.get("/", follow_redirects=False).headers["location"] == "/login"


def test_the_cookie_is_for_this_server_alone(fleet: FakeFleet) -> None:
    fleet.person("ann")
    fleet.server.settings.secure = True
    header = fleet.client.post("/login", data={"name": "ann", "password": PASSWORD}, follow_redirects=False).headers
    words = header["set-cookie"].lower()
    assert all(word in words for word in ("httponly", "secure", "samesite=strict"))


def test_a_path_cannot_leave_the_assets(fleet: FakeFleet) -> None:
    for path in ("/asset/../app.py", "/asset/%2e%2e/app.py", "/asset/..%2fapp.py"):
        assert fleet.client.get(path).status_code == 404


def test_a_hole_shows_what_others_know_of_it(fleet: FakeFleet) -> None:
    fleet.host()
    with fleet.server.database.writing() as session:
        row = session.get_one(HoleRow, "CVE-2026-1")
        row.in_kev, row.epss, row.debian = True, 0.847, ["openssl: bookworm open (<b>)"]
        hole.fill_kev(session, KevCatalogue("2026.07.01", {}), fleet.server.now())
    person = fleet.person()
    text = person.get("/holes/CVE-2026-1")
    assert "84.7 %" in text and "bookworm open (&lt;b&gt;)" in text and "taken it back by" in text
    assert "CISA KEV, version 2026.07.01" in person.get("/")
