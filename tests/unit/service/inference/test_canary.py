"""Which requests a canary answers, and what happens when it does not."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from math import sqrt
from pathlib import Path

import pytest

from sentiment.bundle.bundle import Bundle, seal_bundle
from sentiment.bundle.predictor import Predictor, open_predictor
from sentiment.bundle.trial import try_bundle
from service.api.ids import make_id
from service.inference.canary import MAX_FAILURES, TIMINGS, CanaryCaller, CanaryTimings, is_chosen
from service.models.desired_state import DesiredCanary, DesiredState
from service.models.switch import ModelSwitch
from service.settings import ServiceSettings
from tests.conftest import make_tiny_bundle


class Faulty:
    """A predictor that does what its fault is before each answer."""

    def __init__(self, predictor: Predictor, fault: Callable[[], object]) -> None:
        self._predictor, self._fault = predictor, fault
        self.labels, self.bundle = predictor.labels, predictor.bundle

    def predict(self, texts):
        self._fault()
        return self._predictor.predict(texts)


@pytest.fixture
def bundles(tmp_path: Path) -> tuple[Bundle, Bundle]:
    """A champion and a canary."""
    canary = make_tiny_bundle(tmp_path / "canary")
    return make_tiny_bundle(tmp_path / "champion"), seal_bundle(canary.folder, replace(canary.card, max_tokens=8))


@pytest.fixture
def serve(tmp_path, bundles) -> Iterator[Callable[..., tuple[ModelSwitch, CanaryCaller]]]:
    """What starts a canary with a fault, in the only worker of a server."""
    made = []

    def start(
        fault: Callable[[], object] = lambda: None, seconds: float = 60, timings: CanaryTimings = TIMINGS
    ) -> tuple[ModelSwitch, CanaryCaller]:
        champion, canary = bundles

        def open_model(folder: Path) -> Predictor:
            predictor = open_predictor(folder)
            return Faulty(predictor, fault) if folder == canary.folder else predictor

        switch = ModelSwitch(tmp_path / "serving", DesiredState("", str(champion.folder), "4"), open_model, try_bundle)
        switch.start()
        switch.start_canary(lambda *_: (canary.folder, "5"), 0.5, seconds, threading.Event())
        caller = CanaryCaller(switch, ServiceSettings(), lambda _: None, timings)
        made.extend([caller, switch])
        return switch, caller

    yield start
    for one in made:
        one.close()


def ask(switch: ModelSwitch, caller: CanaryCaller) -> object:
    """Return what the canary says, and count it as the service does."""
    canary = switch.canary
    answered = asyncio.run(caller.try_to_answer(["good"], canary))
    if isinstance(answered, str) and answered:
        caller.note_failure(canary, answered)
    return answered


def choose(share: float, version: str = "5") -> DesiredCanary:
    return DesiredCanary("id", "/bundle", version, share, 0.0)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("name", [make_id, iter(range(10**9)).__next__], ids=["made here", "counted by a caller"])
def test_the_share_is_that_of_the_requests(share, name):
    """Over many requests about the share is chosen, whoever names them."""
    found = sum(is_chosen(str(name()), choose(share)) for _ in range(20_000)) / 20_000
    assert abs(found - share) < 5 * sqrt(share * (1 - share) / 20_000)


def test_who_is_chosen_stays_chosen():
    """A larger share of the same version takes in a smaller one; another version chooses anew."""
    names = [f"mine-{number}" for number in range(2000)]
    few, more, other = (
        {one for one in names if is_chosen(one, choice)} for choice in (choose(0.1), choose(0.3), choose(0.1, "6"))
    )

    assert few < more
    assert len(few & other) < 60
    assert all(is_chosen(one, choose(1)) for one in names)


def test_a_canary_answers_under_its_version(serve, bundles):
    """What a canary says carries its version and its digest."""
    switch, caller = serve()
    ((prediction, served),) = ask(switch, caller)

    assert (served.version, served.predictor.bundle.card.digest) == ("5", bundles[1].card.digest)
    assert prediction.label in switch.current.predictor.labels


def test_a_canary_that_raises_is_given_up(serve, sentence):
    """After a few failures nobody asks it any more, and why stands in the status, without what a user wrote."""
    switch, caller = serve(lambda: (_ for _ in ()).throw(RuntimeError("good")))

    assert [ask(switch, caller) for _ in range(MAX_FAILURES)] == ["RuntimeError"] * MAX_FAILURES
    assert switch.canary is None
    assert switch.read_canary_status().reason == sentence


def test_a_canary_that_is_late_is_given_up(serve):
    """Who waits too long for a canary is told to ask the champion."""
    switch, caller = serve(lambda: time.sleep(0.3), timings=CanaryTimings(0.05, 0.0))

    assert [ask(switch, caller) for _ in range(MAX_FAILURES)] == ["TimeoutError"] * MAX_FAILURES
    assert switch.canary is None


def test_a_canary_that_ends_meanwhile_has_not_failed(serve, sentence):
    """A request that was chosen just before the end is the champion's, and no failure."""
    switch, caller = serve(seconds=1.5)
    canary = switch.canary
    time.sleep(1.55)

    assert switch.canary is None
    assert asyncio.run(caller.try_to_answer(["good"], canary)) == ""
    assert switch.read_canary_status().reason == sentence


def test_a_worker_that_cannot_open_the_canary_again_gives_it_up(serve, bundles, tmp_path):
    """A worker that starts must answer: a canary that is gone is no reason not to."""
    serve()
    bundles[1].model.unlink()

    late = ModelSwitch(tmp_path / "serving", DesiredState("", str(bundles[0].folder), "4"), open_predictor, try_bundle)
    late.poll()
    late.poll()
    assert (late.current.version, late.canary) == ("4", None)
    assert "could not open it again" in late.read_canary_status().reason
    late.close()
