"""What running services are told, over HTTP, and what is said of those that do not take it."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import psutil
import pytest

from release.bento_store import find_free_port
from release.journal import ProductionChange
from release.running_services import (
    PLAIN_VARIABLE,
    check_services,
    choose_canary_service,
    choose_services,
    find_services,
    read_key,
    require_address,
    switch_services,
)
from sentiment.errors import ServiceError
from sentiment.model_name import ModelName

OLD, NEW = "old", "new"
CHANGE = ProductionChange("promotion", ModelName("7", NEW), "/registry/7", "5", "5", by="mia")
BAD = {"code": "bad_model", "message": "nothing was changed: this machine has 0 models of version '7-new'."}
KEY = "sg_secret"
CARD = {
    "labels": ["negative", "positive"],
    "max_tokens": 64,
    "candidate": "tfidf",
    "dataset": "bundled",
    "created_at": "2026-01-02T00:00:00Z",
    "uncertain_below": 0.5,
    "size_bytes": 1000,
    "latency_ms": {"p95": 1.5},
    "metrics": {"macro_f1": 0.9},
}
HEALTH = {"status": "ok", "model_version": "7-new", "prediction_log": "off", "canary": "off", "shadow": "off"}


class Stand:
    """Stands for a service: refuses so many reloads, knows some models, and its workers are late for a while."""

    def __init__(
        self, *, knows: tuple[str, ...] = ("7-new",), busy: int = 0, late: int = 0, key: str = "", refusal: Any = None
    ) -> None:
        self.digest, self.asked, self.location = OLD, [], ""
        self._knows, self._busy, self._late, self._key, self._refusal = knows, busy, late, key, refusal or (422, BAD)
        stand = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                stand.answer(self, *stand.show(self.path))

            def do_POST(self) -> None:
                wanted = json.loads(self.rfile.read(int(self.headers["content-length"])))
                stand.answer(self, *stand.reload(wanted, self.headers.get("authorization")))

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def show(self, path: str) -> tuple[int, Any]:
        if path == "/model":
            return 200, {**CARD, "version": self.digest, "digest": self.digest}
        self._late -= 1
        return 200, {**HEALTH, "workers": {"living": 2, "current": 1 if self._late >= 0 else 2}}

    def reload(self, wanted: dict, authorization: str | None) -> tuple[int, Any]:
        self.asked.append(wanted)
        if self._key and authorization != f"Bearer {self._key}":
            return 401, {"code": "key_missing", "message": "there is no API key."}
        if self._busy:
            self._busy -= 1
            return 409, {"code": "reload_busy", "message": "another reload is under way."}
        if not {wanted.get("version"), wanted.get("uri")} & set(self._knows):
            return self._refusal
        self.digest = NEW
        return 200, {"model_version": "7-new", "model_digest": NEW, "workers": 2, "request_id": "r"}

    def answer(self, handler: BaseHTTPRequestHandler, status: int, body: Any) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        handler.send_response(status)
        handler.send_header("content-length", str(len(content)))
        handler.send_header("location", self.location)
        handler.end_headers()
        handler.wfile.write(content)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def stands() -> Iterator[list[Stand]]:
    """Services that end with the test."""
    made: list[Stand] = []
    yield made
    for stand in made:
        stand.close()


def refuse(*urls: str, key: str = "", change: ProductionChange = CHANGE, **options: float) -> str:
    with pytest.raises(ServiceError) as raised:
        switch_services(change, urls, key, **options)
    return str(raised.value)


def test_every_service_is_told_the_version(stands):
    """Each service is asked once for the exact version."""
    stands += [Stand(), Stand()]
    switch_services(CHANGE, [stand.url for stand in stands], "")
    assert [(stand.digest, stand.asked) for stand in stands] == [(NEW, [{"version": "7-new"}])] * 2


def test_no_running_service_is_no_fault():
    """A promotion needs no service that runs."""
    switch_services(CHANGE, [], "")


def test_a_busy_service_is_asked_again(stands):
    """Another reload that is under way is waited for."""
    stands.append(Stand(busy=2))
    switch_services(CHANGE, [stands[0].url], "")
    assert stands[0].digest == NEW


def test_late_workers_are_waited_for(stands):
    """It ends when every worker answers from the model, and not before."""
    stands.append(Stand(late=3))
    started = time.monotonic()
    switch_services(CHANGE, [stands[0].url], "")
    assert time.monotonic() - started > 0.5


def test_workers_that_stay_late_are_told(stands):
    """A worker that never takes the model up is counted."""
    stands.append(Stand(late=10_000))
    assert refuse(stands[0].url, seconds=0.5) == (
        f"version 7 is in production, but {stands[0].url} is late: 1 of 2 workers, and it shows the model new."
        " Tell it again: make promote VERSION=7"
    )


def test_a_service_without_the_model_is_told(stands):
    """A container has no other model than its own; the sentence says what it answers from and the way out."""
    stands.append(Stand(knows=()))
    assert refuse(stands[0].url) == (
        f"version 7 is in production, but {stands[0].url} does not take it: nothing was changed: this machine has 0"
        " models of version '7-new'; a container has the model of its image alone: start the image of that version;"
        " it still answers from old. Tell it again: make promote VERSION=7"
    )


def test_a_service_elsewhere_fetches_what_the_registry_has(stands):
    """Where the registry's files have an address of their own, a service without our store is given that."""
    stands.append(Stand(knows=("s3://bucket/7",)))
    switch_services(replace(CHANGE, source="s3://bucket/7"), [stands[0].url], "")
    assert stands[0].asked == [{"version": "7-new"}, {"uri": "s3://bucket/7"}]


def test_a_key_is_sent(stands):
    """A service that wants a key gets it, and one that got none says so."""
    stands.append(Stand(key=KEY))
    assert "there is no API key; name the file of a key with the scope admin: KEY_FILE=...;" in refuse(stands[0].url)
    switch_services(CHANGE, [stands[0].url], KEY)
    assert stands[0].digest == NEW


def test_one_that_fails_does_not_stop_the_others(stands):
    """Whatever one service says, the others are told."""
    stands.append(Stand())
    nobody = f"http://127.0.0.1:{find_free_port()}"
    said = refuse(nobody, stands[0].url)
    assert said == (
        f"version 7 is in production, but {nobody} cannot be reached ([Errno 111] Connection refused);"
        " what it answers from is not known. Tell it again: make promote VERSION=7"
    )
    assert stands[0].digest == NEW


def test_what_is_no_service_of_ours_is_told(stands):
    """A proxy's page is not taken for an answer."""
    stands.append(Stand(refusal=(502, b"<html>"), knows=()))
    assert "does not take it: it answered 502; it still answers from old." in refuse(stands[0].url)


@pytest.mark.parametrize("url", ["localhost:3000", "ftp://host", "http://", "nonsense"])
def test_what_is_no_address_is_told(url):
    """An address is checked before anything is moved."""
    with pytest.raises(ServiceError) as raised:
        choose_services([url])
    assert str(raised.value) == f"{url!r} is not the address of a service; wanted for example http://127.0.0.1:3000."


def test_services_are_named_by_option_or_variable(monkeypatch):
    """The option goes before the variable."""
    monkeypatch.setenv("SENTIMENT_SERVICES", "http://a:1/, http://b:2")
    assert choose_services([]) == ["http://a:1", "http://b:2"]
    assert choose_services(["https://c"]) == ["https://c"]


def test_a_key_file_that_is_missing_is_told(tmp_path):
    """The file of the key is looked at before anything is moved."""
    with pytest.raises(ServiceError) as raised:
        read_key(str(tmp_path / "none"))
    assert str(raised.value) == (
        f"the key file '{tmp_path / 'none'}' cannot be read: No such file or directory; wanted one line with the key."
    )
    (tmp_path / "key").write_text(f"{KEY}\n")
    assert read_key(str(tmp_path / "key")) == KEY


@pytest.mark.parametrize("host", ["10.0.0.7", "sentiment.example.org", "127.0.0.1.example.org", "[fd00::2]", "0.0.0.0"])
@pytest.mark.parametrize("ask", ["promote", "tell", "canary"])
def test_a_key_goes_to_another_machine_in_the_clear_only_when_told(tmp_path, monkeypatch, host, ask):
    """Whatever presents a key refuses before anything is sent, with the way out."""
    (tmp_path / "key").write_text(KEY)
    url = f"http://{host}:3000"
    asks = {
        "promote": lambda: check_services([url], str(tmp_path / "key")),
        "tell": lambda: switch_services(CHANGE, [url], KEY),
        "canary": lambda: choose_canary_service(url, str(tmp_path / "key")),
    }
    with pytest.raises(ServiceError) as raised:
        asks[ask]()
    assert f"the key would go to {url} in the clear; wanted https://" in str(raised.value)
    assert KEY not in str(raised.value)
    monkeypatch.setenv(PLAIN_VARIABLE, "true")
    require_address(url, KEY)


def test_one_that_may_not_have_the_key_keeps_no_other_from_being_told(stands):
    """The model has moved by then: each service that can be told is, and the sentence says what is left to do."""
    stands.append(Stand(key=KEY))
    said = refuse("http://10.0.0.7:3000", stands[0].url, key=KEY)
    assert said.startswith("version 7 is in production, but the key would go to http://10.0.0.7:3000 in the clear")
    assert said.endswith("Tell it again: make promote VERSION=7")
    assert stands[0].digest == NEW


@pytest.mark.parametrize("url", ["https://10.0.0.7", "http://127.0.0.1:1", "http://[::1]:1", "http://localhost"])
def test_a_key_goes_by_tls_and_to_this_machine(url):
    require_address(url, KEY)
    require_address("http://10.0.0.7", "")


def test_a_redirect_carries_no_key_elsewhere(stands):
    """What a service points at is not asked, and a promotion says what the service answered."""
    stands += [Stand(), Stand(refusal=(307, b""))]
    stands[1].location = f"{stands[0].url}/reload"
    assert f"it points to {stands[0].url}/reload, and the client follows no redirects" in refuse(
        stands[1].url, key=KEY, change=replace(CHANGE, model=ModelName("7", "unknown"))
    )
    assert stands[0].asked == []


def test_folders_of_servers_that_ended_are_passed_over(tmp_path):
    """No process that is gone, none with its number, none without workers is taken for a server."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as idle:
        started = int(psutil.Process(idle.pid).create_time() * 1000)
        for name in ("999999999-1", f"{idle.pid}-1", "nonsense-", f"{idle.pid}-{started}"):
            (tmp_path / name).mkdir()
        found = find_services(tmp_path)
        idle.communicate(b"\n")
    assert found == find_services(tmp_path / "none") == []
