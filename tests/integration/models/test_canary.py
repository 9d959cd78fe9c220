"""The real service with a canary: a share of live requests is answered by a second model."""

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from math import sqrt
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from sentiment.bundle.bundle import open_bundle, seal_bundle
from tests.conftest import make_tiny_bundle
from tests.integration.models.test_reload import Load, ask_all, find_trips, make_slow_bundle, name_model, reload, tell
from tests.support.serving import Service, make_store, run_service, wait_until

pytestmark = pytest.mark.slow

SHARE = 0.3
FAILING_TOKENS = 7
FAILING_TEXT = "word " * (FAILING_TOKENS - 2)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return make_store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def bundles(tmp_path_factory) -> Path:
    """A champion, a canary that counts fewer tokens, and some that cannot be one."""
    folder = tmp_path_factory.mktemp("bundles")
    for name, tokens in (("champion", 16), ("canary", 8), ("third", 12)):
        bundle = make_tiny_bundle(folder / name)
        seal_bundle(bundle.folder, replace(bundle.card, max_tokens=tokens))
    corrupt = make_tiny_bundle(folder / "corrupt").model
    corrupt.write_bytes(corrupt.read_bytes()[:-1] + b"?")
    make_tiny_bundle(folder / "other_labels", labels=("bad", "fair", "good"))
    make_failing_bundle(folder / "failing")
    return folder


def make_failing_bundle(folder: Path) -> Path:
    """Return a bundle whose graph fails over texts of one length, which nobody asks before they come."""
    bundle = make_tiny_bundle(folder)
    model = onnx.load(bundle.model)
    at = next(place for place, node in enumerate(model.graph.node) if node.output[0] == "logits")
    nodes = [
        helper.make_node("Cast", ["count"], ["whole"], to=onnx.TensorProto.INT64),
        helper.make_node("Gather", ["places", "whole"], ["place"]),
        helper.make_node("Gather", ["ones", "place"], ["one"]),
        helper.make_node("Mul", ["count", "one"], ["counted"]),
    ]
    for offset, node in enumerate(nodes):
        model.graph.node.insert(at + offset, node)
    model.graph.node[at + len(nodes)].input[0] = "counted"
    places = np.zeros(64, dtype=np.int64)
    places[FAILING_TOKENS] = 1000
    model.graph.initializer.append(numpy_helper.from_array(places, "places"))
    model.graph.initializer.append(numpy_helper.from_array(np.ones(1, dtype=np.float32), "ones"))
    onnx.save(model, bundle.model)
    return seal_bundle(folder, bundle.card).folder


@pytest.fixture(scope="module")
def shared(store, tmp_path_factory) -> Iterator[Service]:
    with run_service(store, tmp_path_factory.mktemp("canary"), SENTIMENT_WORKERS="2") as service:
        service.wait_for_workers(2)
        yield service


@pytest.fixture
def service(shared, bundles) -> Service:
    """A service with two workers, both on the champion, and no canary."""
    reload(shared, folder=bundles / "champion").raise_for_status()
    return shared


def start(service: Service, folder: Path, share: float = SHARE, minutes: float = 10) -> httpx.Response:
    return service.post("/canary", {"folder": str(folder), "share": share, "minutes": minutes})


def stop(service: Service) -> httpx.Response:
    return service.request("DELETE", "/canary")


def read_canary(service: Service) -> dict[str, Any]:
    return service.get("/health").json()["canary"]


def count(service: Service, name: str) -> float:
    lines = service.get("/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def assert_share(answers: list[dict[str, Any]], model: tuple[str, int], share: float = SHARE) -> None:
    """See that a model gave about its share; the bound is five standard deviations of a binomial."""
    found = sum(tell(one) == model for one in answers) / len(answers)
    assert abs(found - share) < 5 * sqrt(share * (1 - share) / len(answers)), (found, len(answers))


def test_a_canary_answers_its_share_and_takes_over_without_a_failed_request(service, bundles):
    """From the start of a canary to its promotion every request is answered, by one of the two models alone."""
    champion, canary = name_model(bundles / "champion"), name_model(bundles / "canary")
    with Load(service) as load:
        answer = start(service, bundles / "canary").raise_for_status().json()
        on = time.monotonic()
        load.wait_for_more(600)
        reload(service, folder=bundles / "canary").raise_for_status()
        done = time.monotonic()
        load.wait_for_more()

    assert (answer["model_digest"], answer["workers"], answer["share"]) == (canary[0], 2, SHARE)
    assert load.list_failures() == []
    assert {tell(one) for one in load.list_answers()} == {champion, canary}
    during = [one.json() for sent, one in load.answers if on < sent < done - 1]
    assert_share(during, canary)
    assert {tell(one) for one in load.list_answers(since=done)} == {canary}
    assert read_canary(service)["status"] == "ended"


def test_a_canary_is_stopped_without_a_failed_request(service, bundles):
    """Once `DELETE /canary` is answered no worker asks the canary; to end one that is not there is well, too."""
    start(service, bundles / "canary", share=1).raise_for_status()
    with Load(service) as load:
        ended = stop(service).raise_for_status().json()
        done = time.monotonic()
        load.wait_for_more()

    assert load.list_failures() == []
    assert {tell(one) for one in load.list_answers(since=done)} == {name_model(bundles / "champion")}
    assert ended["workers"] == 2
    assert stop(service).status_code == 200
    assert "the operator asked for it" in read_canary(service)["reason"]


def test_what_is_on_is_said(service, bundles):
    """Health, card and counters name the canary, and count what both models answered meanwhile."""
    version = start(service, bundles / "canary").raise_for_status().json()["model_version"]
    before = count(service, "sentigate_canary_answers_total")
    answers = [service.post("/predict", {"text": "good"}).json() for _ in range(40)]

    health, card = read_canary(service), service.get("/model").json()
    assert (health["status"], health["model_version"], health["share"]) == ("on", version, SHARE)
    assert 0 < health["seconds_left"] <= 600
    assert (card["canary"]["version"], card["canary"]["share"]) == (version, SHARE)
    assert count(service, 'sentigate_model_info{candidate="svm",dataset="made"') in {0, 2}
    assert 'role="canary"' in service.get("/metrics").text
    assert count(service, "sentigate_canary_answers_total") - before == 40
    assert {one["model_version"] for one in answers} == {version, card["version"]}


def test_a_request_of_one_name_goes_to_one_model(service, bundles):
    """Whoever repeats a request under its id gets the answer of the same model, whichever worker is asked."""
    start(service, bundles / "canary", share=0.5).raise_for_status()

    for name in ("mine-1", "mine-2", "mine-3", "mine-4"):
        answers = [service.post("/predict", {"text": "good"}, headers={"x-request-id": name}) for _ in range(8)]
        assert len({one.json()["model_version"] for one in answers}) == 1


def test_a_batch_and_an_explanation_are_of_one_model(service, bundles):
    """All texts of a batch are answered by one model; an explanation is always the champion's."""
    start(service, bundles / "canary", share=0.5).raise_for_status()

    batches = [service.post("/batch_predict", {"texts": ["good"] * 5}).json()["predictions"] for _ in range(20)]
    assert [len({one["model_digest"] for one in batch}) for batch in batches] == [1] * 20
    assert len({batch[0]["model_digest"] for batch in batches}) == 2
    explained = [service.post("/explain", {"text": "good day"}).json()["model_digest"] for _ in range(10)]
    assert set(explained) == {name_model(bundles / "champion")[0]}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("corrupt", "model.onnx"),
        ("other_labels", "a canary wants the same labels"),
        ("champion", "answers already"),
        ("not_there", "is not a model bundle"),
    ],
)
def test_a_model_that_cannot_be_a_canary_changes_nothing(service, bundles, name, said):
    """A damaged, other or missing model is refused in one sentence, and every answer is the champion's."""
    with Load(service, clients=2) as load:
        refused = start(service, bundles / name, share=1)
        load.wait_for_more(10)

    assert (refused.status_code, refused.json()["code"]) == (422, "bad_model")
    assert said in refused.json()["message"]
    assert load.list_failures() == []
    assert ask_all(service) == {name_model(bundles / "champion")}
    assert read_canary(service) == "off" or read_canary(service)["status"] == "ended"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"version": "4", "share": 0, "minutes": 1}, "share is not above 0"),
        ({"version": "4", "share": 1.5, "minutes": 1}, "share is above 1"),
        ({"version": "4", "share": "all", "minutes": 1}, "share has the wrong type"),
        ({"version": "4", "share": 0.1}, "minutes is missing"),
        ({"version": "4", "share": 0.1, "minutes": 1e9}, "minutes is above"),
        ({"version": "4", "folder": "/x", "share": 0.1, "minutes": 1}, "the body names more than one model"),
    ],
)
def test_a_canary_that_cannot_be_meant_is_refused(shared, body, said):
    """What is wrong with a request is said in one sentence."""
    refused = shared.post("/canary", body)

    assert (refused.status_code, refused.json()["code"]) == (422, "wrong_type")
    assert said in refused.json()["message"]


def test_a_canary_that_fails_backs_out_by_itself(service, bundles):
    """Each request that the canary fails is answered by the champion, and after a few nobody asks it any more."""
    before = count(service, "sentigate_canary_failures_total")
    start(service, bundles / "failing", share=1).raise_for_status()
    assert service.post("/predict", {"text": "good"}).json()["model_digest"] != name_model(bundles / "champion")[0]

    with Load(service, clients=2, text=FAILING_TEXT) as load:
        wait_until(lambda: {read_canary(service)["status"] for _ in range(10)} == {"ended"})
        load.wait_for_more()

    assert load.list_failures() == []
    assert {one["model_digest"] for one in load.list_answers()} == {name_model(bundles / "champion")[0]}
    assert "it failed 3 requests" in read_canary(service)["reason"]
    assert 3 <= count(service, "sentigate_canary_failures_total") - before < 20
    assert FAILING_TEXT not in service.log


def test_a_canary_that_is_slow_backs_out_by_itself(service, bundles, tmp_path, record_property):
    """Who waits for a canary for over two seconds is answered by the champion; soon nobody has to wait."""
    slow = make_slow_bundle(tmp_path / "slow", find_trips(tmp_path, seconds=2.5))
    start(service, slow, share=0.5).raise_for_status()

    with Load(service, clients=4) as load:
        began = time.monotonic()
        wait_until(lambda: {read_canary(service)["status"] for _ in range(10)} == {"ended"})
        record_property("seconds until a slow canary is out", round(time.monotonic() - began, 1))
        done = time.monotonic()
        load.wait_for_more()

    assert load.list_failures() == []
    assert {tell(one) for one in load.list_answers(since=done)} == {name_model(bundles / "champion")}
    assert "TimeoutError" in read_canary(service)["reason"]


def test_a_canary_ends_when_its_time_is_over(service, bundles):
    """Whoever started it may die: after its minutes the champion answers everything."""
    start(service, bundles / "canary", share=1, minutes=0.02).raise_for_status()

    wait_until(lambda: ask_all(service) == {name_model(bundles / "champion")}, seconds=10)
    assert "its time was over" in read_canary(service)["reason"]


def test_a_killed_worker_comes_back_with_the_canary(service, bundles):
    """After `kill -9` a new worker asks the canary for its share, as the others do."""
    start(service, bundles / "canary", share=1).raise_for_status()
    starts = service.log.count("Service sentigate initialized")
    killed = service.find_workers()[0]
    killed.kill()
    service.wait_for_workers(starts + 1)
    wait_until(lambda: len(service.find_workers()) == 2 and killed not in service.find_workers())

    assert ask_all(service) == {name_model(bundles / "canary")}
    assert stop(service).raise_for_status().json()["workers"] == 2
    assert ask_all(service) == {name_model(bundles / "champion")}


def test_a_reload_to_a_third_model_ends_the_canary(service, bundles):
    """A canary was measured against a champion that is gone: it goes in the same switch."""
    start(service, bundles / "canary", share=0.5).raise_for_status()
    reload(service, folder=bundles / "third").raise_for_status()

    assert ask_all(service) == {name_model(bundles / "third")}
    assert "was loaded" in read_canary(service)["reason"]


def test_another_share_replaces_the_first(service, bundles):
    """A canary that does well may be asked for more, while it is on."""
    start(service, bundles / "canary", share=0.1).raise_for_status()
    start(service, bundles / "canary", share=1).raise_for_status()

    assert ask_all(service) == {name_model(bundles / "canary")}
    assert read_canary(service)["share"] == 1


def test_starts_stops_and_reloads_at_once_are_never_mixed(service, bundles):
    """Whatever is asked at once, each request is answered, and in the end all workers agree."""
    asks = [
        lambda: start(service, bundles / "canary", share=1),
        lambda: stop(service),
        lambda: reload(service, folder=bundles / "third"),
    ]
    with Load(service, clients=2) as load, ThreadPoolExecutor(3) as callers:
        statuses = Counter(one.status_code for _ in range(4) for one in callers.map(lambda ask: ask(), asks))

    assert set(statuses) <= {200, 409}
    assert load.list_failures() == []
    stop(service).raise_for_status()
    assert len(ask_all(service)) == 1


def test_disk_does_not_grow_with_canaries(service, bundles):
    """What a canary was copied to goes when it has ended."""
    for name in ("canary", "third", "failing"):
        start(service, bundles / name).raise_for_status()
    stop(service).raise_for_status()

    assert len(list((service.state / "serving").rglob("model.onnx"))) == 1


def test_no_canary_left_a_traceback(shared):
    """Whatever the tests before asked for, the service's log has no traceback."""
    assert "Traceback" not in shared.log


def test_a_service_ends_well_with_a_canary(store, bundles, tmp_path):
    """SIGTERM during a canary ends the service as it does without, and a new one starts without the canary."""
    with run_service(store, tmp_path, SENTIMENT_WORKERS="2") as service:
        service.wait_for_workers(2)
        start(service, bundles / "canary", share=0.5).raise_for_status()
        ask_all(service)
        began = time.monotonic()
        service.terminate()
        assert time.monotonic() - began < 10
        service.start()

        assert read_canary(service) == "off"
        assert "Traceback" not in service.log
        assert open_bundle(bundles / "canary").card.digest not in {digest for digest, _ in ask_all(service)}
