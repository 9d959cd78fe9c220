import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import psutil
import pytest
from onnx import TensorProto, helper, numpy_helper

from sentiment.bundle.bundle import MODEL_FILE, open_bundle, seal_bundle
from sentiment.bundle.predictor import open_predictor
from sentiment.bundle.trial import try_bundle
from service.models.desired_state import PENDING_FILE, SERVED_FILE, DesiredState, write_desired_state
from service.models.switch import ModelSwitch
from service.models.workers import list_workers
from tests.conftest import make_card, make_tiny_bundle
from tests.support.hostile import make_hanging_bundle, make_huge_bundle, make_killing_bundle, make_swelling_bundle
from tests.support.loopback import serve
from tests.support.serving import TAG, Service, make_store, run_service, wait_until

pytestmark = pytest.mark.slow

TEXT = "word " * 30
FIRST, SECOND, THIRD = 16, 8, 12
"""Tokens that each model reads: what an answer counts in a long text tells which model made it."""
TWO_WORKERS = "2"
SLOW_SECONDS = 14.0
TIMEOUT_SECONDS = 2
ANSWERS = 40


class Load:
    """Clients that ask one question again and again, each time over a new connection, until the block ends."""

    def __init__(self, service: Service, clients: int = 4, path: str = "/predict", text: str = TEXT) -> None:
        self._ask = partial(service.post, path, {"text": text})
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]
        self.answers: list[tuple[float, httpx.Response | str]] = []

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        self.wait_for_more(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for_more(self, answers: int = ANSWERS) -> None:
        wanted = len(self.answers) + answers
        wait_until(lambda: len(self.answers) >= wanted, seconds=90)

    def list_failures(self) -> list[object]:
        return [one for _, one in self.answers if isinstance(one, str) or one.status_code != 200]

    def list_answers(self, since: float = 0.0) -> list[dict[str, Any]]:
        """Return the answers to what was asked after a moment."""
        return [one.json() for sent, one in self.answers if sent > since and not isinstance(one, str)]

    def _run(self) -> None:
        while not self._stop.wait(0.005):
            sent = time.monotonic()
            try:
                self.answers.append((sent, self._ask()))
            except httpx.TransportError as error:
                self.answers.append((sent, type(error).__name__))


class Hold(SimpleHTTPRequestHandler):
    """Serves a folder of bundles, the graphs only once the test lets them go."""

    released = threading.Event()

    def do_GET(self) -> None:
        if self.path.endswith(MODEL_FILE):
            self.released.wait(30)
        super().do_GET()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Broken(SimpleHTTPRequestHandler):
    """A server that fails."""

    def do_GET(self) -> None:
        self.send_error(500)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Dripping(SimpleHTTPRequestHandler):
    """A server that promises a card and sends a byte of it a second."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "1000")
        self.end_headers()
        with suppress(OSError):
            for _ in range(60):
                self.wfile.write(b" ")
                time.sleep(1)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def webs(bundles) -> Iterator[dict[str, str]]:
    """Addresses of web servers on loopback: one that holds graphs back, one that fails, one that drips."""
    handlers = {"hold": partial(Hold, directory=str(bundles)), "broken": Broken, "dripping": Dripping}
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(serve(ThreadingHTTPServer(("127.0.0.1", 0), handler)))
            for name, handler in handlers.items()
        }


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return make_store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def bundles(tmp_path_factory) -> Path:
    """Bundles that can be told apart by the tokens they count, and some that cannot be served."""
    folder = tmp_path_factory.mktemp("bundles")
    for name, tokens in (("first", FIRST), ("second", SECOND), ("third", THIRD)):
        bundle = make_tiny_bundle(folder / name)
        seal_bundle(bundle.folder, replace(bundle.card, max_tokens=tokens))
    corrupt = make_tiny_bundle(folder / "corrupt").model
    corrupt.write_bytes(corrupt.read_bytes()[:-1] + b"?")
    sealed = make_tiny_bundle(folder / "no_graph")
    sealed.model.write_bytes(b"this is not a graph")
    seal_bundle(sealed.folder, make_card())
    make_tiny_bundle(folder / "wrong_width", labels=("bad", "good"))
    (folder / "empty").mkdir()
    return folder


@pytest.fixture(scope="module")
def shared(store, webs, tmp_path_factory) -> Iterator[Service]:
    """A service with two workers, which may load from the web servers, too."""
    variables = {"SENTIMENT_WORKERS": TWO_WORKERS, "SENTIMENT_RELOAD_SOURCES": ",".join(["/", *webs.values()])}
    with run_service(store, tmp_path_factory.mktemp("reload"), **variables) as service:
        service.wait_for_workers(2)
        yield service


@pytest.fixture
def service(shared, bundles) -> Service:
    """The service with two workers, both on the first bundle."""
    reload(shared, folder=bundles / "first").raise_for_status()
    return shared


def reload(service: Service, headers: dict[str, str] | None = None, **wanted: object) -> httpx.Response:
    body = {name: str(value) for name, value in wanted.items()}
    return service.post("/reload", body, headers={**service.operator, **(headers or {})})


def ask_all(service: Service) -> set[tuple[str, int]]:
    """Return the digests, and the tokens that were counted, of so many answers that every worker gave some."""
    with ThreadPoolExecutor(4) as callers:
        answers = list(callers.map(lambda _: service.post("/predict", {"text": TEXT}).json(), range(ANSWERS)))
    return {tell(answer) for answer in answers}


def tell(answer: dict[str, Any]) -> tuple[str, int]:
    return answer["model_digest"], answer["tokens"]


def name_model(folder: Path) -> tuple[str, int]:
    """Return what tells the answers of a bundle."""
    card = open_bundle(folder).card
    return card.digest, card.max_tokens


def test_a_reload_under_load_loses_no_request(service, bundles, record_property):
    """While the model is changed every request is answered by the old or the new one, and afterwards by the new."""
    with Load(service) as load:
        started = time.monotonic()
        answer = reload(service, folder=bundles / "second").raise_for_status().json()
        done = time.monotonic()
        load.wait_for_more()
    record_property("seconds of a reload", round(done - started, 2))

    old, new = name_model(bundles / "first"), name_model(bundles / "second")
    assert load.list_failures() == []
    assert {tell(one) for one in load.list_answers()} == {old, new}
    assert {tell(one) for one in load.list_answers(since=done)} == {new}
    assert (answer["model_digest"], answer["model_version"], answer["workers"]) == (new[0], new[0][:12], 2)


def test_every_page_knows_the_new_model(service, bundles):
    """After a reload `/model`, `/health` and each answer name the same version."""
    version = reload(service, folder=bundles / "third").raise_for_status().json()["model_version"]

    assert {service.get("/model").json()["version"] for _ in range(10)} == {version}
    assert {service.get("/health").json()["model_version"] for _ in range(10)} == {version}
    assert service.post("/predict", {"text": "good"}).json()["model_version"] == version


@pytest.mark.parametrize("name", ["corrupt", "no_graph", "wrong_width", "empty", "not_there"])
def test_a_bundle_that_is_not_sound_changes_nothing(service, bundles, name):
    """A damaged, senseless or missing bundle is refused in one sentence, and every answer is from the old model."""
    with Load(service, clients=2) as load:
        refused = reload(service, folder=bundles / name)
        load.wait_for_more(10)

    assert_bad_model(refused)
    assert load.list_failures() == []
    assert ask_all(service) == {name_model(bundles / "first")}
    assert "Traceback" not in service.log


@pytest.mark.parametrize(
    "wanted",
    [
        {"version": "99"},
        {"version": ""},
        {"version": "../../etc"},
        {"alias": "production"},
        {},
        {"folder": ""},
        {"folder": "relative/folder"},
        {"folder": "/etc/passwd"},
        {"folder": "x" * 5000},
        {"folder": "nul\0within"},
        {"uri": ""},
        {"uri": "file:///not/there"},
        {"uri": "file:///nul\0within"},
        {"uri": "nonsense://bucket/bundle"},
        {"uri": "http://127.0.0.1:9/bundle"},
        {"uri": "http://[::1/bundle"},
        {"uri": "zip://bundle::file:///not/there.zip"},
        {"uri": "s3://bucket/bundle"},
    ],
    ids=str,
)
def test_a_model_that_is_not_there_is_refused(shared, wanted):
    """Whatever cannot be found is answered 422 in one sentence, and the model stays."""
    before = shared.get("/model").json()

    refused = shared.post("/reload", wanted)

    assert_bad_model(refused)
    assert shared.get("/model").json() == before


def assert_bad_model(refused: httpx.Response) -> None:
    """See that a reload was refused in one sentence that names no Python object."""
    assert (refused.status_code, refused.json()["code"]) == (422, "bad_model")
    message = refused.json()["message"]
    assert message.startswith("nothing was changed: ")
    assert message.endswith(".")
    assert not message.endswith("..")
    assert "\n" not in message
    assert "None" not in message


def test_a_file_that_is_no_file_is_refused(service, tmp_path):
    """A FIFO where a file should be does not block the service, and is named in a sentence."""
    bundle = make_tiny_bundle(tmp_path / "fifo")
    bundle.model.unlink()
    os.mkfifo(bundle.model)

    assert_bad_model(reload(service, folder=bundle.folder))


def test_a_web_server_that_fails_is_a_bad_model(service, webs):
    """An error of the server behind a URI is answered 422, not 500."""
    assert_bad_model(reload(service, uri=f"{webs['broken']}/bundle"))


@pytest.mark.parametrize("scheme", ["file", "http"])
def test_a_bundle_is_fetched_from_a_uri(service, bundles, webs, scheme):
    """A bundle behind file:// or http:// is served by every worker."""
    Hold.released.set()
    answer = reload(service, uri=f"file://{bundles}/second" if scheme == "file" else f"{webs['hold']}/second")

    assert (answer.status_code, answer.json().get("workers")) == (200, 2), answer.text
    assert ask_all(service) == {name_model(bundles / "second")}


def test_a_version_of_the_store_is_served(service, bundles):
    """A version that `bentoml models list` names is served under its own name."""
    answer = reload(service, version=TAG.split(":")[1]).raise_for_status().json()

    assert answer["model_version"] == "tiny"
    assert {digest for digest, _ in ask_all(service)} == {answer["model_digest"]}


def test_the_bundle_may_go_after_a_reload(service, bundles, tmp_path):
    """What is served does not depend on the folder that it came from."""
    shutil.copytree(bundles / "second", tmp_path / "bundle")
    reload(service, folder=tmp_path / "bundle").raise_for_status()
    shutil.rmtree(tmp_path / "bundle")

    assert ask_all(service) == {name_model(bundles / "second")}


@pytest.mark.parametrize("name", ["twice", ".", ".."])
def test_the_id_of_a_request_does_not_decide_a_reload(service, bundles, name):
    """A caller may use one `x-request-id` for several reloads, and any that is allowed."""
    answers = [reload(service, {"x-request-id": name}, folder=bundles / one) for one in ("second", "third")]

    assert [answer.status_code for answer in answers] == [200, 200], [answer.text for answer in answers]
    assert ask_all(service) == {name_model(bundles / "third")}


def test_two_reloads_at_once_are_never_mixed(service, bundles):
    """Of two reloads at once one is served by all, the other comes before or after it or is told that it is busy."""
    for _ in range(3):
        wanted = ("second", "third")
        with ThreadPoolExecutor(2) as callers:
            answers = list(callers.map(lambda name: reload(service, folder=bundles / name), wanted))

        done = [answer.json()["model_digest"] for answer in answers if answer.status_code == 200]
        codes = [answer.json()["code"] for answer in answers if answer.status_code != 200]
        assert done
        assert set(codes) <= {"reload_busy"}
        assert {digest for digest, _ in ask_all(service)} <= set(done)
        assert len(ask_all(service)) == 1


def test_an_explanation_is_of_one_model(service, bundles):
    """A reload in the middle of an explanation gives all of it from one model, or 503 and the wish to ask again."""
    with Load(service, clients=3, path="/explain", text="word " * 9) as load:
        for name in ("second", "third", "first") * 2:
            reload(service, folder=bundles / name).raise_for_status()

    refused = [one for one in load.list_failures() if isinstance(one, str) or one.json()["code"] != "reloaded"]
    assert refused == []
    assert all(one.headers["retry-after"] == "1" for one in load.list_failures())
    explained = [one for one in load.list_answers() if "words" in one]
    assert len({one["model_digest"] for one in explained}) == 3
    for one in explained:
        assert sum(word["weight"] for word in one["words"]) + one["base"] == pytest.approx(one["confidence"], abs=1e-4)


def test_the_metrics_are_of_all_workers(service):
    """Whichever worker is asked, `/metrics` counts what all of them answered, and how many live."""
    before = read_metrics(service)
    ask_all(service)

    answered = 'sentigate_requests_total{route="/predict",status="200"}'
    assert {read_metrics(service)[answered] - before.get(answered, 0) for _ in range(10)} == {ANSWERS}
    assert {read_metrics(service)["sentigate_workers"] for _ in range(10)} == {2}


def read_metrics(service: Service) -> dict[str, float]:
    lines = service.get("/metrics").raise_for_status().text.splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[:1] != "#")}


@pytest.mark.extended
def test_memory_does_not_grow_with_reloads(service, bundles, record_property):
    """Twenty reloads take about as much memory as five: old models are let go."""
    resident = {}
    for number in range(1, 21):
        reload(service, folder=bundles / ("first", "second")[number % 2]).raise_for_status()
        service.predict(TEXT)
        resident[number] = sum(worker.memory_info().rss for worker in service.find_workers())
    record_property("RSS in MB after 5, 10, 20", [resident[number] // 10**6 for number in (5, 10, 20)])

    assert resident[20] < 1.3 * resident[5]


def test_disk_does_not_grow_with_reloads(service, bundles):
    """What a reload copied goes when nobody serves it any more, and what was refused at once."""
    for name in ("second", "third", "corrupt", "first"):
        reload(service, folder=bundles / name)

    kept = list((service.state / "serving").rglob(MODEL_FILE))
    assert len(kept) <= 2, f"{len(kept)} copies of bundles are kept"


def test_a_killed_worker_comes_back_to_the_model_of_the_others(service, bundles, record_property):
    """After `kill -9` a new worker answers from the model of the last reload, not from that of the start."""
    reload(service, folder=bundles / "third").raise_for_status()
    starts = service.log.count("Service sentigate initialized")
    killed, moment = service.find_workers()[0], time.monotonic()
    psutil.Process(killed.pid).kill()
    service.wait_for_workers(starts + 1)
    wait_until(lambda: len(service.find_workers()) == 2 and killed not in service.find_workers())
    record_property("seconds until a killed worker is back", round(time.monotonic() - moment, 1))

    assert ask_all(service) == {name_model(bundles / "third")}
    assert reload(service, folder=bundles / "second").raise_for_status().json()["workers"] == 2
    assert ask_all(service) == {name_model(bundles / "second")}


def test_a_worker_that_dies_during_a_reload_does_not_stop_it(service, bundles):
    """A worker that is killed in the middle of a reload costs neither the reload nor the others' agreement."""
    starts = service.log.count("Service sentigate initialized")
    with ThreadPoolExecutor(1) as caller:
        asked = caller.submit(reload, service, folder=bundles / "second")
        wait_until(lambda: [*(service.state / "serving").glob("*/pending.json")] or asked.done())
        assert not asked.done(), "the reload was over before a worker could be killed"
        victim = service.find_workers()[0]
        victim.kill()
        try:
            answered = asked.result().status_code
        except httpx.TransportError:
            answered = 0  # it was the worker that was asked
    service.wait_for_workers(starts + 1)

    wait_until(lambda: len(ask_all(service)) == 1, lambda: f"answers from {ask_all(service)}")
    assert answered in {200, 0}
    if answered == 200:
        assert ask_all(service) == {name_model(bundles / "second")}
    assert reload(service, folder=bundles / "third").status_code == 200


def test_a_bundle_that_does_harm_takes_nothing_away(service, bundles, webs, tmp_path, record_property):
    """One that kills, one that hangs, two that are huge, one that drips: no request fails, no worker dies of it.

    The good reload that is asked for meanwhile is done within 25 seconds.
    """
    harmful = {
        "kills": {"folder": make_killing_bundle(tmp_path / "kills")},
        "swells": {"folder": make_swelling_bundle(tmp_path / "swells", 2**34)},
        "is huge": {"folder": make_huge_bundle(tmp_path / "huge")},
        "hangs": {"folder": make_hanging_bundle(tmp_path / "hangs")},
        "drips": {"uri": f"{webs['dripping']}/bundle"},
    }
    workers, seconds = service.find_workers(), {}
    with Load(service, clients=3) as load, ThreadPoolExecutor(1) as caller:
        for place, (name, wanted) in enumerate(harmful.items()):
            started = time.monotonic()
            asked = caller.submit(reload, service, **wanted)
            time.sleep(0.5)  # so that it is the first to come, on a busy machine, too
            good = bundles / ("second", "third")[place % 2]
            while (answer := reload(service, folder=good)).status_code == 409:
                time.sleep(0.2)
            seconds[name] = round(time.monotonic() - started, 1)
            assert_bad_model(asked.result())
            assert answer.json().get("model_digest") == name_model(good)[0], answer.text
    record_property("seconds until the next good reload was done", seconds)

    assert load.list_failures() == []
    assert service.find_workers() == workers
    assert max(seconds.values()) < 25
    assert not list((service.state / "serving").rglob("*.part"))


def test_who_changed_what_is_in_the_audit_log(service, bundles):
    """Each change has a line before it is made and one after, with the digests and without secrets."""
    path = service.state / "audit.jsonl"
    known = len(path.read_text().splitlines())
    first, second = (name_model(bundles / name)[0] for name in ("first", "second"))
    reload(service, {"x-request-id": "good"}, folder=bundles / "second")
    reload(service, {"x-request-id": "bad"}, uri="https://ann:marmalade@elsewhere/a?key=marmalade")
    service.request("DELETE", "/canary", headers={**service.operator, "x-request-id": "canary"})
    lines = path.read_text().splitlines()[known:]

    keys = ("request_id", "action", "outcome", "source", "before", "after", "code")
    entries = [tuple(json.loads(line).get(key) for key in keys) for line in lines]
    was, is_now = {"model": first, "canary": None}, {"model": second, "canary": None}
    folder, uri = f"folder {bundles / 'second'}", "uri https://elsewhere/a"
    assert entries == [
        ("good", "POST /reload", "asked", folder, was, None, None),
        ("good", "POST /reload", "done", folder, was, is_now, None),
        ("bad", "POST /reload", "asked", uri, is_now, None, None),
        ("bad", "POST /reload", "refused", uri, is_now, is_now, "bad_model"),
        ("canary", "DELETE /canary", "asked", "", is_now, None, None),
        ("canary", "DELETE /canary", "done", "", is_now, is_now, None),
    ]
    assert "marmalade" not in service.log + path.read_text()


def test_what_cannot_be_recorded_is_not_done(service, bundles):
    """Without an audit log no model is changed, and predictions go on."""
    path = service.state / "audit.jsonl"
    path.rename(path.with_suffix(".away"))
    path.mkdir()
    try:
        refused = reload(service, folder=bundles / "second")
        ended = service.request("DELETE", "/canary")
    finally:
        path.rmdir()
        path.with_suffix(".away").rename(path)

    assert [(one.status_code, one.json()["code"]) for one in (refused, ended)] == [(507, "unrecorded")] * 2
    assert ask_all(service) == {name_model(bundles / "first")}
    assert reload(service, folder=bundles / "second").status_code == 200


def test_a_request_to_open_that_nobody_made_is_ignored(service, bundles, tmp_path):
    """A pending state that a dead worker left, or anybody wrote, is removed; no worker opens what it names."""
    (home,) = (path.parent for path in (service.state / "serving").glob("*/models"))
    workers, killing = service.find_workers(), make_killing_bundle(tmp_path / "kills")
    write_desired_state(home / PENDING_FILE, DesiredState("stale", str(killing), "9"))
    wait_until(lambda: not (home / PENDING_FILE).exists())

    assert reload(service, folder=bundles / "second").json()["workers"] == 2
    assert service.find_workers() == workers


def test_a_choice_that_kills_is_taken_up_by_no_worker(service, bundles, tmp_path):
    """Where what is served kills, those that answer go on, and one that starts answers from the model of the start."""
    (home,) = (path.parent for path in (service.state / "serving").glob("*/models"))
    starts = service.log.count("Service sentigate initialized")
    write_desired_state(home / SERVED_FILE, DesiredState("evil", str(make_killing_bundle(tmp_path / "kills")), "9"))
    service.find_workers()[0].kill()
    service.wait_for_workers(starts + 1)
    wait_until(lambda: service.log.count("following a reload failed (SwitchError)") >= 1)
    workers = service.find_workers()

    assert name_model(bundles / "first") in ask_all(service)
    assert reload(service, folder=bundles / "second").json()["workers"] == 2
    wait_until(lambda: ask_all(service) == {name_model(bundles / "second")})
    assert service.find_workers() == workers


def test_no_reload_left_a_traceback(shared):
    """Whatever the tests before asked for, the service's log has no traceback."""
    assert "Traceback" not in shared.log


@pytest.mark.extended
def test_a_bundle_that_is_too_slow_changes_nothing(store, bundles, tmp_path, record_property):
    """A bundle that takes too long to open is refused, and so is a bad one that is asked for right after it."""
    trips = find_trips(tmp_path)
    slow = make_slow_bundle(tmp_path / "slow", trips)
    worse = make_slow_bundle(tmp_path / "worse", trips, labels=("bad", "good"))
    with run_service(store, tmp_path / "service", SENTIMENT_WORKERS=TWO_WORKERS) as service:
        service.wait_for_workers(2)
        before = ask_all(service)
        refused, seconds = zip(*(time_reload(service, folder) for folder in (slow, worse)), strict=True)
        record_property("seconds until each was refused", seconds)

        assert [(one.status_code, one.json().get("code")) for one in refused] == [(422, "bad_model")] * 2
        assert "was not done after 18 s" in refused[0].json()["message"]
        assert ask_all(service) == before
        assert "Traceback" not in service.log


def time_reload(service: Service, folder: Path) -> tuple[httpx.Response, float]:
    started = time.monotonic()
    return reload(service, folder=folder), round(time.monotonic() - started, 1)


def find_trips(folder: Path, seconds: float = SLOW_SECONDS) -> int:
    """Return how often a slow bundle has to turn for one call to take as long as it should."""
    trips = 100_000
    predictor = open_predictor(make_slow_bundle(folder / "measured", trips))
    started = time.perf_counter()
    predictor.predict(["good"])
    return round(trips * seconds / (time.perf_counter() - started))


def make_slow_bundle(folder: Path, trips: int, labels: tuple[str, ...] = ("negative", "neutral", "positive")) -> Path:
    """Return a bundle that is sound, but for its labels perhaps, and turns so often before each answer."""
    bundle = make_tiny_bundle(folder)
    model = onnx.load(bundle.model)
    state = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 1]) for name in ("before", "after")]
    flags = [helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("more", "still")]
    turn = helper.make_tensor_value_info("turn", TensorProto.INT64, [])
    step = [helper.make_node("Sin", ["before"], ["after"]), helper.make_node("Identity", ["more"], ["still"])]
    body = helper.make_graph(step, "body", [turn, flags[0], state[0]], [flags[1], state[1]])
    at = next(i for i, node in enumerate(model.graph.node) if node.output[0] == "logits")
    model.graph.node.insert(at, helper.make_node("Loop", ["trips", "", "count"], ["turned"], body=body))
    model.graph.node.insert(at + 1, helper.make_node("Add", ["count", "turned"], ["moved"]))
    model.graph.node[at + 2].input[0] = "moved"
    model.graph.initializer.append(numpy_helper.from_array(np.array(trips, dtype=np.int64), "trips"))
    onnx.save(model, bundle.model)
    return seal_bundle(folder, make_card(labels)).folder


@pytest.fixture(scope="module")
def hasty(store, webs, tmp_path_factory) -> Iterator[Service]:
    """A service that gives an answer up after two seconds."""
    variables = {"SENTIMENT_TIMEOUT_SECONDS": str(TIMEOUT_SECONDS), "SENTIMENT_RELOAD_SOURCES": f"/,{webs['hold']}"}
    with run_service(store, tmp_path_factory.mktemp("hasty"), **variables) as service:
        yield service


@pytest.mark.parametrize("slow", ["to fetch", "to open"])
def test_a_reload_that_was_given_up_changes_nothing(hasty, webs, tmp_path, slow):
    """Whoever was told that a reload took too long does not see the model change afterwards."""
    before = hasty.get("/model").json()
    Hold.released.clear()
    if slow == "to fetch":
        late = reload(hasty, uri=f"{webs['hold']}/second")
    else:
        late = reload(hasty, folder=make_slow_bundle(tmp_path / "slow", find_trips(tmp_path, seconds=1.5)))
    Hold.released.set()
    until = time.monotonic() + 4
    wait_until(lambda: time.monotonic() > until or hasty.get("/model").json() != before)

    assert late.status_code == 504
    assert hasty.get("/model").json() == before


def test_an_answer_that_was_given_up_is_said_in_the_one_shape(hasty, webs):
    """A 504 is a problem with a code, and names the request, as any other error."""
    Hold.released.clear()
    late = reload(hasty, {"x-request-id": "mine"}, uri=f"{webs['hold']}/second")
    Hold.released.set()

    assert (late.status_code, late.json().get("code"), late.headers.get("x-request-id")) == (504, "timeout", "mine")


def test_a_worker_that_starts_is_counted(tmp_path):
    """A worker that starts while another counts those that live starts well, and a reload waits for it, too."""
    ended = threading.Event()
    counting = threading.Thread(target=lambda: [list_workers(tmp_path) for _ in iter(ended.is_set, True)])
    counting.start()
    try:
        for _ in range(5000):
            worker = ModelSwitch(tmp_path, DesiredState(0, "", "first"), lambda _: None, try_bundle)
            living = list_workers(tmp_path)
            worker.close()
            assert living == [str(os.getpid())]
    finally:
        ended.set()
        counting.join()


def test_a_new_server_does_not_take_up_the_reload_of_an_old_one(store, bundles, tmp_path):
    """In a container every start has the same process id; it serves what it was started with all the same."""
    namespace = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
    if os.geteuid() != 0 or subprocess.run([*namespace, "true"], check=False).returncode:
        pytest.skip("only root can start a process in a namespace of its own, and not everywhere")
    with run_service(store, tmp_path / "service", start=False) as service:
        service.wrapper = namespace
        service.start()
        started_with = ask_all(service)
        reload(service, folder=bundles / "second").raise_for_status()
        service.kill()
        service.start()

        assert ask_all(service) == started_with
