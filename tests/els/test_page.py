"""The desk's pages: who may open them, and in Debian's chromium what a person does there."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from starlette.testclient import TestClient

from demo_files.photographer import browser
from suture.els.desk import ReviewDesk
from suture.els.page import create_app
from suture.els.patching import difference
from tests.els.desk_made import desk
from tests.els.test_desk import FITS

KEY = "a-key"
PAGES = ["/", "/packages/x", "/packages/x/fixes/CVE-2026-1111", "/packages/x/fixes/CVE-2026-2222", "/packages/none"]
MINE = difference("a.c", FITS, FITS.replace("return (n + 1);", "return n < 9 ? n + 2 : 0;"))


def client(found: ReviewDesk, host: str = "127.0.0.1") -> TestClient:
    return TestClient(create_app(found, KEY), base_url=f"http://{host}", follow_redirects=True)


def test_only_who_has_the_key_sees_a_page_or_acts(tmp_path: Path) -> None:
    found = desk(tmp_path)
    place = f"/packages/x/builds/{found.waiting('x')[0].made}"
    stranger = client(found)
    for path in (*PAGES, "/?key=other", "/?key="):
        assert stranger.get(path).status_code == 403
    assert stranger.post(place).status_code == 403 and found.waiting("x")
    ann = client(found)
    assert ann.get(f"/?key={KEY}").status_code == 200
    assert ann.post(place, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403 and found.waiting("x")
    assert client(found, "evil.example").get(f"/?key={KEY}").status_code == 400
    assert ann.post(place).status_code == 200 and not found.waiting("x")
    assert ann.post(place).status_code == 404


def test_text_from_elsewhere_is_shown_and_does_nothing(tmp_path: Path) -> None:
    found = desk(tmp_path)
    ann = client(found)
    ann.get(f"/?key={KEY}")
    place = "/packages/x/fixes/CVE-2026-2222"
    said = ann.post(place, data={"patch": "</textarea><script>x()</script>\x1b[2J"})
    assert said.status_code == 409 and "<script>" not in said.text and "\x1b" not in said.text
    assert "default-src 'none'" in said.headers["content-security-policy"]
    done = ann.post(place, data={"patch": MINE.replace("\n", "\r\n")})
    assert done.status_code == 200 and "it applies, and changes a.c" in done.text
    assert (tmp_path / "drafts/x/CVE-2026-2222.patch").read_text() == MINE


def test_bytes_that_are_no_utf8_are_left_to_an_editor(tmp_path: Path) -> None:
    found = desk(tmp_path)
    path = found.path("x", "CVE-2026-2222")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"--- a/a.c\n+++ b/a.c\n@@ -1 +1 @@\n-\xe9\n+\xe8\n")
    ann = client(found)
    ann.get(f"/?key={KEY}")
    page = ann.get("/packages/x/fixes/CVE-2026-2222")
    assert page.status_code == 200 and "<textarea" not in page.text and "Edit the file" in page.text


@contextmanager
def serving(found: ReviewDesk) -> Iterator[str]:
    """The address of the pages on a port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(create_app(found, KEY), log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started:
            time.sleep(0.02)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@pytest.mark.archive
def test_a_person_finishes_a_patch_and_takes_a_package_in_a_browser(tmp_path: Path) -> None:
    found = desk(tmp_path)
    with serving(found) as url, browser() as context:
        page = context.new_page()
        page.goto(f"{url}/?key={KEY}")
        assert "key=" not in page.url
        page.click("tbody a")
        page.click("text=CVE-2026-2222")
        assert page.locator("text=that does not fit").count() == 1
        page.click("button >> text=Keep it")
        page.wait_for_selector("[role=alert] >> text=does not apply")
        page.fill("textarea", MINE)
        page.click("button >> text=Keep it")
        page.wait_for_selector("[role=status] >> text=it applies, and changes a.c")
        assert (tmp_path / "drafts/x/CVE-2026-2222.patch").read_text() == MINE
        page.click("main p a")
        page.click("button >> text=Take it as it is")
        page.wait_for_function("!document.querySelector('main button')")
    assert not found.waiting("x")


@pytest.mark.archive
@pytest.mark.parametrize(("dark", "width"), [(False, 1280), (True, 400)])
def test_axe_finds_nothing(tmp_path: Path, dark: bool, width: int) -> None:
    wrong = []
    with serving(desk(tmp_path)) as url, browser(width, dark=dark) as context:
        page = context.new_page()
        page.goto(f"{url}/?key={KEY}")
        for place in PAGES:
            page.goto(url + place)
            found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
            wrong += [f"{place} {v['id']} {[n['html'][:120] for n in v['nodes']][:3]}" for v in found]
    assert wrong == []
