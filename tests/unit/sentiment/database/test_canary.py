"""What champion and canary answered in a window, alike in both databases."""

from datetime import UTC, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from sentiment.database.canary_figures import read_figures
from sentiment.database.predictions import add_feedback, add_predictions
from sentiment.governance.canary_rule import Figures
from service.api.ids import make_id
from tests.unit.sentiment.database.test_history import NOW, make_row

WINDOW = (NOW, NOW + timedelta(minutes=10))


def add(engine: sa.Engine, rows: list[dict[str, Any]], feedback: tuple[tuple[str, str], ...] = ()) -> None:
    with engine.begin() as connection:
        add_predictions(connection, rows)
        if feedback:
            said = [
                {
                    "id": make_id(),
                    "at": NOW + timedelta(minutes=5),
                    "prediction_id": one,
                    "label": label,
                    "request_id": "f",
                }
                for one, label in feedback
            ]
            add_feedback(connection, said)


def make(version: str, number: int, **values: Any) -> dict[str, Any]:
    return make_row(
        id=make_id(),
        model_version=version,
        request_id=f"{version}-{number}",
        at=NOW + timedelta(seconds=number),
        **values,
    )


def test_each_model_has_its_figures(engine):
    """Predictions, labels, confidence, latency and feedback are told apart by the version of the answer."""
    champion = [
        make("4", number, confidence=0.5, uncertain=number < 5, latency_ms=float(number)) for number in range(1, 101)
    ]
    canary = [make("5", number, label="negative", confidence=0.75, latency_ms=150.0) for number in range(10)]
    add(engine, [*champion, *canary], ((canary[0]["id"], "negative"), (canary[1]["id"], "positive")))

    before, after = read_figures(engine, "4", "5", WINDOW, 1.5)

    assert (before.answers, before.requests, before.uncertain, before.p95_ms, before.slow) == (100, 100, 4, 95.0, 0)
    assert (before.mean_confidence, before.labels, before.feedback) == (0.5, {"positive": 100}, 0)
    assert (after.answers, after.labels, after.slow) == (10, {"negative": 10}, 10)
    assert (after.confidence_squares, after.feedback, after.right) == (pytest.approx(5.625), 2, 1)


def test_a_batch_is_one_request(engine):
    """Texts that were asked together share a request; requests that share a name do not."""
    together = [make("5", 1) for _ in range(4)]
    named = [{**make("5", number), "request_id": "mine"} for number in (2, 3)]
    add(engine, [*together, *named])

    _, after = read_figures(engine, "4", "5", WINDOW, 1.5)

    assert (after.answers, after.requests, after.squared_sizes) == (6, 3, 18)
    assert after.independent == 2


def test_what_is_outside_the_window_does_not_count(engine):
    """What was answered before the canary began says nothing about it."""
    add(engine, [make("4", -1), make("4", 600), make("4", 0)])
    before, after = read_figures(engine, "4", "5", WINDOW, 1.5)

    assert before.answers == 1
    assert after == Figures(labels={})
    assert WINDOW[0].tzinfo is UTC
