import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bentoml
import httpx
import psutil
import pytest
from bentoml.exceptions import UnprocessableEntity

from release.smoke_test import find_free_port, wait_until_ready
from sentiment.bundle.bundle import open_bundle
from sentiment.bundle.predictor import open_predictor
from sentiment.paths import CHECKOUT
from tests.support.serving import STORE, TAG, WORD

pytestmark = pytest.mark.slow

MAX_QUEUED_TEXTS = 16


@dataclass(frozen=True)
class Server:
    """A service in a process of its own, and the bundle that it answers from."""

    process: subprocess.Popen
    port: int
    log: Path
    bundle: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def wait_for_log(self, wanted: str) -> str:
        """Return the log once it holds what is wanted, or as it is after a few seconds."""
        deadline = time.monotonic() + 5
        while wanted not in (said := self.log.read_text(encoding="utf-8")) and time.monotonic() < deadline:
            time.sleep(0.05)
        return said


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    """The service of this checkout on a tiny bundle, with a model store of its own."""
    folder = tmp_path_factory.mktemp("service")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("SENTIMENT_")},
        "BENTOML_HOME": str(folder / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "True",
        "SENTIMENT_STATE_DIR": str(folder / "state"),
        "SENTIMENT_ACCESS_LOG": "true",
        "SENTIMENT_WORKERS": "1",
    }
    subprocess.run([sys.executable, "-c", STORE, str(folder / "tiny")], cwd=CHECKOUT, env=environment, check=True)
    environment |= {"SENTIMENT_MODEL_TAG": TAG, "SENTIMENT_MAX_QUEUED_TEXTS": str(MAX_QUEUED_TEXTS)}
    port, log = find_free_port(), folder / "serve.log"
    command = [sys.executable, "-m", "bentoml", "serve", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=CHECKOUT, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        wait_until_ready(f"http://127.0.0.1:{port}", process)
        yield Server(process, port, log, folder / "tiny")
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture
def client(server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=10, trust_env=False) as client:
        yield client


@pytest.fixture
def bento_client(server) -> Iterator[bentoml.SyncHTTPClient]:
    with bentoml.SyncHTTPClient(server.url) as client:
        yield client


def test_an_answer_is_what_the_predictor_says(server, client):
    """Over HTTP a text gets the label, the scores and the tokens that its bundle gives it."""
    (wanted,) = open_predictor(server.bundle).predict(["what a good day"])

    answer = client.post("/predict", json={"text": "what a good day"}).raise_for_status().json()

    assert (answer["label"], answer["confidence"], answer["scores"]) == (wanted.label, wanted.confidence, wanted.scores)
    assert (answer["tokens"], answer["truncated"], answer["uncertain"]) == (6, False, False)


def test_an_answer_below_the_threshold_says_so(client):
    """A confidence under the threshold on the card is said to be uncertain, alone and in a batch."""
    short, long = {"text": "good"}, {"text": "good " * 12}

    alone = [client.post("/predict", json=body).raise_for_status().json() for body in (short, long)]
    batch = client.post("/batch_predict", json={"texts": [short["text"], long["text"]]}).raise_for_status().json()

    assert [answer["uncertain"] for answer in alone] == [True, False]
    assert [entry["uncertain"] for entry in batch["predictions"]] == [True, False]


def test_an_answer_names_its_model(server, client):
    """Every answer carries the version and the digest of the model that gave it."""
    answer = client.post("/predict", json={"text": "good"}).raise_for_status().json()

    assert answer["model_version"] == "tiny"
    assert answer["model_digest"] == open_bundle(server.bundle).card.digest


def test_a_long_text_says_that_it_was_cut(client):
    """A text of more tokens than the model reads is answered, and says so."""
    answer = client.post("/predict", json={"text": "word " * 100}).raise_for_status().json()

    assert (answer["tokens"], answer["truncated"]) == (16, True)


@pytest.mark.parametrize("kind", ["text/plain", "application/vnd.bentoml+pickle", "multipart/form-data; boundary=x"])
def test_a_request_is_read_as_json_whatever_it_is_called(client, kind):
    """A caller who forgot the content type gets an answer, and no other format is ever unpacked."""
    answer = client.post("/predict", content=b'{"text": "good"}', headers={"content-type": kind})

    assert (answer.status_code, answer.json()["tokens"]) == (200, 3)


def test_a_batch_is_answered_in_order_around_a_bad_text(client):
    """A text that cannot be answered carries its own error, its neighbours get their answers."""
    texts = ["one", "   ", "one two", "x" * 10_001, "one two three"]

    entries = client.post("/batch_predict", json={"texts": texts}).raise_for_status().json()["predictions"]

    assert [entry.get("tokens") for entry in entries] == [3, None, 4, None, 5]
    assert entries[1] == {
        "error": {"code": "empty_text", "message": "the text is empty or only spaces; send at least one word."}
    }
    assert (entries[3]["error"]["code"], entries[3]["error"]["limit"]) == ("text_too_long", 10_000)


def test_a_batch_of_bad_texts_is_answered(client):
    """A batch without one good text is an answer of errors, not an error."""
    entries = client.post("/batch_predict", json={"texts": ["", " "]}).raise_for_status().json()["predictions"]

    assert [entry["error"]["code"] for entry in entries] == ["empty_text", "empty_text"]


def test_a_batch_answers_like_its_texts_alone(client):
    """A text gets the same answer in a batch and by itself."""
    texts = ["good", "what a good day", "no"]

    together = client.post("/batch_predict", json={"texts": texts}).json()["predictions"]

    alone = [client.post("/predict", json={"text": text}).json() for text in texts]
    assert [drop_ids(entry) for entry in together] == [drop_ids(answer) for answer in alone]


def drop_ids(answer: dict[str, Any]) -> dict[str, Any]:
    """Return an answer without what is its own alone."""
    return {name: value for name, value in answer.items() if name not in {"prediction_id", "request_id"}}


def test_each_answer_has_an_id_of_its_own(client):
    """Each text of a batch has its own prediction id, all of them the id of the request, which the header has too."""
    answered = client.post("/batch_predict", json={"texts": ["good"] * 3}, headers={"x-request-id": "mine.1"})

    entries = answered.raise_for_status().json()["predictions"]
    assert len({entry["prediction_id"] for entry in entries}) == 3
    assert {entry["request_id"] for entry in entries} == {answered.headers["x-request-id"]} == {"mine.1"}


def test_concurrent_callers_get_their_own_answers(client):
    """Callers who ask at the same time are never answered with one another's text."""
    counts = [number % 10 + 1 for number in range(64)]

    with ThreadPoolExecutor(8) as callers:
        answers = callers.map(lambda count: client.post("/predict", json={"text": "word " * count}).json(), counts)

    assert [answer["tokens"] for answer in answers] == [count + 2 for count in counts]


def test_a_batch_larger_than_the_queue_is_answered_when_nobody_waits(client):
    """A batch within its own limit is never refused for ever because the queue is short."""
    answered = client.post("/batch_predict", json={"texts": ["good"] * (MAX_QUEUED_TEXTS + 1)})

    assert len(answered.raise_for_status().json()["predictions"]) == MAX_QUEUED_TEXTS + 1


def test_the_model_page_shows_the_card(server, client):
    """`GET /model` answers the card of the bundle and the version in the store."""
    card = json.loads((server.bundle / "card.json").read_text(encoding="utf-8"))

    assert client.get("/model").raise_for_status().json() == {"version": "tiny", **card, "canary": None}


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_the_probes_answer(client, path):
    """A service that is up says so to whoever watches it."""
    assert client.get(path).status_code == 200


def test_the_metrics_count_requests(client):
    """`GET /metrics` counts the requests of each route for Prometheus."""
    client.post("/predict", json={"text": "good"}).raise_for_status()

    lines = client.get("/metrics").raise_for_status().text.splitlines()

    (line,) = [line for line in lines if line.startswith('sentigate_requests_total{route="/predict",status="200"}')]
    assert float(line.rsplit(" ", 1)[1]) >= 1


def test_no_path_of_a_caller_is_in_the_metrics(client):
    """Paths that are not there are counted under one name, however many are asked for."""
    for number in range(20):
        client.get(f"/quince/{number}")

    said = client.get("/metrics").raise_for_status().text
    assert "quince" not in said
    assert 'sentigate_requests_total{route="other",status="404"}' in said


def test_a_path_that_is_not_there_is_said_in_the_one_shape(client):
    """A 404 is JSON that says where the paths are listed."""
    answer = client.get("/nowhere")

    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/json")
    assert answer.json() == {
        "code": "not_found",
        "message": "there is no such path; docs.json lists what there is, for example POST /predict.",
    }


@pytest.mark.parametrize(("method", "path"), [("GET", "/predict"), ("DELETE", "/batch_predict"), ("POST", "/model")])
def test_a_method_that_is_not_taken_is_said_in_the_one_shape(client, method, path):
    """A 405 is JSON that names the methods."""
    answer = client.request(method, path)

    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")


def test_a_body_without_a_length_is_bounded(client):
    """A caller who streams more than the limit is answered 413."""
    answer = client.post("/predict", content=(b" " * 65_536 for _ in range(20)))

    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


def test_the_description_lists_what_there_is(client):
    """`GET /docs.json` describes every route for callers, with the fields of its answer."""
    described = client.get("/docs.json").raise_for_status().json()

    posts = {path: item["post"] for path, item in described["paths"].items() if "post" in item}
    assert posts.keys() == {"/predict", "/batch_predict", "/explain", "/feedback", "/reload", "/canary"}
    assert {"prediction_id", "request_id", "confidence"} <= list_fields(described, posts["/predict"])
    assert list_fields(described, posts["/batch_predict"]) == {"predictions"}
    assert {"base", "words", "label"} <= list_fields(described, posts["/explain"])
    assert list_fields(described, posts["/feedback"]) == {"feedback_id", "prediction_id", "request_id"}
    assert list_fields(described, posts["/reload"]) == {"model_version", "model_digest", "workers", "request_id"}
    assert {"/model", "/health", "/livez", "/readyz", "/metrics"} <= described["paths"].keys()


def list_fields(described: dict[str, Any], operation: dict[str, Any], status: str = "200") -> set[str]:
    """Return the names of the fields in an answer with a status, as the description has them."""
    schema = operation["responses"][status]["content"]["application/json"]["schema"]
    while "$ref" in schema:
        schema = described["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    return set(schema["properties"])


@pytest.mark.parametrize("status", ["400", "401", "413", "422", "429", "503"])
def test_the_description_has_the_shape_of_errors(client, status):
    """Each route is described with the errors that callers get from it, in the one shape."""
    described = client.get("/docs.json").raise_for_status().json()

    assert list_fields(described, described["paths"]["/predict"]["post"], status) == {"code", "message", "limit"}


def test_no_text_of_a_caller_is_in_the_log(server, client):
    """Whatever was wrong with a request, its text is not written down."""
    text = f"I hate {WORD}"
    client.post("/predict", content=f'{{"text": "{text}'.encode())
    client.post("/predict", content=b'{"text": "' + text.encode() + b'\xff"}')
    client.post("/predict", json={"text": [text]})
    client.post("/predict", json={"text": "good", text: text})
    client.post("/predict", json={"text": text * 5_000})
    client.post("/predict", json={"text": text}, params={"note": text}, headers={"x-note": text})
    client.post("/batch_predict", json={"texts": [text, "", text * 5_000, "\0" + text]})
    client.post("/batch_predict", json={"texts": [text] * 257})
    client.get("/the-end")

    log = server.wait_for_log("path=/the-end")

    assert all(f"status={status}" in log for status in (200, 400, 413, 422))
    assert "path=/the-end" in log
    assert WORD not in log


def test_the_client_of_bentoml_predicts(bento_client):
    """BentoML's own client gets the answer of one text."""
    assert bento_client.predict(text="one two")["tokens"] == 4


def test_the_client_of_bentoml_predicts_batches(bento_client):
    """BentoML's own client gets the answers of a batch, in order."""
    answer = bento_client.batch_predict(texts=["one", "one two"])

    assert [entry["tokens"] for entry in answer["predictions"]] == [3, 4]


def test_the_client_of_bentoml_sees_why_a_text_was_refused(bento_client):
    """The error of a bad text in a batch reaches who asks with BentoML's own client."""
    answer = bento_client.batch_predict(texts=["one", "", "one two"])

    assert answer["predictions"][1]["error"]["code"] == "empty_text"


def test_the_client_of_bentoml_raises_what_the_edge_said(bento_client):
    """A refused request raises BentoML's error for its status, with the problem as its message."""
    with pytest.raises(UnprocessableEntity) as refused:
        bento_client.predict(text="")

    assert json.loads(str(refused.value))["code"] == "empty_text"


def test_a_terminated_service_leaves_nothing_behind(server):
    """After SIGTERM the service ends well, its workers are gone and nobody listens on its port."""
    workers = psutil.Process(server.process.pid).children(recursive=True)

    server.process.terminate()

    assert server.process.wait(timeout=30) == 0
    assert psutil.wait_procs(workers, timeout=5)[1] == []
    with closing(socket.socket()) as probe:
        assert probe.connect_ex(("127.0.0.1", server.port)) != 0
