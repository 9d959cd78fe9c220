"""Pictures of an evaluation, drawn by matplotlib without a screen."""

from itertools import pairwise

import numpy as np
from matplotlib.figure import Figure

from sentiment.evaluation import Evaluation
from sentiment.validation import ValidationReport

DARK_SHARE = 0.5


def plot_confusion(evaluation: Evaluation, title: str) -> Figure:
    """Return the confusion matrix: true labels by row, shares of the row as colour, counts as text."""
    counts = np.asarray(evaluation.confusion)
    shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    figure = Figure(figsize=(5.2, 4.4), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    ticks = range(len(evaluation.labels))
    names = [_escape(label) for label in evaluation.labels]
    axes.set_xticks(ticks, names)
    axes.set_yticks(ticks, names)
    axes.set_xlabel("answered")
    axes.set_ylabel("true")
    axes.set_title(f"{title}\nmacro F1 {evaluation.macro_f1:.3f} on {evaluation.rows:,} rows", fontsize=11)
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if shares[row, column] > DARK_SHARE else "black"
        axes.text(column, row, f"{count:,}\n{shares[row, column]:.0%}", ha="center", va="center", color=colour)
    figure.colorbar(image, ax=axes, label="share of the true label")
    return figure


def plot_dataset(report: ValidationReport) -> Figure:
    """Return class shares and text lengths of a validated dataset, side by side."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    classes, lengths = figure.subplots(1, 2)
    bars = classes.barh(
        [_escape(label) for label in report.class_counts], list(report.class_counts.values()), color="#3b6ea5"
    )
    classes.bar_label(bars, [f"{n:,} ({n / report.rows_kept:.0%})" for n in report.class_counts.values()], padding=3)
    classes.set_xlim(right=max(report.class_counts.values()) * 1.45)
    classes.set_xlabel("rows")
    classes.set_title("classes")
    edges = list(report.length_counts)
    names = [f"{low}" if high - low == 1 else f"{low}-{high - 1}" for low, high in pairwise(edges)]
    lengths.bar([*names, f"{edges[-1]}+"], list(report.length_counts.values()), color="#3b6ea5")
    lengths.tick_params(axis="x", rotation=45)
    lengths.set_xlabel("words in a text")
    lengths.set_ylabel("rows")
    lengths.set_title("lengths")
    return figure


def _escape(label: str) -> str:
    """Keep a dollar sign in a label from being read as mathematics."""
    return label.replace("$", r"\$")
