"""What the pictures say, read from the figure rather than from its pixels."""

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from sentiment.evaluation import Evaluation, score_answers
from sentiment.plots import plot_confusion, plot_dataset
from sentiment.validation import LENGTH_BINS, ValidationReport

LABELS = ("negative", "neutral", "positive")


@pytest.fixture
def evaluation() -> Evaluation:
    targets = np.array([0] * 4 + [1] * 4 + [2] * 2)
    answers = np.array([0, 0, 0, 1, 1, 1, 0, 2, 2, 2])
    return score_answers(answers, targets, LABELS, "bundle", "dataset")


@pytest.fixture
def report() -> ValidationReport:
    lengths = dict.fromkeys(LENGTH_BINS, 0) | {1: 40, 4: 1160}
    return ValidationReport("made", "d" * 64, 1300, 1200, (), {"negative": 300, "positive": 900}, lengths)


def read_texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def read_ticks(figure: Figure, axes: int, axis: str) -> list[str]:
    return [tick.get_text() for tick in getattr(figure.axes[axes], f"get_{axis}ticklabels")()]


def test_each_cell_has_its_count_and_its_share_of_the_true_label(evaluation: Evaluation):
    """Three of four negative rows were answered negative."""
    expected = ["3\n75%", "1\n25%", "0\n0%", "1\n25%", "2\n50%", "1\n25%", "0\n0%", "0\n0%", "2\n100%"]
    assert read_texts(plot_confusion(evaluation, "svm")) == expected


def test_a_cell_is_legible_on_its_colour(evaluation: Evaluation):
    """Writing is white on dark cells and black on light ones; one half is light."""
    texts = plot_confusion(evaluation, "svm").axes[0].texts
    colours = {text.get_text(): to_rgba(text.get_color()) for text in texts}
    assert colours["3\n75%"] == to_rgba("white")
    assert colours["2\n50%"] == to_rgba("black")


def test_the_confusion_names_its_axes_and_its_score(evaluation: Evaluation):
    """True labels go down, answers go across, the title says how good and on how many rows."""
    figure = plot_confusion(evaluation, "svm, holdout")
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("answered", "true")
    assert read_ticks(figure, 0, "x") == read_ticks(figure, 0, "y") == list(LABELS)
    assert axes.get_title() == f"svm, holdout\nmacro F1 {evaluation.macro_f1:.3f} on 10 rows"


def test_a_class_without_rows_is_drawn_empty():
    """No row of a class is zero percent, not a division by zero."""
    evaluation = score_answers(np.array([0, 0]), np.array([0, 0]), LABELS[:2], "b", "d")
    assert read_texts(plot_confusion(evaluation, "svm")) == ["2\n100%", "0\n0%", "0\n0%", "0\n0%"]


def test_each_class_has_its_rows_and_its_share(report: ValidationReport):
    """Nine hundred of twelve hundred rows are three quarters."""
    figure = plot_dataset(report)
    assert read_ticks(figure, 0, "y") == ["negative", "positive"]
    assert read_texts(figure) == ["300 (25%)", "900 (75%)"]


def test_each_length_has_its_bar(report: ValidationReport):
    """Lengths are binned from each edge up to the next, the last one is open."""
    figure = plot_dataset(report)
    heights = [bar.get_height() for bar in figure.axes[1].patches]
    expected = ["1", "2-3", "4-7", "8-15", "16-31", "32-63", "64-127", "128-255", "256+"]
    assert read_ticks(figure, 1, "x") == expected
    assert heights == [40, 0, 1160, 0, 0, 0, 0, 0, 0]
