"""nginx of this machine, with the configuration of the stack, in front of the real service."""

import os
import shutil
import socket
import subprocess
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from deploy.compose.project import FILE
from deploy.compose.secrets import TLS, make_missing
from release.smoke_test import find_free_port
from tests.support.serving import WORD, Service, make_store, run_service, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.alone]

TEMPLATE = FILE.parent / "nginx" / "nginx.conf.template"
MAX_BODY_BYTES, REQUESTS_PER_SECOND = 20_000, 5
SECURITY = ("content-security-policy", "x-content-type-options", "referrer-policy", "strict-transport-security")


@dataclass(frozen=True)
class Front:
    """Where nginx listens, and the service behind it."""

    url: str
    plain: str
    certificate: Path
    log: Path
    service: Service

    def ask(self, method: str, path: str, **options) -> httpx.Response:
        with httpx.Client(base_url=self.url, verify=str(self.certificate), timeout=30, trust_env=False) as client:
            return client.request(method, path, **options)


def write_configuration(folder: Path, service: int, ports: dict[str, int]) -> Path:
    """Write the configuration as the container's start.sh does, with ports and files of this machine."""
    text = TEMPLATE.read_text(encoding="utf-8")
    values = {
        **{"NAME_SERVER": "127.0.0.1", "HTTPS_PORT": str(ports["8443"])},
        **{"MAX_BODY_BYTES": str(MAX_BODY_BYTES), "REQUESTS_PER_SECOND": str(REQUESTS_PER_SECOND)},
    }
    for name, value in values.items():
        text = text.replace(f"${{{name}}}", value)
    for listed, port in ports.items():
        text = text.replace(f"listen {listed}", f"listen 127.0.0.1:{port}")
    text = text.replace("listen 127.0.0.1:8081", f"listen 127.0.0.1:{find_free_port()}")
    text = text.replace("http://service:3000", f"http://127.0.0.1:{service}")
    text = text.replace("/tmp/", f"{folder}/").replace("/run/secrets/", f"{folder}/secrets/")
    text = text.replace("/dev/stdout", f"{folder}/access.log").replace("/dev/stderr", f"{folder}/error.log")
    file = folder / "nginx.conf"
    file.write_text(text, encoding="utf-8")
    return file


def listens(port: int) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def front(tmp_path_factory) -> Iterator[Front]:
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        pytest.skip("nginx is neither on PATH nor in /usr/sbin; Debian's package nginx-light has it")
    folder = tmp_path_factory.mktemp("front")
    (folder / "service").mkdir()
    if os.geteuid() == 0:
        for one in (folder, *folder.parents[:2]):
            one.chmod(0o755)  # nginx's workers are somebody else where its master is root
    make_missing(folder / "secrets", with_tls=True, has_database=False)
    ports = {"8080": find_free_port(), "8443": find_free_port()}
    with run_service(make_store(folder / "store"), folder / "service") as service:
        configuration = write_configuration(folder, service.port, ports)
        start = [program, "-c", str(configuration), "-e", f"{folder}/error.log"]
        tried = subprocess.run([*start, "-t"], capture_output=True, text=True, check=False)
        assert tried.returncode == 0, tried.stderr
        process = subprocess.Popen([*start, "-g", "daemon off;"])
        plain, url = (f"{scheme}://localhost:{ports[port]}" for scheme, port in (("http", "8080"), ("https", "8443")))
        front = Front(url, plain, folder / "secrets" / TLS[0], folder / "access.log", service)
        try:
            wait_until(lambda: listens(ports["8443"]))
            yield front
        finally:
            process.terminate()
            process.wait(timeout=30)


def test_an_answer_comes_through_with_the_name_of_the_request(front):
    """Named by the caller where its name is one that the service takes, else by nginx."""
    answer = front.ask("POST", "/predict", json={"text": WORD}, headers={"x-request-id": "order-7"})
    assert (answer.status_code, answer.json()["request_id"], answer.headers["x-request-id"]) == (
        200,
        "order-7",
        "order-7",
    )
    unfit = front.ask("POST", "/predict", json={"text": WORD}, headers={"x-request-id": "<b>"})
    assert len(unfit.headers.get_list("x-request-id")) == 1
    assert unfit.headers["x-request-id"] == unfit.json()["request_id"] != "<b>"


def test_the_landing_page_keeps_its_own_headers_and_gains_one(front):
    """Each security header is there once; only Strict-Transport-Security is nginx's."""
    page = front.ask("GET", "/")
    straight = front.service.get("/")
    assert page.status_code == 200
    assert page.content == straight.content
    assert {name: page.headers.get_list(name) for name in SECURITY[:-1]} == {
        name: [straight.headers[name]] for name in SECURITY[:-1]
    }
    assert page.headers.get_list(SECURITY[-1]) == ["max-age=31536000"]
    assert page.headers["server"] == "nginx"
    assert front.ask("GET", "/static/base.css").status_code == 200


def test_http_is_sent_to_https(front):
    """With a status that keeps the method; so is http that came to the port of https."""
    for url in (front.plain, front.url.replace("https", "http")):
        answer = httpx.post(f"{url}/predict?x=1", json={"text": WORD}, trust_env=False)
        assert (answer.status_code, answer.headers["location"]) == (308, f"{front.url}/predict?x=1")


@pytest.mark.parametrize("path", ["/metrics", "/reload", "/dashboard", "/dashboard/predictions", "/static", "/../x"])
def test_what_is_for_the_operator_is_not_there(front, path):
    """Neither by GET nor by POST, and in the shape of the service's errors."""
    for method in ("GET", "POST"):
        answer = front.ask(method, path)
        assert (answer.status_code, answer.json()["code"], set(answer.json())) == (
            *(404, "not_found"),
            {"code", "message", "limit"},
        )
        assert answer.headers["x-request-id"]


def test_a_path_that_is_written_otherwise_opens_no_door(front):
    """nginx decides on the decoded, merged path, and passes on what it was asked for."""
    for path in (
        *("/%6detrics", "/static/../metrics", "/static/%2e%2e/reload", "/predict/../dashboard", "/Metrics"),
        *(
            "/reload%0a",
            "/batch_predict%0a",
            "/predict%0a",
            "/static/base.css%0a",
            "/%70redict",
            "//predict",
            "/predict/",
        ),
    ):
        with httpx.Client(verify=str(front.certificate), trust_env=False) as client:
            raw = httpx.Request("POST", httpx.URL(front.url).copy_with(raw_path=path.encode()))
            answer = client.send(raw)
        assert answer.status_code == 404, path


def test_a_body_over_the_limit_is_refused_as_the_service_does(front):
    """By nginx, before the service sees a byte of it."""
    answer = front.ask("POST", "/predict", content=b"x" * (MAX_BODY_BYTES + 1), headers={"x-request-id": "big"})
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/json"
    assert (answer.json()["code"], answer.json()["limit"]) == ("body_too_large", MAX_BODY_BYTES)
    assert answer.headers["x-request-id"] == "big"
    within = front.ask("POST", "/predict", content=b"x" * MAX_BODY_BYTES)
    assert (within.status_code, within.json()["code"]) == (400, "malformed")


def test_who_asks_too_often_is_told_when_to_come_back(front):
    """429 with Retry-After, in the one shape; pages and probes are not counted."""
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: front.ask("POST", "/predict", json={"text": WORD}), range(40)))
    refused = [one for one in answers if one.status_code == 429]
    assert {one.status_code for one in answers} == {200, 429}
    assert {(one.json()["code"], one.json()["limit"], one.headers["retry-after"]) for one in refused} == {
        ("too_many_requests", REQUESTS_PER_SECOND, "1")
    }
    assert all(front.ask("GET", "/readyz").status_code == 200 for _ in range(20))


def test_the_log_says_neither_who_asked_nor_what(front):
    """A line for each request: its name, path and times."""
    name = uuid.uuid4().hex
    wait_until(
        lambda: (
            front.ask("POST", f"/predict?text={WORD}", json={"text": WORD}, headers={"x-request-id": name}).is_success
        )
    )
    line = wait_until(lambda: next((one for one in front.log.read_text().splitlines() if name in one), None))
    assert '"path":"/predict"' in line
    assert WORD not in front.log.read_text()
    assert "127.0.0.1" not in front.log.read_text()


def test_a_service_that_is_away_is_said_in_the_same_shape(front):
    """503 with Retry-After, and the next request after it is back is answered."""
    front.service.kill()
    answer = front.ask("GET", "/model", headers={"x-request-id": "away"})
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "unavailable", "5")
    assert answer.headers["x-request-id"] == "away"
    front.service.start()
    assert front.ask("GET", "/model").status_code == 200
