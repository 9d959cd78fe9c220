"""Which splits can train a candidate, and which precision it takes."""

from collections.abc import Sequence

import pandas as pd
import pytest

from sentiment.candidates.contract import TrainingSplits, choose_precision
from sentiment.data.datasets import Dataset
from sentiment.errors import DatasetError


def make_split(labels: Sequence[str], name: str = "made") -> Dataset:
    texts = [f"text number {i}" for i in range(len(labels))]
    return Dataset(name, pd.DataFrame({"text": texts, "label": list(labels)}))


def make_splits(train: Sequence[str], validation: Sequence[str]) -> TrainingSplits:
    return TrainingSplits(make_split(train), make_split(validation), "d" * 64, "h" * 64)


@pytest.mark.parametrize(
    ("int8_f1", "chosen"),
    [(0.875, "int8"), (0.75, "int8"), (0.625, "int8"), (0.625 - 2**-20, "fp32"), (0.0, "fp32")],
    ids=["better", "equal", "on-the-edge", "just-below", "lost"],
)
def test_auto_takes_int8_while_it_keeps_its_quality(int8_f1: float, chosen: str):
    """A loss of macro F1 up to the limit buys the smaller model; more does not."""
    assert choose_precision("made", {"int8": int8_f1, "fp32": 0.75}, max_loss=0.125) == chosen


@pytest.mark.parametrize(("int8_f1", "chosen"), [(0.75, "int8"), (0.7499, "fp32")])
def test_auto_without_an_allowance_takes_int8_only_where_nothing_is_lost(int8_f1: float, chosen: str):
    """At a limit of zero an equal score is enough and a lower one is not."""
    assert choose_precision("made", {"int8": int8_f1, "fp32": 0.75}, max_loss=0.0) == chosen


def test_a_loss_in_decimals_is_taken_at_its_limit():
    """A loss of five thousandths is within a limit of five thousandths, whatever floating point makes of it."""
    measured = [{"int8": (f1 - 5) / 1000, "fp32": f1 / 1000} for f1 in range(500, 1000)]
    assert {choose_precision("made", f1, max_loss=0.005) for f1 in measured} == {"int8"}


@pytest.mark.parametrize("only", ["int8", "fp32"])
def test_the_one_precision_that_was_asked_for_is_taken(only: str):
    """A configuration that names a precision gets it, whatever it measures."""
    assert choose_precision("made", {only: 0.1}, max_loss=0.0) == only


def test_the_choice_is_said(caplog: pytest.LogCaptureFixture, sentence):
    """The log has both figures and what was taken."""
    caplog.set_level("INFO")
    choose_precision("made", {"int8": 0.7, "fp32": 0.75}, max_loss=0.005)
    assert caplog.messages == [sentence]


@pytest.mark.parametrize(
    ("train", "validation", "labels"),
    [
        (["positive", "negative"], ["negative", "positive"], ("negative", "positive")),
        (["positive", "neutral", "negative"], ["neutral", "negative", "positive"], ("negative", "neutral", "positive")),
    ],
    ids=["two", "three"],
)
def test_the_labels_of_the_splits_are_in_the_order_of_sentiment(train: list[str], validation: list[str], labels):
    """From bad to good, in whatever order the rows come."""
    assert make_splits(train, validation).labels == labels


def test_targets_are_places_among_the_labels():
    """Both splits are encoded by the same order."""
    splits = make_splits(["positive", "negative", "positive"], ["negative", "positive"])
    assert list(splits.train_targets) == [1, 0, 1]
    assert list(splits.validation_targets) == [0, 1]


def test_the_texts_of_a_side_are_in_the_order_of_its_rows():
    """A text and its target stand at the same place."""
    assert make_splits(["positive", "negative"], ["negative", "positive"]).train_texts == [
        "text number 0",
        "text number 1",
    ]


def test_a_class_that_training_lacks_is_named(refuses):
    """A class that only validation has cannot be learnt, and the sentence says what to do."""
    with refuses(DatasetError):
        _ = make_splits(["negative", "positive", "positive"], ["negative", "neutral", "positive"]).labels


def test_a_class_that_validation_lacks_is_named(refuses):
    """A class that only training has cannot be calibrated."""
    with refuses(DatasetError):
        _ = make_splits(["negative", "positive"], ["negative", "negative"]).labels
