"""What the pictures say, read from the figure rather than from its pixels."""

import io
from dataclasses import replace

import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from sentiment.data.validation import LENGTH_BINS, ValidationReport
from sentiment.evaluation.comparison import Interval
from sentiment.evaluation.predictions import Evaluation, score_predictions
from sentiment.governance.gate import Decision
from sentiment.reports.plots import (
    plot_confusion,
    plot_confusions,
    plot_dataset,
    plot_difference,
    plot_intervals,
    plot_reliability,
)
from tests.unit.sentiment.evaluation.test_predictions import make_predictions
from tests.unit.sentiment.governance.test_gate import answer, decide, decide_against, measure, spread

LABELS = ("negative", "neutral", "positive")


@pytest.fixture
def evaluation() -> Evaluation:
    return score_predictions(make_predictions([0] * 4 + [1] * 4 + [2] * 2, [0, 0, 0, 1, 1, 1, 0, 2, 2, 2]))


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
    evaluation = score_predictions(make_predictions([0, 0], [0, 0], width=2))
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


def list_visible(figure: Figure) -> list[str]:
    """Return the titles of the places that are drawn in."""
    return [axes.get_title() for axes in figure.axes if axes.axison]


@pytest.mark.parametrize(("models", "places"), [(1, 3), (3, 3), (4, 6), (6, 6), (7, 9)])
def test_models_stand_side_by_side_three_to_a_row(evaluation: Evaluation, models: int, places: int):
    """Each model has its place, and a place that is left over is empty."""
    names = [f"model {number}" for number in range(models)]
    figure = plot_confusions([(name, evaluation) for name in names])
    assert len(figure.axes) == places
    assert list_visible(figure) == names


def test_reliability_shows_how_often_right_by_confidence():
    """Answers that are three quarters sure and half of them right are one point below the diagonal."""
    figure = plot_reliability([("svm", make_predictions([0, 0, 1, 1], [0, 0, 0, 0], sure=0.75))])
    _, found = figure.axes[0].lines
    assert (list(found.get_xdata()), list(found.get_ydata())) == ([0.75], [0.5])
    assert list_visible(figure) == ["svm: error 0.250"]


def test_reliability_bars_are_shares_of_the_rows():
    """The bars of a diagram sum to one."""
    predictions = make_predictions([0, 1, 2, 2], [0, 1, 2, 0], sure=0.5)
    heights = [bar.get_height() for bar in plot_reliability([("svm", predictions)]).axes[0].patches]
    assert sum(heights) == pytest.approx(1)


def test_intervals_stand_in_the_order_of_the_models():
    """The first model is at the top, with its value written beside its line."""
    models = [("tfidf", Interval(0.5, 0.375, 0.625)), ("svm", Interval(0.75, 0.625, 0.875))]
    figure = plot_intervals(models)
    low, high = figure.axes[0].get_ylim()
    assert read_ticks(figure, 0, "y") == ["svm", "tfidf"]
    assert low < 0
    assert high > 1
    assert sorted(read_texts(figure)) == ["0.500", "0.750"]


@pytest.fixture
def compared() -> Decision:
    """A decision with an interval around zero."""
    return decide_against(spread(24), ((25, 7), (8, 24)))


@pytest.mark.parametrize(("require", "limit"), [("better", 0.0), ("not_worse", -0.25)], ids=["better", "not-worse"])
def test_the_green_begins_where_the_rule_says(require: str, limit: float):
    """What the interval must lie above is where the shaded part begins."""
    decision = decide_against(spread(24), spread(25), require=require, tolerance=0.25)
    (span,) = plot_difference(decision).axes[0].patches
    assert span.get_x() == limit


def test_the_difference_is_drawn_with_its_interval(compared: Decision):
    """The line goes from end to end, the point has its number, and all of it is in the picture."""
    axes = plot_difference(compared).axes[0]
    difference = compared.comparison.difference
    assert [difference.low, difference.high] in [list(line.get_xdata()) for line in axes.lines]
    assert [text.get_text() for text in axes.texts] == [f"{difference.value:+.3f}"]
    left, right = axes.get_xlim()
    assert left < difference.low < difference.high < right


def test_a_difference_of_nothing_is_drawn():
    """Two models that answer alike, and a rule without tolerance, still make a picture."""
    axes = plot_difference(decide(measure(spread(24)), answer(spread(24), "champion"), tolerance=0.0)).axes[0]
    assert axes.get_xlim()[0] < 0 < axes.get_xlim()[1]


@pytest.mark.parametrize("name", ["$x$", "a $ b", r"$\frac$", "$_$"])
def test_a_dollar_in_a_name_is_a_dollar(name: str, evaluation: Evaluation):
    """No name of a model is read as mathematics: every picture can be saved."""
    for figure in (
        plot_confusions([(name, evaluation)]),
        plot_reliability([(name, make_predictions([0, 1], [0, 1]))]),
        plot_intervals([(name, Interval(0.5, 0.25, 0.75))]),
    ):
        figure.savefig(io.BytesIO(), format="png", dpi=20)


@pytest.mark.parametrize("label", ["$x$", r"$\frac$"])
def test_a_dollar_in_a_label_is_a_dollar(label: str):
    """No label of the data is read as mathematics."""
    evaluation = score_predictions(replace(make_predictions([0, 1], [0, 1], width=2), labels=("other", label)))
    figure = plot_confusion(evaluation, "svm")
    figure.savefig(io.BytesIO(), format="png", dpi=20)
    assert read_ticks(figure, 0, "x") == ["other", label.replace("$", r"\$")]
