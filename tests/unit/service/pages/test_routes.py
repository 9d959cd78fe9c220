"""How the pages and their files go out."""

import pytest
from starlette.testclient import TestClient

from service.edge.endpoints import readings
from service.pages.routes import read_frame_origins


@pytest.fixture
def client() -> TestClient:
    return TestClient(readings)


@pytest.mark.parametrize("path", ["/", "/dashboard", "/static/base.css", "/static/chart.js"])
def test_what_a_browser_gets_is_kept_to_itself(client, path):
    """Pages and files carry the headers that keep other sites out of them and scripts out of texts."""
    headers = client.get(path).headers

    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    ("origins", "framed_by"),
    [("", "'none'"), ("https://huggingface.co, https://*.hf.space", "https://huggingface.co https://*.hf.space")],
)
def test_pages_of_the_origins_that_are_set_may_frame_ours(client, monkeypatch, origins, framed_by):
    """Nobody may show the pages in a frame but the origins that the operator names."""
    monkeypatch.setenv("SENTIMENT_FRAME_ORIGINS", origins)
    read_frame_origins.cache_clear()

    policy = client.get("/").headers["content-security-policy"]
    read_frame_origins.cache_clear()
    assert policy.endswith(f"; frame-ancestors {framed_by}")


@pytest.mark.parametrize("path", ["/", "/static/chart.js"])
def test_a_file_that_is_known_is_not_sent_again(client, path):
    """A browser that has a file is told that it is still the same."""
    first = client.get(path)

    again = client.get(path, headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert "content-security-policy" in again.headers


def test_a_caller_who_cannot_unpack_gets_the_file_as_it_is(client):
    """Compression is for those who ask for it."""
    packed = client.get("/static/base.css", headers={"accept-encoding": "gzip"})
    plain = client.get("/static/base.css", headers={"accept-encoding": "identity"})

    assert (packed.headers["content-encoding"], plain.headers.get("content-encoding")) == ("gzip", None)
    assert packed.content == plain.content


@pytest.mark.parametrize("name", ["nothing.js", "../routes.py", "..%2Froutes.py", "/etc/passwd", "", "shared"])
def test_only_files_of_the_pages_are_sent(client, name):
    """No path leads out of the folder of the pages."""
    assert client.get(f"/static/{name}").status_code == 404
