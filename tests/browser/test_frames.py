"""The pages inside a frame, as the hub shows the page of a Space."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import expect

from tests.support.loopback import serve
from tests.support.serving import run_service

pytestmark = pytest.mark.browser


class _Framing(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        shown = f'<!doctype html><iframe src="{self.server.shown}/" width="1000" height="800"></iframe>'.encode()
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(shown)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def framed(browser, store, tmp_path):
    """Return the page to try it as it is in a frame of another site, `localhost`, which is named, or `127.0.0.1`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Framing)
    port = server.server_port
    with serve(server), run_service(store, tmp_path, SENTIMENT_FRAME_ORIGINS=f"http://localhost:{port}") as service:
        server.shown = service.url
        page = browser.new_page()

        def open_at(host: str):
            page.goto(f"http://{host}:{port}/")
            return page.frame_locator("iframe")

        yield open_at
        page.close()


def test_the_page_works_in_a_frame_of_an_origin_that_is_named(framed):
    """A visitor of the hub asks about a text without leaving it."""
    frame = framed("localhost")

    frame.locator("#text").fill("one two three")
    frame.locator("#send").click()
    expect(frame.get_by_role("status")).to_contain_text("sure")


def test_the_page_does_not_show_in_a_frame_of_another_origin(framed):
    """Nobody else can put the page into theirs."""
    frame = framed("127.0.0.1")

    expect(frame.locator("body")).to_be_attached()
    expect(frame.locator("#send")).to_have_count(0)
