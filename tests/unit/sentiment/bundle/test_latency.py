"""How latency is sampled; how long it takes is the machine's affair."""

from collections.abc import Sequence

import pytest

from sentiment.bundle.bundle import Bundle
from sentiment.bundle.latency import measure_latency
from sentiment.bundle.predictor import Predictor


class RecordingPredictor:
    """Keeps the texts of each call."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def predict(self, texts: Sequence[str]) -> list[object]:
        self.calls.append(list(texts))
        return []


@pytest.mark.parametrize(("texts", "asked"), [(1, 1), (99, 99), (100, 100), (101, 100), (250, 100)])
def test_up_to_a_hundred_texts_are_asked_one_at_a_time(texts: int, asked: int):
    """Latency is of single texts, and of no more than a hundred."""
    predictor = RecordingPredictor()
    measure_latency(predictor, [f"text {i}" for i in range(texts)])
    assert predictor.calls == [[f"text {i}"] for i in range(asked)]


def test_latency_is_a_median_and_a_95th_percentile(tiny_bundle: Bundle):
    """Both are in milliseconds, and the tail is not below the middle."""
    latency = measure_latency(Predictor(tiny_bundle), ["good", "bad", "good " * 14])
    assert set(latency) == {"p50", "p95"}
    assert 0 <= latency["p50"] <= latency["p95"]
