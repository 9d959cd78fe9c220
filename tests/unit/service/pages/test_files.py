"""How the pages and their files go out."""

import pytest
from starlette.exceptions import HTTPException
from starlette.testclient import TestClient

from service.pages.files import Files, list_names


@pytest.fixture
def client() -> TestClient:
    return TestClient(Files())


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
    [((), "'none'"), (("https://huggingface.co", "https://*.hf.space"), "https://huggingface.co https://*.hf.space")],
)
def test_pages_of_the_origins_that_are_set_may_frame_ours(origins, framed_by):
    """Nobody may show the pages in a frame but the origins that the operator names."""
    policy = TestClient(Files(origins)).get("/").headers["content-security-policy"]

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


@pytest.mark.parametrize("name", sorted(list_names()))
def test_a_file_is_what_its_name_says(client, name):
    """The type of each file is the same on every machine, and a HEAD has the headers of a GET and no body."""
    kinds = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
    plain = {"accept-encoding": "identity"}
    whole, head = client.get(f"/static/{name}", headers=plain), client.head(f"/static/{name}", headers=plain)

    assert whole.headers["content-type"].split(";")[0] == kinds[name.rpartition(".")[2]]
    assert (head.status_code, head.content, dict(head.headers)) == (200, b"", dict(whole.headers))


def test_a_file_is_asked_about_each_time(client):
    """A browser may keep a file, and asks whether it changed; caches keep packed and plain ones apart."""
    headers = client.get("/static/chart.js").headers

    assert (headers["cache-control"], headers["vary"].lower()) == ("no-cache", "accept-encoding")


@pytest.mark.parametrize("name", ["nothing.js", "../files.py", "..%2Ffiles.py", "/etc/passwd", "", "shared"])
def test_only_files_of_the_pages_are_sent(client, name):
    """No path leads out of the folder of the pages."""
    with pytest.raises(HTTPException) as refused:
        client.get(f"/static/{name}")

    assert refused.value.status_code == 404
