"""Pictures of data, models and decisions, drawn by matplotlib without a screen."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from sklearn.metrics import ConfusionMatrixDisplay

from sentiment.data.validation import ValidationReport
from sentiment.evaluation.calibration import bin_confidences, measure_calibration_error
from sentiment.evaluation.comparison import Interval
from sentiment.evaluation.predictions import Evaluation, Predictions
from sentiment.governance.gate import Decision

DARK_SHARE = 0.5
BLUE = "#3b6ea5"
PLACES_PER_ROW = 3


def plot_confusion(evaluation: Evaluation, title: str) -> Figure:
    """Return the confusion matrix: true labels by row, shares of the row as colour, counts as text."""
    figure = Figure(figsize=(5.2, 4.4), layout="constrained")
    axes = figure.add_subplot()
    image = _draw_confusion(axes, evaluation)
    axes.set_title(f"{title}\nmacro F1 {evaluation.macro_f1:.3f} on {evaluation.rows:,} rows", fontsize=11)
    figure.colorbar(image, ax=axes, label="share of the true label")
    return figure


def plot_confusions(models: Sequence[tuple[str, Evaluation]]) -> Figure:
    """Return the confusion matrices of several models, side by side."""
    figure, places = _lay_out(len(models), height=3.0)
    for (name, evaluation), axes in zip(models, places, strict=True):
        _draw_confusion(axes, evaluation)
        axes.set_title(_escape(name), fontsize=10)
    return figure


def plot_reliability(models: Sequence[tuple[str, Predictions]]) -> Figure:
    """Return reliability diagrams side by side: how often right, by confidence; the share of rows as bars."""
    figure, places = _lay_out(len(models), height=2.9)
    for (name, predictions), axes in zip(models, places, strict=True):
        bins = bin_confidences(predictions.confidences, predictions.correct)
        error = measure_calibration_error(predictions.confidences, predictions.correct)
        rows = sum(item.rows for item in bins)
        axes.bar(
            [item.low for item in bins],
            [item.rows / rows for item in bins],
            width=[item.high - item.low for item in bins],
            align="edge",
            color="#d5dfeb",
            label="share of rows",
        )
        axes.plot([0, 1], [0, 1], color="#8c959f", linewidth=1, linestyle="--")
        axes.plot(
            [item.confidence for item in bins],
            [item.accuracy for item in bins],
            marker="o",
            markersize=4,
            color=BLUE,
            label="right",
        )
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("confidence")
        axes.set_title(f"{_escape(name)}: error {error:.3f}", fontsize=10)
    places[0].legend(fontsize=8, frameon=False, loc="upper left")
    return figure


def plot_intervals(models: Sequence[tuple[str, Interval]]) -> Figure:
    """Return macro F1 of several models with their intervals, one below the other."""
    figure = Figure(figsize=(9, 0.9 + 0.45 * len(models)), layout="constrained")
    axes = figure.add_subplot()
    for row, (_, interval) in enumerate(reversed(models)):
        axes.plot([interval.low, interval.high], [row, row], color=BLUE, linewidth=2)
        axes.plot(interval.value, row, marker="o", color=BLUE)
        axes.annotate(f"{interval.value:.3f}", (interval.value, row), (0, 6), textcoords="offset points", ha="center")
        axes.axhline(row, color="#eaeef2", zorder=0)
        axes.set_ylim(-0.6, len(models) - 0.3)
    axes.set_yticks(range(len(models)), [_escape(name) for name, _ in reversed(models)])
    axes.set_xlabel("macro F1 with its confidence interval")
    return figure


def plot_difference(decision: Decision) -> Figure:
    """Return the interval of the difference in macro F1 against what the rule wants."""
    figure = Figure(figsize=(9, 1.6), layout="constrained")
    axes = figure.add_subplot()
    if decision.comparison is None:
        return figure
    difference = decision.comparison.difference
    limit = decision.rule.least_difference
    reach = 1.2 * max(abs(difference.low), abs(difference.high), abs(limit), 0.01)
    axes.axvspan(limit, reach, color="#e6f2e8")
    axes.axvline(0, color="#8c959f", linewidth=1)
    axes.axvline(limit, color="#2f7d3b", linewidth=1, linestyle="--")
    axes.plot([difference.low, difference.high], [0, 0], color=BLUE, linewidth=3)
    axes.plot(difference.value, 0, marker="o", color=BLUE, markersize=8)
    axes.annotate(f"{difference.value:+.3f}", (difference.value, 0), (0, 9), textcoords="offset points", ha="center")
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-1, 1)
    axes.set_yticks([])
    axes.set_xlabel("challenger minus champion in macro F1; the whole line must lie in the green")
    return figure


def plot_dataset(report: ValidationReport) -> Figure:
    """Return class shares and text lengths of a validated dataset, side by side."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    classes, lengths = figure.subplots(1, 2)
    bars = classes.barh(
        [_escape(label) for label in report.class_counts], list(report.class_counts.values()), color=BLUE
    )
    classes.bar_label(bars, [f"{n:,} ({n / report.rows_kept:.0%})" for n in report.class_counts.values()], padding=3)
    classes.set_xlim(right=max(report.class_counts.values()) * 1.45)
    classes.set_xlabel("rows")
    classes.set_title("classes")
    edges = list(report.length_counts)
    names = [f"{low}" if high - low == 1 else f"{low}-{high - 1}" for low, high in pairwise(edges)]
    lengths.bar([*names, f"{edges[-1]}+"], list(report.length_counts.values()), color=BLUE)
    lengths.tick_params(axis="x", rotation=45)
    lengths.set_xlabel("words in a text")
    lengths.set_ylabel("rows")
    lengths.set_title("lengths")
    return figure


def _draw_confusion(axes: Axes, evaluation: Evaluation) -> AxesImage:
    counts = np.asarray(evaluation.confusion)
    shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    names = [_escape(label) for label in evaluation.labels]
    drawn = ConfusionMatrixDisplay(shares, display_labels=names)
    drawn.plot(ax=axes, cmap="Blues", im_kw={"vmin": 0, "vmax": 1}, colorbar=False)
    for text, count, share in zip(drawn.text_.flat, counts.flat, shares.flat, strict=True):
        text.set(text=f"{count:,}\n{share:.0%}", color="white" if share > DARK_SHARE else "black")
    axes.set(xlabel="answered", ylabel="true")
    image: AxesImage = drawn.im_
    return image


def _lay_out(models: int, height: float) -> tuple[Figure, list[Axes]]:
    """Return a figure with a place for each model, three to a row."""
    rows = -(-models // PLACES_PER_ROW)
    figure = Figure(figsize=(9, height * rows), layout="constrained")
    places = np.atleast_1d(figure.subplots(rows, PLACES_PER_ROW, squeeze=False)).ravel()
    for spare in places[models:]:
        spare.set_axis_off()
    return figure, list(places[:models])


def _escape(label: str) -> str:
    """Keep a dollar sign in a label from being read as mathematics."""
    return label.replace("$", r"\$")
