"""What the service answers becomes typed values, today and after the next version."""

from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest
from pydantic import BaseModel

from sentigate_client import answers
from sentigate_client.answers import Explanation, Health, Prediction, Problem, read_answer
from sentiment.bundle.bundle import Card
from service.api import schemas
from tests.unit.client.server import PREDICTION

WORKERS = {"living": 2, "current": 1}
OFF = {"status": "ok", "model_version": "5", "workers": WORKERS, "prediction_log": "off", "canary": "off"}


def test_an_answer_has_its_fields():
    """Each field arrives with its value."""
    assert vars(read_answer(Prediction, PREDICTION)) == PREDICTION


def test_a_field_of_a_later_service_is_ignored():
    """A client goes on when the service learns to say more, at any depth."""
    health = read_answer(Health, {**OFF, "shadow": "off", "workers": {**WORKERS, "new": 1}, "new": {}})
    assert health.workers == answers.Workers(2, 1)


def test_parts_that_are_off_are_none():
    """What is `off`, null or not there is None where there may be none."""
    health = read_answer(Health, OFF)
    assert (health.prediction_log, health.canary, health.shadow) == (None, None, None)
    assert read_answer(Problem, {"code": "empty_text", "message": "."}).limit is None


def test_parts_that_are_on_are_values():
    """A canary and its state are read."""
    canary = {"model_version": None, "share": 1, "status": "ended", "reason": "it failed", "seconds_left": 0}
    found = read_answer(Health, {**OFF, "canary": canary}).canary
    assert found == answers.OtherHealth(None, 1.0, "ended", "it failed")
    assert type(found.share) is float


def test_words_of_an_explanation_are_values():
    """A list of objects becomes a tuple of values."""
    words = [{"text": "great", "start": 0, "end": 5, "weight": 1}]
    found = read_answer(Explanation, {**PREDICTION, "base": 0.3, "words": words})
    assert found.words == (answers.WordWeight("great", 0, 5, 1.0),)


@pytest.mark.parametrize(
    ("name", "value"),
    [("label", 1), ("label", None), ("confidence", "0.7"), ("confidence", True), ("tokens", 5.0), ("tokens", True),
     ("scores", []), ("scores", {"positive": "1"}), ("uncertain", 0)],
)  # fmt: skip
def test_another_type_is_refused_by_name(name, value):
    """No value of another type reaches a caller under a typed name."""
    with pytest.raises(ValueError, match=f"^{name} is missing or of another type$"):
        read_answer(Prediction, {**PREDICTION, name: value})


@pytest.mark.parametrize("body", [{}, [], None, "text", 1])
def test_what_is_no_answer_is_refused(body):
    """Whatever JSON comes, it is an answer or a ValueError."""
    with pytest.raises(ValueError, match="label is missing"):
        read_answer(Prediction, body)


def test_an_answer_is_frozen():
    """Nobody changes an answer."""
    with pytest.raises(FrozenInstanceError):
        read_answer(Prediction, PREDICTION).label = "negative"


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (answers.Prediction, schemas.Answer),
        (answers.Explanation, schemas.Explanation),
        (answers.WordWeight, schemas.WordWeight),
        (answers.Problem, schemas.Problem),
        (answers.Feedback, schemas.FeedbackAnswer),
        (answers.Workers, schemas.WorkersHealth),
        (answers.LogHealth, schemas.LogHealth),
        (answers.OtherHealth, schemas.CanaryHealth),
        (answers.OtherHealth, schemas.ShadowHealth),
        (answers.Health, schemas.Health),
        (answers.Reloaded, schemas.ReloadAnswer),
        (answers.Canary, schemas.CanaryAnswer),
        (answers.Champion, schemas.CanaryEnd),
        (answers.ModelCard, Card),
    ],
)
def test_the_client_knows_fields_that_the_service_has(ours: type, theirs: Any):
    """A field that the service renames fails here; those that it adds do not."""
    known = set(theirs.model_fields if issubclass(theirs, BaseModel) else (one.name for one in fields(theirs)))
    assert {one.name for one in fields(ours)} - known <= {"version"}  # beside the card
