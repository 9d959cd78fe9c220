"""The client against the real service: every operation, with keys and without."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sentigate_client import AsyncSentigateClient, SentigateClient, errors
from sentigate_client.answers import Prediction, Problem
from sentiment.bundle.bundle import seal_bundle
from service.security.keys import make_key, write_key
from tests.conftest import make_tiny_bundle
from tests.support.serving import Service, make_store, run_service

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def service(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that takes few texts at once."""
    with run_service(store, tmp_path_factory.mktemp("client"), SENTIMENT_MAX_BATCH_TEXTS="10") as service:
        yield service


@pytest.fixture
def client(service: Service) -> Iterator[SentigateClient]:
    """The client of the operator."""
    with SentigateClient(service.url, api_key=service.token) as client:
        yield client


def test_a_prediction_is_kept_under_the_id_of_the_request(client, service):
    """The answer carries the id that the client chose, and the log finds it."""
    answer = client.predict("what a day", request_id="mine-1", subject="person:7")

    assert answer.request_id == "mine-1"
    assert sum(answer.scores.values()) == pytest.approx(1)
    assert answer.confidence == max(answer.scores.values())
    assert client.feedback(answer.prediction_id, answer.label).prediction_id == answer.prediction_id


def test_a_batch_of_any_length_is_answered_in_order(client):
    """The service takes ten at once; empty and too long texts have problems in their places."""
    texts = [f"text {number} is fine" * (1 + number % 3) for number in range(35)]
    alone = [client.predict(text) for text in texts]
    texts[7], texts[30] = " ", "x" * 10_001
    found = client.predict_batch(texts)

    assert [place for place, one in enumerate(found) if isinstance(one, Problem)] == [7, 30]
    assert (found[7].code, found[30].code, found[30].limit) == ("empty_text", "text_too_long", 10_000)
    tokens = {place: one.tokens for place, one in enumerate(found) if isinstance(one, Prediction)}
    assert tokens == {place: one.tokens for place, one in enumerate(alone) if place in tokens}


def test_an_explanation_adds_up(client):
    """The weights of the words and the base are the confidence."""
    found = client.explain("great day")
    assert found.base + sum(word.weight for word in found.words) == pytest.approx(found.confidence, abs=1e-4)
    assert "great day"[found.words[1].start : found.words[1].end] == found.words[1].text == "day"


def test_what_the_service_says_of_itself_is_read(client):
    """Health, readiness, card and metrics."""
    card, health = client.model(), client.health()

    assert client.ready() is True
    assert card.labels == tuple(sorted(card.labels))
    assert health.model_version == card.version == client.predict("hm").model_version
    assert health.workers.living == 1
    assert health.prediction_log is not None
    assert health.prediction_log.takes_entries
    assert f'version="{card.version}"' in client.metrics()


def test_another_model_is_loaded_and_tried(client, service, tmp_path: Path):
    """A reload and a canary, from the start to the end."""
    before = client.model().digest
    for name, tokens in (("champion", 12), ("canary", 8)):
        bundle = make_tiny_bundle(tmp_path / name)
        seal_bundle(bundle.folder, replace(bundle.card, max_tokens=tokens))
    reloaded = client.reload(folder=str(tmp_path / "champion"))
    canary = client.start_canary(0.5, 10, folder=str(tmp_path / "canary"))

    assert before != reloaded.model_digest == client.model().digest != canary.model_digest
    assert (canary.share, canary.minutes, canary.workers) == (0.5, 10, 1)
    assert client.health().canary.status == "on"
    assert client.stop_canary().model_version == reloaded.model_version
    assert client.health().canary.status == "ended"
    with pytest.raises(errors.InvalidRequestError) as raised:
        client.reload(version="99")
    assert raised.value.code == "bad_model"


def test_refusals_have_their_kinds(client, service):
    """What a caller may catch, with the code of the service."""
    with pytest.raises(errors.InvalidRequestError) as raised:
        client.predict("")
    assert (raised.value.status, raised.value.code) == (422, "empty_text")
    with pytest.raises(errors.InvalidRequestError) as raised:
        client.feedback(client.predict("hm").prediction_id, "no label")
    assert raised.value.code == "unknown_label"
    with pytest.raises(errors.InvalidRequestError) as raised:
        client.predict("half a character \ud800")
    assert raised.value.status == 400
    with SentigateClient(service.url, api_key="") as stranger, pytest.raises(errors.UnauthorizedError) as raised:
        stranger.reload()
    assert raised.value.code == "token_wanted"


def test_many_tasks_ask_at_once(service):
    """One client of asyncio serves a whole program."""

    async def ask() -> list[Prediction]:
        async with AsyncSentigateClient(service.url, api_key="") as client:
            return await asyncio.gather(*(client.predict(f"text {number}") for number in range(50)))

    answers = asyncio.run(ask())
    assert len({answer.prediction_id for answer in answers}) == 50


def test_a_key_has_its_scope_and_its_rate(store, tmp_path):
    """A key opens what it is for; what is over its rate comes back with the time to wait."""
    key, kept = make_key("caller", ["predict"])
    settings = {"SENTIMENT_API_KEYS": write_key(kept), "SENTIMENT_RATE_LIMIT": "5/hour"}
    with run_service(store, tmp_path, **settings) as service:
        with SentigateClient(service.url, api_key=key) as client:
            assert client.predict("hm").label
            with pytest.raises(errors.ForbiddenError):
                client.reload()
            with pytest.raises(errors.RateLimitedError) as raised:
                client.predict_batch(["hm"] * 6)
        assert raised.value.retry_after_seconds > 60
        with SentigateClient(service.url, api_key="sg_wrong") as stranger, pytest.raises(errors.UnauthorizedError):
            stranger.predict("hm")
