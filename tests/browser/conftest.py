"""A real browser and a real service for the tests of the pages."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.support.serving import Service, make_store, run_service

WIDE, NARROW = (1280, 900), (360, 740)


@dataclass
class Visit:
    """A page that is open, and what went wrong or out in it."""

    page: Page
    service: Service
    complaints: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def open(self, path: str) -> Page:
        """Open a page as `make serve` shows it, with the token where that opens something."""
        token = f"#token={self.service.token}" if path == "/dashboard" and self.service.token else ""
        self.page.goto(f"{self.service.url}{path}{token}")
        return self.page


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, or a skip that says where it was looked for.

    Not of the whole session: while Playwright runs, no other test can have a loop of its own.
    """
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("there is no `chromium` on PATH; on Debian `apt-get install chromium` has it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="session")
def service(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service without keys, on a model whose answer depends on the number of words."""
    with run_service(store, tmp_path_factory.mktemp("pages"), SENTIMENT_LOG_TEXT="full") as service:
        yield service


@contextmanager
def visit(
    browser: Browser, service: Service, *, size: tuple[int, int] = WIDE, scheme: str = "light"
) -> Iterator[Visit]:
    """Yield a new visitor, who must not be complained of: no error, no breach of the policy, no other host."""
    width, height = size
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, locale="en-GB")
    context.set_default_timeout(10_000)
    visitor = Visit(context.new_page(), service)
    visitor.page.on("pageerror", lambda error: visitor.complaints.append(str(error)))
    visitor.page.on("dialog", lambda dialog: (visitor.complaints.append(dialog.message), dialog.dismiss()))
    visitor.page.on("console", lambda said: visitor.complaints.append(said.text) if said.type == "error" else None)
    visitor.page.on("request", lambda request: visitor.hosts.add(request.url.split("/")[2]))
    try:
        yield visitor
        assert visitor.hosts <= {service.url.split("/")[2]}
    finally:
        context.close()


@pytest.fixture
def visitor(browser: Browser, service: Service) -> Iterator[Visit]:
    """Somebody at a wide screen, whose pages have no errors."""
    with visit(browser, service) as visitor:
        yield visitor
        assert visitor.complaints == []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything here, so that `-m 'not browser'` leaves it out."""
    for item in items:
        if Path(item.path).parent == Path(__file__).parent:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.slow)
