"""The pages in Debian's chromium: what a person does from login to a stopped rollout, and axe on every page, light and
dark, wide and narrow."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page
from starlette.testclient import TestClient

from demo_files.photographer import browser, log_in
from suture.fleet import account, exemption, rollout
from suture.fleet.app import create_app
from suture.fleet.plan import USUAL
from suture.fleet.role import Role, Visitor
from suture.report.reason import Cause, Reason
from tests.fleet.conftest import FIXED, IN_FORCE, OFFER, PASSWORD, FakeFleet, FakeHost, make_server, report

pytestmark = pytest.mark.archive
OLGA = Visitor("olga", Role.OPERATOR)


@contextmanager
def serving(fleet: FakeFleet) -> Iterator[str]:
    """The server on a port; its address."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    config = uvicorn.Config(create_app(fleet.server), port=port, lifespan="off", log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def full(tmp_path: Path) -> Iterator[tuple[FakeFleet, str]]:
    """A fleet with something of everything, and its address."""
    server = make_server(f"sqlite:///{tmp_path / 'fleet.sqlite'}")
    with TestClient(create_app(server)) as client:
        fleet = FakeFleet(server, client)
        first = fleet.host("web1", "web")
        fleet.host("web2", "web").check_in(FIXED)
        fleet.host("web2", "db").check_in(
            report(in_force=[IN_FORCE], problems=[Cause(Reason.AGENT_DOWN, "it has not looked", "look at it")])
        )
        assert FakeHost(fleet, "new").enrol("").status_code == 200
        with server.database.writing() as session:
            now = datetime.now(UTC)
            for name, role in (("ann", Role.ADMIN), ("olga", Role.OPERATOR), ("arne", Role.APPROVER)):
                account.add(session, "test", name, PASSWORD, role, [])
            ends = now + timedelta(days=9)
            exemption.ask(session, OLGA, "CVE-2026-1", "", "no patch", "a proxy in front", ends, now)
            rollout.begin(session, OLGA, OFFER.patch, USUAL, "openssl", now)
        with serving(fleet) as url:
            pages.append(f"/hosts/{first.id}")
            yield fleet, url
            pages.pop()


pages = [
    "/", "/holes", "/holes?only=kev", "/holes/CVE-2026-1", "/hosts", "/hosts?only=away", "/rollouts", "/rollouts/1",
    "/deadlines", "/reports", "/reports/show?rule=thirty-days&begin=2026-01-01&end=2026-12-31&kind=page", "/audit",
    "/users", "/no-such-page",
]  # fmt: skip


@pytest.mark.parametrize(("dark", "width"), [(False, 1280), (True, 1280), (False, 400)])
def test_axe_finds_nothing_on_any_page(full: tuple[FakeFleet, str], dark: bool, width: int) -> None:
    _, url = full
    axe, wrong = Axe(), []
    with browser(width, dark=dark) as context:
        page = context.new_page()
        page.goto(f"{url}/login")
        wrong += _violations(axe, page, "/login")
        log_in(page, url, "ann", PASSWORD)
        for place in pages:
            page.goto(url + place)
            wrong += _violations(axe, page, place)
    assert wrong == []


def test_axe_finds_what_is_wrong(full: tuple[FakeFleet, str]) -> None:
    _, url = full
    with browser() as context:
        page = context.new_page()
        page.goto(f"{url}/login")
        page.evaluate("document.querySelector('main').insertAdjacentHTML('beforeend', '<img src=x><input>')")
        assert {w.split()[1] for w in _violations(Axe(), page, "/login")} >= {"image-alt", "label"}


def _violations(axe: Axe, page: Page, place: str) -> list[str]:
    found = axe.run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [f"{place} {v['id']} {[n['html'][:120] for n in v['nodes']][:3]}" for v in found]


def test_a_person_goes_from_login_to_a_stopped_rollout(full: tuple[FakeFleet, str]) -> None:
    _, url = full
    with browser() as context:
        page = context.new_page()
        page.goto(f"{url}/rollouts/1")
        assert page.url.endswith("/login")
        log_in(page, url, "arne", PASSWORD)
        page.click("nav[aria-label=Pages] >> text=Rollouts")
        page.click("text=openssl")
        page.click("button >> text=Approve")
        page.wait_for_selector("text=approved")
        page.fill("[name=why]", "it smokes")
        page.click("button >> text=Stop and take back")
        page.wait_for_selector("text=taken back where it was let in")
        assert "stopped" in page.inner_text("main")
        page.click("text=Log out")
        page.wait_for_selector("[name=password]")


def test_every_page_can_be_reached_and_used_with_the_keyboard(full: tuple[FakeFleet, str]) -> None:
    _, url = full
    with browser() as context:
        page = context.new_page()
        page.goto(f"{url}/login")
        page.focus("[name=name]")
        page.keyboard.type("ann")
        page.keyboard.press("Tab")
        page.keyboard.type(PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_selector("nav[aria-label=Pages]")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        seen = set()
        for _ in range(40):
            page.keyboard.press("Tab")
            seen.add(page.evaluate("document.activeElement.getAttribute('href') || ''"))
        assert {"/holes", "/hosts", "/rollouts", "/deadlines", "/reports", "/audit", "/users"} <= seen
