"""Attacks played against the server that no other test plays: floods, stolen logins, roles on every way in, and hostile
text in every field that a host can send."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Route
from starlette.testclient import TestClient

from suture.fleet import check_in, login, rollout
from suture.fleet.app import create_app
from suture.fleet.page import PAGES
from suture.fleet.page.frame import PageFrame
from suture.fleet.plan import USUAL
from suture.fleet.role import Role, Visitor
from suture.fleet.table import LoginRow
from suture.report.check_in import CHECK_IN_PATH, MOST_BYTES, SIGNATURE_HEADER, digest_of, state_document
from tests.fleet.conftest import (
    IN_FORCE,
    OFFER,
    OPEN,
    PASSWORD,
    WAITS,
    FakeFleet,
    FakeHost,
    Person,
    make_server,
    report,
)

HOSTILE = "<script>alert(1)</script>\"' onload=x\x1b]0;x\x07\u202e\n{{7*7}}%00'; DROP TABLE host; --"


@pytest.fixture
def one(tmp_path: Path) -> Iterator[FakeFleet]:
    """A server on SQLite: what is attacked here is above the database."""
    server = make_server(f"sqlite:///{tmp_path / 'fleet.sqlite'}")
    with TestClient(create_app(server)) as client:
        yield FakeFleet(server, client)
    server.database.engine.dispose()


def _strings(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where texts stand in a document."""
    rows = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in rows:
        if isinstance(inner, str):
            yield (*place, key)
        yield from _strings(inner, (*place, key))


def _saying(host: FakeHost, state: Any) -> bytes:
    """A check-in with this state."""
    said = json.loads(host.message(state=True)) | {"state": state, "digest": digest_of(state, None)}
    return json.dumps(said, separators=(",", ":")).encode()


STATE = state_document(report(in_force=[IN_FORCE], waiting=[WAITS]))


def test_hostile_text_in_any_field_that_a_host_sends_is_refused_or_is_text(one: FakeFleet) -> None:
    host, ann = one.host(), one.person()
    assert host.enrol("", name=HOSTILE).status_code in (200, 409)
    assert FakeHost(one, HOSTILE).enrol("").status_code == 200
    taken = []
    for place in _strings(STATE):
        state = json.loads(json.dumps(STATE))
        inner = state
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = HOSTILE
        found = host.send(_saying(host, state))
        assert found.status_code in (200, 422), found.text
        if found.status_code == 200:
            taken.append(place)
            _see_all(ann, host.id)
    assert {("host", "name"), ("binaries", 0, "path"), ("waiting", 0, "why", "text")} <= set(taken)


def _see_all(ann: Person, host: str) -> None:
    for way in ("/", "/hosts", f"/hosts/{host}", "/rollouts", "/audit", "/holes/CVE-2026-1"):
        text = ann.client.get(way).text
        assert "<main" in text
        assert "<script>alert" not in text and "\x1b" not in text and "\u202e" not in text and "49%00" not in text


def test_a_flood_of_large_states_is_held_back_and_nothing_of_it_is_read_unsigned(
    one: FakeFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, other = one.host("a"), one.host("b")
    state = json.loads(json.dumps(STATE))
    state["feed_url"] = "x" * (MOST_BYTES - 16000)
    codes = []
    for _ in range(12):
        data = _saying(host, state)
        codes.append(host.send(data).status_code)
    assert codes[:8].count(429) == 0 and set(codes[8:]) == {429}
    assert other.check_in(report("b", in_force=[IN_FORCE]))["wants_state"] is False
    read: list[int] = []
    real = check_in._parsed

    def parsed(data: bytes) -> object:
        read.append(len(data))
        return real(data)

    monkeypatch.setattr(check_in, "_parsed", parsed)
    data = _saying(other, state)
    assert one.post(CHECK_IN_PATH, data, b"0" * 64).status_code == 401
    assert one.post(CHECK_IN_PATH, data[1:], b"0" * 64).status_code == 422
    assert read == []


_WAYS = ("/login", "/logout", "/agent/v1/enrol", "/agent/v1/rotate", "/agent/v1/attempts", "/api/v1/rollouts", "/users")


@pytest.mark.parametrize("path", _WAYS)
def test_a_body_of_ten_megabytes_is_refused_on_every_way_in(one: FakeFleet, path: str) -> None:
    ann = one.person()
    form = {SIGNATURE_HEADER: "00", "content-type": "application/x-www-form-urlencoded"}
    assert ann.client.post(path, content=b"a" * (10 << 20), headers=form).status_code == 413

    def parts() -> Iterator[bytes]:
        for _ in range(160):
            yield b"a" * (64 << 10)

    assert ann.client.post(path, content=parts(), headers=form).status_code in (401, 413)


def test_a_stolen_login_ends_with_the_login_and_with_the_account(one: FakeFleet) -> None:
    ann, bob = one.person("ann"), one.person("bob", Role.VIEWER)
    stolen = bob.client.cookies[login.COOKIE]
    thief = TestClient(one.client.app, cookies={login.COOKIE: stolen}, follow_redirects=False)
    assert thief.get("/").status_code == 200
    bob.post("/logout")
    assert thief.get("/").status_code == 303
    planted = {"cookie": f"{login.COOKIE}={stolen}"}
    again = TestClient(one.client.app, follow_redirects=False)
    again.post("/login", data={"name": "bob", "password": PASSWORD}, headers=planted)
    assert again.cookies[login.COOKIE] != stolen and again.get("/").status_code == 200
    ann.post("/users/bob", role="operator")
    assert again.get("/").status_code == 303, "another role ends the logins"


@pytest.mark.parametrize(("used", "created"), [(31, 40), (1, 13 * 60)])
def test_a_stolen_login_ends_by_itself(one: FakeFleet, used: int, created: int) -> None:
    ann = one.person("ann")
    with one.server.database.writing() as session:
        (row,) = session.query(LoginRow)
        row.used = datetime.now(UTC) - timedelta(minutes=used)
        row.created = datetime.now(UTC) - timedelta(minutes=created)
    ann.client.follow_redirects = False
    assert ann.client.get("/").status_code == 303


def _forms(one: FakeFleet) -> Iterator[str]:
    """Every way in that takes a form of who has logged in."""
    for pages in PAGES:
        for route in pages(PageFrame(one.server)).routes:
            if isinstance(route, Route) and route.methods == {"POST"} and route.path not in ("/login", "/logout"):
                yield route.path.replace("{number}", "1").replace("{name}", "ann")


def test_a_viewer_changes_nothing_on_any_way_in(one: FakeFleet) -> None:
    host = one.host()
    with one.server.database.writing() as session:
        rollout.begin(session, Visitor("olga", Role.OPERATOR), OFFER.patch, USUAL, "x", datetime.now(UTC))
    vic = one.person("vic", Role.VIEWER)
    forms = list(_forms(one))
    assert {"/rollouts/1/approve", "/rollouts/1/stop", "/exceptions/1/approve", "/users", "/tokens"} <= set(forms)
    for path in (*forms, f"/hosts/{host.id}/withdraw"):
        vic.post(path, 403, answer="let in", why="x")
    assert host.check_in(OPEN)["chosen"] == []
    with one.server.database.reading() as session:
        assert rollout.latest(session, Visitor("olga", Role.OPERATOR))[0].status.value == "waits for approval"
