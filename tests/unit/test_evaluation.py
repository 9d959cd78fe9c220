"""Scores of known answers, computed by hand."""

import numpy as np
import pandas as pd
import pytest

from sentiment.bundle import Bundle
from sentiment.datasets import Dataset
from sentiment.errors import DatasetError
from sentiment.evaluation import ClassScore, Evaluation, encode_labels, evaluate_predictor, score_answers
from sentiment.predictor import Predictor

LABELS = ("negative", "neutral", "positive")


@pytest.fixture
def known() -> Evaluation:
    """Ten rows of which six are answered right."""
    targets = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2, 2])
    answers = np.array([0, 0, 1, 1, 2, 2, 2, 2, 0, 1])
    return score_answers(answers, targets, LABELS, "bundle", "dataset")


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
    targets = np.array([0, 1, 1])
    evaluation = score_answers(targets, targets, LABELS[:2], "b", "d")
    assert set(evaluation.flatten().values()) == {1.0}


def test_a_class_that_is_never_answered_scores_zero():
    """No answer for a class is precision, recall and F1 of zero, not an error."""
    evaluation = score_answers(np.array([1, 1]), np.array([0, 1]), LABELS[:2], "b", "d")
    assert evaluation.classes["negative"] == ClassScore(precision=0.0, recall=0.0, f1=0.0, rows=1)
    assert evaluation.macro_f1 == pytest.approx(1 / 3)


def test_scores_are_flattened_by_name(known: Evaluation):
    """Every score has a name that a tracker can keep."""
    flat = known.flatten()
    assert len(flat) == 4 + 3 * 3
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


def test_a_label_that_the_model_does_not_know_is_named():
    """A strange label stops the evaluation with the way out."""
    with pytest.raises(DatasetError) as refusal:
        encode_labels(make_rows("positive", "mixed"), ("negative", "positive"))
    assert str(refusal.value) == (
        "dataset 'made' has the label 'mixed', the model knows negative, positive; map the labels in dataset.labels."
    )


def test_a_predictor_is_scored_through_the_path_that_serves(tiny_bundle: Bundle):
    """A bundle that always answers positive is right on the positive rows alone."""
    rows = make_rows("positive", "negative", "positive", "neutral")
    evaluation = evaluate_predictor(Predictor(tiny_bundle), rows)
    assert evaluation.confusion == ((0, 0, 1), (0, 0, 1), (0, 0, 2))
    assert (evaluation.accuracy, evaluation.classes["positive"].recall) == (0.5, 1.0)


def test_an_evaluation_names_what_it_measured(tiny_bundle: Bundle):
    """The digests of the bundle and of the rows are part of the result."""
    rows = make_rows("positive", "negative")
    evaluation = evaluate_predictor(Predictor(tiny_bundle), rows)
    assert (evaluation.bundle_digest, evaluation.dataset_digest) == (tiny_bundle.card.digest, rows.digest)
