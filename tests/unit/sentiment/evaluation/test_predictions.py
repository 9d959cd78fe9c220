"""Scores of known predictions, computed by hand."""

from collections.abc import Sequence
from itertools import permutations

import numpy as np
import pandas as pd
import pytest

from sentiment.bundle.bundle import Bundle
from sentiment.bundle.predictor import Predictor
from sentiment.data.datasets import Dataset
from sentiment.errors import DatasetError
from sentiment.evaluation.predictions import (
    ClassScore,
    Evaluation,
    Predictions,
    encode_labels,
    predict_rows,
    score_predictions,
)

LABELS = ("negative", "neutral", "positive")


@pytest.fixture
def known() -> Evaluation:
    """Ten rows of which six are answered right."""
    return score_predictions(make_predictions([0, 0, 0, 1, 1, 2, 2, 2, 2, 2], [0, 0, 1, 1, 2, 2, 2, 2, 0, 1]))


def make_predictions(targets: Sequence[int], chosen: Sequence[int], sure: float = 0.75, width: int = 3) -> Predictions:
    """Return answers that are all as sure, labelled by the first `width` labels."""
    rows = np.full((len(targets), width), (1 - sure) / (width - 1), dtype=np.float32)
    rows[np.arange(len(targets)), chosen] = sure
    return Predictions("bundle", "dataset", LABELS[:width], rows, np.array(targets))


def make_rows(*labels: str) -> Dataset:
    return Dataset("made", pd.DataFrame({"text": ["good"] * len(labels), "label": list(labels)}))


def test_the_confusion_counts_true_labels_by_row(known: Evaluation):
    """Rows are what a text is, columns are what was answered."""
    assert known.confusion == ((2, 1, 0), (0, 1, 1), (1, 1, 3))


def test_accuracy_is_the_share_of_right_answers(known: Evaluation):
    """Six of ten."""
    assert (known.rows, known.accuracy) == (10, 0.6)


@pytest.mark.parametrize(
    ("label", "precision", "recall", "f1", "rows"),
    [("negative", 2 / 3, 2 / 3, 2 / 3, 3), ("neutral", 1 / 3, 1 / 2, 2 / 5, 2), ("positive", 3 / 4, 3 / 5, 2 / 3, 5)],
)
def test_each_class_has_its_scores(known: Evaluation, label: str, precision: float, recall: float, f1: float, rows):
    """Precision by column, recall by row, F1 their harmonic mean."""
    score = known.classes[label]
    assert (score.precision, score.recall, score.f1) == pytest.approx((precision, recall, f1))
    assert score.rows == rows


def test_macro_scores_weigh_each_class_alike(known: Evaluation):
    """A class with two rows counts as much as one with five."""
    scores = (known.macro_precision, known.macro_recall, known.macro_f1)
    assert scores == pytest.approx((7 / 12, 53 / 90, 26 / 45))


def test_right_answers_score_one():
    """Nothing wrong is 1 in every score."""
    flat = score_predictions(make_predictions([0, 1, 1], [0, 1, 1], width=2)).flatten()
    assert {value for name, value in flat.items() if name != "calibration_error"} == {1.0}


def test_a_class_that_is_never_answered_scores_zero():
    """No answer for a class is precision, recall and F1 of zero, not an error."""
    evaluation = score_predictions(make_predictions([0, 1], [1, 1], width=2))
    assert evaluation.classes["negative"] == ClassScore(precision=0.0, recall=0.0, f1=0.0, rows=1)
    assert evaluation.macro_f1 == pytest.approx(1 / 3)


def test_scores_are_flattened_by_name(known: Evaluation):
    """Every score has a name that a tracker can keep."""
    flat = known.flatten()
    assert len(flat) == 5 + 3 * 3
    assert (flat["accuracy"], flat["recall_neutral"]) == (0.6, 0.5)
    assert flat["f1_positive"] == pytest.approx(2 / 3)
    assert flat["macro_f1"] == pytest.approx(26 / 45)


def test_labels_keep_the_order_of_the_model(known: Evaluation):
    """The labels of an evaluation name the rows of its confusion."""
    assert known.labels == LABELS


def test_labels_are_encoded_by_their_place_in_the_model():
    """The order comes from the model, not from the alphabet."""
    rows = make_rows("positive", "negative", "neutral", "positive")
    assert list(encode_labels(rows, ("positive", "negative", "neutral"))) == [0, 1, 2, 0]


def test_a_label_that_the_model_does_not_know_is_named(refuses):
    """A strange label stops the evaluation with the way out."""
    with refuses(DatasetError):
        encode_labels(make_rows("positive", "mixed"), ("negative", "positive"))


def test_a_class_without_rows_is_kept_with_none():
    """What the model may answer has its place in the scores, whether the rows hold it or not."""
    evaluation = score_predictions(make_predictions([0, 2], [0, 2]))
    assert evaluation.classes["neutral"] == ClassScore(precision=0.0, recall=0.0, f1=0.0, rows=0)
    assert evaluation.confusion == ((1, 0, 0), (0, 0, 0), (0, 0, 1))


@pytest.mark.parametrize(("sure", "error"), [(0.75, 0.0), (1.0, 0.25), (0.625, 0.125)], ids=["just", "over", "under"])
def test_the_calibration_error_is_how_far_sure_is_from_right(sure: float, error: float):
    """Right in three of four cases: too sure and not sure enough are both errors."""
    evaluation = score_predictions(make_predictions([0, 0, 1, 1], [0, 0, 1, 0], sure=sure, width=2))
    assert evaluation.calibration_error == evaluation.flatten()["calibration_error"] == error


def test_answers_choose_the_most_probable_label():
    """The label, whether it is right, and how sure, row by row."""
    predictions = make_predictions([0, 2, 1], [0, 1, 1], sure=0.5)
    assert list(predictions.chosen) == [0, 1, 1]
    assert list(predictions.correct) == [True, False, True]
    assert list(predictions.confidences) == [0.5, 0.5, 0.5]


@pytest.mark.parametrize("order", list(permutations(LABELS)), ids="-".join)
def test_labels_in_another_order_are_the_same_answers(order: tuple[str, ...]):
    """What was true, what was answered and how sure stay as they were, by name."""
    predictions = make_predictions([0, 1, 2, 2], [0, 1, 2, 0])
    turned = predictions.reorder(order)
    assert turned.labels == order
    assert [order[i] for i in turned.targets] == [LABELS[i] for i in predictions.targets]
    assert [order[i] for i in turned.chosen] == [LABELS[i] for i in predictions.chosen]
    assert score_predictions(turned).classes == score_predictions(predictions).classes


def test_turning_the_labels_back_gives_the_answers_that_were():
    """Twice turned is not turned."""
    predictions = make_predictions([0, 1, 2, 2], [0, 1, 2, 0])
    back = predictions.reorder(("positive", "negative", "neutral")).reorder(LABELS)
    assert np.array_equal(back.probabilities, predictions.probabilities)
    assert np.array_equal(back.targets, predictions.targets)


def test_a_predictor_is_scored_through_the_path_that_serves(tiny_bundle: Bundle):
    """A bundle that always answers positive is right on the positive rows alone."""
    rows = make_rows("positive", "negative", "positive", "neutral")
    evaluation = score_predictions(predict_rows(Predictor(tiny_bundle), rows))
    assert evaluation.confusion == ((0, 0, 1), (0, 0, 1), (0, 0, 2))
    assert (evaluation.accuracy, evaluation.classes["positive"].recall) == (0.5, 1.0)


def test_answers_are_the_probabilities_of_the_predictor(tiny_bundle: Bundle):
    """Row by row, in the order of the rows and the columns of the model."""
    rows = make_rows("positive", "negative")
    predictions = predict_rows(Predictor(tiny_bundle), rows)
    assert np.array_equal(predictions.probabilities, Predictor(tiny_bundle).predict_probabilities(["good", "good"]))
    assert (predictions.labels, list(predictions.targets)) == (LABELS, [2, 0])


def test_an_evaluation_names_what_it_measured(tiny_bundle: Bundle):
    """The digests of the bundle and of the rows are part of the result."""
    rows = make_rows("positive", "negative")
    evaluation = score_predictions(predict_rows(Predictor(tiny_bundle), rows))
    assert (evaluation.bundle_digest, evaluation.dataset_digest) == (tiny_bundle.card.digest, rows.digest)
