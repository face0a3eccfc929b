"""Pictures of the fleet's pages, taken by Debian's chromium."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType

from playwright.sync_api import BrowserContext, Page, sync_playwright

from suture.error import ExitCode, SutureError

CHROMIUM = Path("/usr/bin/chromium")
_SECONDS = 60


class NoBrowser(SutureError):
    """There is no chromium."""

    exit_code = ExitCode.NOT_FOUND


@contextmanager
def browser(width: int = 1280, height: int = 900, *, dark: bool = False) -> Iterator[BrowserContext]:
    """A browser without a window, with a profile of its own. Raises `NoBrowser`."""
    if not CHROMIUM.exists():
        raise NoBrowser(f"{CHROMIUM} is not there", "apt-get install chromium")
    with (
        sync_playwright() as driver,
        driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"]) as found,
        found.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            ignore_https_errors=True,
        ) as context,
    ):
        context.set_default_timeout(_SECONDS * 1000)
        yield context


def log_in(page: Page, url: str, name: str, password: str) -> None:
    """As a person does it."""
    page.goto(f"{url}/login")
    page.fill("[name=name]", name)
    page.fill("[name=password]", password)
    page.click("main button")
    page.wait_for_selector("nav[aria-label=Pages]")


class Photographer:
    """A person with a browser who has logged in, while entered. Pictures go into `folder`."""

    def __init__(self, url: str, name: str, password: str, folder: Path) -> None:
        self._url, self._name, self._password, self._folder = url, name, password, folder
        self._page: Page | None = None
        self._ended = ExitStack()
        self.taken: list[Path] = []

    def __enter__(self) -> Photographer:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._page = self._ended.enter_context(browser()).new_page()
        log_in(self._page, self._url, self._name, self._password)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.close()

    def take(self, place: str, name: str, *, dark: bool = False) -> str:
        """A picture of a whole page, as a browser shows it that asks for dark colours with `dark`; its text."""
        assert self._page is not None
        self._page.emulate_media(color_scheme="dark" if dark else "light")
        self._page.goto(self._url + place)
        path = self._folder / f"{len(self.taken) + 1:02}-{name}.png"
        self._page.screenshot(path=path, full_page=True)
        self.taken.append(path)
        return self._page.inner_text("main")
