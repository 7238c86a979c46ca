"""Real Chromium for the panel's tests. A page that complains, or that talks to another host, fails its test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests.rtvc.control.panel.steps import until
from tests.rtvc.control.panel.twin import Twin

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page, Request

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
)  # fmt: skip
PICTURES = Path(__file__).parents[4] / "out" / "panel"


class Pages:
    """Opens pages and watches them."""

    def __init__(self, browser: Browser) -> None:
        self.complaints: list[str] = []
        self.foreign: list[str] = []
        self._browser = browser
        self._host = ""
        self._contexts: list[BrowserContext] = []

    def open(self, url: str, width: int = 1440, height: int = 900, **context: Any) -> Page:
        """Open url in a browser of its own (own storage) and wait until the panel is connected."""
        page = self.open_unconnected(url, width, height, **context)
        page.wait_for_selector("#groups .row")
        return page

    def open_unconnected(self, url: str, width: int = 1440, height: int = 900, **context: Any) -> Page:
        """Open url without waiting for more than the page itself."""
        self._host = urlsplit(url).netloc
        context = {"locale": "en-US", "color_scheme": "dark", "reduced_motion": "reduce"} | context
        self._contexts.append(self._browser.new_context(viewport={"width": width, "height": height}, **context))
        page = self._contexts[-1].new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: self.complaints.append(message.text) if message.type != "log" else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", self._requested)
        page.on("websocket", lambda socket: self._went_to(socket.url))
        page.goto(url)
        return page

    def _requested(self, request: Request) -> None:
        self._went_to(request.url)

    def _went_to(self, url: str) -> None:
        if urlsplit(url).netloc != self._host:
            self.foreign.append(url)

    def check(self) -> None:
        """Fail if a page complained or asked another host since the last check."""
        complaints, foreign = list(self.complaints), list(self.foreign)
        self.complaints.clear()
        self.foreign.clear()
        assert complaints == []
        assert foreign == []

    def close(self) -> None:
        """Close every page that was opened."""
        while self._contexts:
            self._contexts.pop().close()


@dataclass
class Panel:
    """A page of the panel that is connected to a twin server."""

    page: Page
    twin: Twin
    pages: Pages


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return Debian's Chromium, or any other of this machine."""
    chromium = next(filter(None, map(shutil.which, NAMES)), None)
    if chromium is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        pytest.skip("no Playwright in this environment (pip install playwright)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def _shared(browser: Browser) -> Iterator[Panel]:
    twin = Twin().start()
    pages = Pages(browser)
    yield Panel(pages.open(twin.url), twin, pages)
    pages.close()
    twin.close()


@pytest.fixture
def panel(_shared: Panel) -> Iterator[Panel]:
    """Return a page and its twin, as at the beginning; the page is a module's, as loading one takes a second."""
    page, twin = _shared.page, _shared.twin
    twin.reset()
    until(lambda: twin.requests("ListPresets"), page)  # the last thing that a reset makes the page do
    page.evaluate("new Promise(requestAnimationFrame)")
    twin.seen.clear()
    yield _shared
    _shared.pages.check()


@pytest.fixture
def pages(browser: Browser) -> Iterator[Pages]:
    """Return a Pages, for pages of a test's own."""
    pages = Pages(browser)
    yield pages
    pages.close()
    pages.check()


@pytest.fixture
def twin() -> Iterator[Twin]:
    """Return a twin server of a test's own."""
    twin = Twin().start()
    yield twin
    twin.close()


@pytest.fixture
def pictures() -> Path:
    """Return the folder for screenshots."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    return PICTURES
