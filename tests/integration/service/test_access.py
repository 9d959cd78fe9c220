import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import bentoml
import pytest
from bentoml.exceptions import BentoMLException

from release.smoke_test import find_free_port
from sentiment.paths import CHECKOUT
from tests.support.serving import Service, make_store, run_service, wait_until

pytestmark = pytest.mark.slow

PAGE = "https://dashboard.example.org"
ELSEWHERE = "https://elsewhere.example.org"
RATE, RATE_SECONDS = 5, 3
QUESTIONS = [
    ("GET", "/model", None),
    ("GET", "/health", None),
    ("GET", "/metrics", None),
    ("GET", "/docs.json", None),
    ("GET", "/dashboard/predictions", None),
    ("POST", "/predict", b'{"text": "good"}'),
    ("POST", "/predict", b'{"text": '),
    ("POST", "/batch_predict", b'{"texts": ["good"]}'),
    ("POST", "/explain", b'{"text": "good"}'),
    ("POST", "/feedback", b'{"prediction_id": "00000000-0000-0000-0000-000000000000", "label": "positive"}'),
    ("POST", "/reload", b"{}"),
]


@dataclass
class Guarded(Service):
    """A service that wants keys."""

    @property
    def keys(self) -> Path:
        return self.folder / "keys.txt"

    def ask(self, key: str = "", path: str = "/predict", **headers: str) -> tuple[int, str]:
        """Return the status of an answer and the code of its error."""
        sent = {"authorization": f"Bearer {key}"} if key else {}
        answer = self.post(path, {} if path == "/reload" else {"text": "good"}, headers={**sent, **headers})
        return answer.status_code, answer.json().get("code", "")


def make_key(file: Path, name: str, *options: str) -> str:
    """Return a key that the operator's command has made."""
    command = [sys.executable, "-m", "sentigate", "keys", "add", name, "--file", str(file), *options]
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return make_store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, dict[str, str]]:
    """A key file, and the keys in it by their names."""
    file = tmp_path_factory.mktemp("keys") / "keys.txt"
    options = {
        "reader": [],
        "operator": ["--scope", "admin"],
        "both": ["--scope", "predict", "--scope", "admin"],
        "old": ["--until", "2020-01-31"],
        "coming": ["--until", "2999-12-31"],
        "second": [],
    }
    return file, {name: make_key(file, name, *more) for name, more in options.items()}


@pytest.fixture(scope="module")
def keys(made) -> dict[str, str]:
    return made[1]


@pytest.fixture(scope="module")
def service(store, made, tmp_path_factory) -> Iterator[Guarded]:
    """A service that knows the keys and the page of one origin."""
    folder = tmp_path_factory.mktemp("access")
    variables = {"SENTIMENT_API_KEY_FILE": str(folder / "keys.txt"), "SENTIMENT_CORS_ORIGINS": f"{PAGE}, http://x.test"}
    (folder / "keys.txt").write_bytes(made[0].read_bytes())
    with run_service(store, folder, kind=Guarded, **variables) as service:
        yield service


@pytest.fixture(scope="module")
def limited(store, made, tmp_path_factory) -> Iterator[Guarded]:
    """A service of two workers that answers a key a few texts in a few seconds."""
    rates = {"SENTIMENT_RATE_LIMIT": f"{RATE}/{RATE_SECONDS} second", "SENTIMENT_WORKERS": "2"}
    variables = {"SENTIMENT_API_KEY_FILE": str(made[0]), **rates}
    with run_service(store, tmp_path_factory.mktemp("limited"), kind=Guarded, **variables) as service:
        yield service


def test_a_key_is_shown_once_and_kept_as_its_digest(made):
    """The key file is for its owner alone, and no key stands in it."""
    file, keys = made

    assert file.stat().st_mode & 0o077 == 0
    assert len(set(keys.values())) == len(file.read_text(encoding="utf-8").splitlines()) == len(keys)
    assert not [key for key in keys.values() if key in file.read_text(encoding="utf-8")]


@pytest.mark.parametrize(
    ("method", "path", "body"), QUESTIONS, ids=[f"{one[0]} {one[1]} {one[2]}" for one in QUESTIONS]
)
def test_without_a_key_nothing_is_answered(service, method, path, body):
    """Whatever is asked for without a key, but for the probes, is answered 401 in the one shape."""
    answer = service.request(method, path, content=body)

    assert (answer.status_code, answer.json()["code"]) == (401, "key_missing")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_the_probes_want_no_key(service, path):
    """Whoever watches the service needs no key."""
    assert service.get(path).status_code == 200


@pytest.mark.parametrize("path", ["/", "/dashboard", "/static/base.css"])
def test_the_pages_want_no_key(service, path):
    """A page comes without a key, and asks for one itself."""
    answer = service.get(path)

    assert answer.status_code == 200
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_a_key_is_taken_from_either_header(service, keys):
    """A key counts as `Authorization: Bearer KEY`, in any case, and as `X-API-Key: KEY`."""
    key = keys["reader"]

    assert service.ask(key) == (200, "")
    assert service.ask(authorization=f"bearer   {key}") == (200, "")
    assert service.ask(**{"x-api-key": key}) == (200, "")
    assert service.ask(**{"x-api-key": key, "authorization": "Basic dTpw"}) == (200, "")


@pytest.mark.parametrize("wrong", ["sg_", "x", "sg_" + "A" * 43, "\u00e9\u00ff", "", "x" * 20_000, "Bearer"])
def test_a_wrong_key_is_refused(service, wrong):
    """What is no key of this service is answered 401, however it looks."""
    answer = service.post("/predict", {"text": "good"}, headers={"x-api-key": wrong.encode("latin-1")})

    assert (answer.status_code, answer.json()["code"][:4]) == (401, "key_")


def test_a_part_of_a_key_is_no_key(service, keys):
    """Neither the digest of a key nor the key but for its last sign is let in."""
    digest = service.keys.read_text(encoding="utf-8").split()[2]

    assert service.ask(digest) == service.ask(keys["reader"][:-1]) == (401, "key_unknown")


def test_a_key_holds_until_its_last_day(service, keys):
    """A key whose last day is over is refused as expired, one whose last day comes is not."""
    assert service.ask(keys["old"]) == (401, "key_expired")
    assert service.ask(keys["coming"]) == (200, "")


def test_a_key_may_do_what_its_scopes_say(service, keys):
    """Only the scope admin reloads, only the scope predict asks, and a key may have both."""
    wanted = {"reader": (200, 403), "operator": (403, 422), "both": (200, 422)}

    assert {name: (service.ask(keys[name])[0], service.ask(keys[name], "/reload")[0]) for name in wanted} == wanted
    assert service.ask(keys["reader"], "/reload") == (403, "scope")


OTHER_SPELLINGS = [
    "//reload",
    "/reload/",
    "/%72eload",
    "/./reload",
    "/x/../reload",
    "/reload%0a",
    "/reload%00",
    "/batch_predict%0a",
]


@pytest.mark.parametrize("path", OTHER_SPELLINGS)
def test_no_spelling_of_a_path_goes_around_its_scope_and_limits(service, keys, path):
    """However a path is written otherwise, it is not found: neither the model changes nor are 1,200 texts answered."""
    body = {"texts": ["good"] * 1200} if "batch" in path else {}
    for headers in ({}, {"x-api-key": keys["reader"]}, {"x-api-key": keys["both"]}):
        connection = HTTPConnection("127.0.0.1", service.port, timeout=30)  # which does not tidy a path
        connection.request("POST", path, json.dumps(body), headers)
        answer = connection.getresponse()

        assert (answer.status, json.loads(answer.read())["code"]) == (404, "not_found")
        connection.close()


def test_a_key_that_is_removed_stops_working(service, record_property):
    """A key counts from when its line is in the file until a second after it is gone, whatever other lines say."""
    key = make_key(service.keys, "guest")
    wait_until(lambda: service.ask(key) == (200, ""), seconds=5)
    lines = service.keys.read_text(encoding="utf-8").splitlines(keepends=True)
    removed = time.monotonic()
    kept = [line for line in lines if not line.startswith("guest")]
    service.keys.write_text("".join(["this is no key\n", *kept]), encoding="utf-8")
    wait_until(lambda: service.ask(key) == (401, "key_unknown"), seconds=5)
    record_property("seconds until a removed key stops", round(time.monotonic() - removed, 2))

    assert time.monotonic() - removed < 2


@pytest.mark.parametrize("damage", [lambda file: file.write_text("not a key\n"), Path.unlink], ids=["damaged", "gone"])
def test_a_key_file_that_cannot_be_read_lets_nobody_in(service, keys, damage):
    """While the key file is damaged or gone no key of it counts, and nobody is let in without one."""
    sound = service.keys.read_bytes()
    try:
        damage(service.keys)
        wait_until(lambda: service.ask(keys["reader"]) == (401, "key_unknown"), seconds=5)
        assert service.ask() == (401, "key_missing")
    finally:
        service.keys.write_bytes(sound)
    wait_until(lambda: service.ask(keys["reader"]) == (200, ""), seconds=5)


def test_a_key_file_that_is_empty_lets_nobody_in(service, keys):
    """A file without keys is not a service without keys."""
    sound = service.keys.read_bytes()
    try:
        service.keys.write_bytes(b"")
        wait_until(lambda: service.ask(keys["reader"]) == (401, "key_unknown"), seconds=5)
        assert service.ask() == (401, "key_missing")
    finally:
        service.keys.write_bytes(sound)
    wait_until(lambda: service.ask(keys["reader"]) == (200, ""), seconds=5)


def test_the_client_of_bentoml_sends_a_key(service, keys):
    """BentoML's own client with a token predicts, explains and gives feedback; without one it is refused."""
    with bentoml.SyncHTTPClient(service.url, token=keys["reader"]) as client:
        alone = client.predict(text="one two")
        batch = client.batch_predict(texts=["one", "one two"])["predictions"]
        explained = client.explain(text="one two")
        feedback = client.feedback(prediction_id=alone["prediction_id"], label="positive")

    assert [alone["tokens"], *(one["tokens"] for one in batch), explained["tokens"]] == [4, 3, 4, 4]
    assert feedback["prediction_id"] == alone["prediction_id"]
    with pytest.raises(BentoMLException), bentoml.SyncHTTPClient(service.url) as client:
        client.predict(text="one two")


def test_a_page_of_a_named_origin_may_ask(service, keys):
    """The preflight of a named origin is allowed with the headers of a key, and its answer may be read."""
    asked = {"origin": PAGE, "access-control-request-method": "POST"}
    wanted = {**asked, "access-control-request-headers": "authorization,content-type,x-api-key,x-request-id,x-subject"}
    preflight = service.request("OPTIONS", "/predict", headers=wanted)
    answer = service.post("/predict", {"text": "good"}, headers={"origin": PAGE, "x-api-key": keys["reader"]})

    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, PAGE)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, PAGE)


@pytest.mark.parametrize(("key", "body"), [("", "good"), ("reader", ""), ("operator", "good")])
def test_a_page_may_read_why_it_was_refused(service, keys, key, body):
    """The errors too are for pages of a named origin: a browser shows a page no answer without that header."""
    sent = {"origin": PAGE, **({"x-api-key": keys[key]} if key else {})}
    refused = service.post("/predict", {"text": body}, headers=sent)

    assert refused.status_code in {401, 403, 422}
    assert refused.headers.get("access-control-allow-origin") == PAGE


def test_a_page_of_another_origin_may_not_ask(service, keys):
    """Neither the preflight of an origin that is not named is allowed nor may it read an answer."""
    asked = {"origin": ELSEWHERE, "access-control-request-method": "POST"}
    preflight = service.request("OPTIONS", "/predict", headers=asked)
    answer = service.post("/predict", {"text": "good"}, headers={"origin": ELSEWHERE, "x-api-key": keys["reader"]})

    assert preflight.status_code == 400
    assert "access-control-allow-origin" not in {*preflight.headers, *answer.headers}


def test_no_key_is_in_the_log(service, keys):
    """No key, neither a right one nor a wrong one, is written to the service's log, and nothing failed."""
    service.ask("sg_wrong-but-secret")
    service.get("/model", params={"key": keys["second"]}, headers={"x-api-key": keys["second"]})

    assert not [key for key in [*keys.values(), "sg_wrong-but-secret"] if key in service.log]
    assert "Traceback" not in service.log


def test_a_key_that_asks_too_often_waits(limited, keys):
    """Over its rate of texts a key gets 429 with `Retry-After`, while another key and the probes are answered."""
    batch = limited.post("/batch_predict", {"texts": ["good"] * (RATE - 1)}, headers=bear(keys["reader"]))
    answers = [batch, *(limited.post("/predict", {"text": "good"}, headers=bear(keys["reader"])) for _ in range(2))]

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    refused = answers[-1]
    assert (refused.json()["code"], refused.json()["limit"]) == ("too_many_requests", RATE)
    assert 1 <= int(refused.headers["retry-after"]) <= RATE_SECONDS + 1
    assert limited.ask(keys["second"]) == (200, "")
    assert limited.get("/readyz").status_code == 200


def test_a_key_that_waits_as_told_is_answered(limited, keys):
    """Who waits for as long as `Retry-After` says is answered, whenever in a window it asks too often."""
    wait_until(lambda: 0.6 < time.time() % RATE_SECONDS < 0.7)  # what is left of the window is not a whole second
    refused = None
    while refused is None or refused.status_code != 429:
        refused = limited.post("/predict", {"text": "good"}, headers=bear(keys["coming"]))
    until = time.monotonic() + int(refused.headers["retry-after"])
    wait_until(lambda: time.monotonic() > until)

    assert limited.ask(keys["coming"]) == (200, "")


def test_the_rate_holds_for_callers_at_once(limited, keys):
    """Many callers with one key at once get no more answers than its rate allows."""
    with ThreadPoolExecutor(8) as callers:
        statuses = list(callers.map(lambda _: limited.ask(keys["both"])[0], range(4 * RATE)))

    assert set(statuses) <= {200, 429}
    assert RATE <= statuses.count(200) <= 2 * RATE  # the callers may take more than one stretch of its time


def test_wrong_keys_do_not_use_up_a_rate(limited, keys):
    """Callers without a key cannot keep those with one from an answer."""
    for _ in range(3 * RATE):
        limited.ask("sg_wrong")

    assert limited.ask(keys["operator"], "/reload") == (422, "bad_model")


def bear(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.mark.parametrize(("proxies", "statuses"), [("", [200, 429, 429]), ("127.0.0.0/8", [200, 200, 429])])
def test_a_header_says_whom_a_request_is_from_where_a_proxy_is_named(store, tmp_path, proxies, statuses):
    """Without keys a rate is of an address, and nobody is believed who says of himself that he is another."""
    variables = {"SENTIMENT_RATE_LIMIT": "1/hour", "SENTIMENT_TRUSTED_PROXIES": proxies}
    with run_service(store, tmp_path, **variables) as service:
        clients = ["192.0.2.1", "192.0.2.2", "198.51.100.1, 192.0.2.2"]
        answers = [service.post("/predict", {"text": "good"}, headers={"x-forwarded-for": one}) for one in clients]

    assert [answer.status_code for answer in answers] == statuses


def test_who_is_refused_is_written_down(service, keys):
    """A request without a sound key, or above its scope, is in a file of the state folder and in the counters."""
    headers = {"x-api-key": keys["reader"], "x-request-id": "above"}
    service.post("/reload", {}, headers=headers)
    service.post("/reload", {}, headers={"x-api-key": "sg_wrong-and-secret", "x-request-id": "unknown"})
    lines = [json.loads(line) for line in (service.state / "refusals.jsonl").read_text(encoding="utf-8").splitlines()]
    kept = {one["request_id"]: (one["caller"], one["action"], one["code"]) for one in lines}

    assert kept["above"] == ("reader", "POST /reload", "scope")
    assert kept["unknown"] == ("", "POST /reload", "key_unknown")
    assert "sg_wrong-and-secret" not in (service.state / "refusals.jsonl").read_text(encoding="utf-8")
    counters = service.get("/metrics", headers={"x-api-key": keys["operator"]}).text
    assert 'sentigate_problems_total{code="scope"}' in counters


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SENTIMENT_API_KEY_FILE", "/not/there"),
        ("SENTIMENT_API_KEYS", "me predict abc"),
        ("SENTIMENT_API_KEYS", ""),
        ("SENTIMENT_API_KEY_FILE", "/dev/null"),
        ("SENTIMENT_RATE_LIMIT", "x"),
        ("SENTIMENT_TRUSTED_PROXIES", "*"),
    ],
)
def test_a_setting_of_access_that_is_wrong_ends_the_start(tmp_path, name, value):
    """`sentigate serve` says in one sentence which setting is wrong, and does not serve without it."""
    environment = {
        **os.environ,
        "SENTIMENT_MODEL_TAG": "sentiment:tiny",
        "SENTIMENT_STATE_DIR": str(tmp_path),
        name: value,
    }
    command = [sys.executable, "-m", "sentigate", "serve", "--port", str(find_free_port())]
    done = subprocess.run(
        command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "abc" not in done.stderr
