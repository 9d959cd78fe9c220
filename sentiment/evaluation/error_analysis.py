"""The rows on which a model goes wrong, and the rows that change between two models."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sentiment.evaluation.predictions import Predictions
from sentiment.evaluation.slices import Rows


@dataclass(frozen=True)
class Mistake:
    """A row with a wrong prediction, with the confidence in the wrong label."""

    text: str
    target: str
    prediction: str
    confidence: float


@dataclass(frozen=True)
class Change:
    """A row on which exactly one of two models is right."""

    text: str
    target: str
    before: str
    after: str


def find_mistakes(predictions: Predictions, texts: Sequence[str], limit: int) -> list[Mistake]:
    """Return the wrong predictions with the most confidence."""
    wrong = np.flatnonzero(~predictions.correct)
    worst = wrong[np.argsort(-predictions.confidences[wrong], kind="stable")][:limit]
    return [
        Mistake(
            texts[row],
            predictions.labels[predictions.targets[row]],
            predictions.labels[predictions.chosen[row]],
            float(predictions.confidences[row]),
        )
        for row in worst
    ]


def find_changes(before: Predictions, after: Predictions, texts: Sequence[str]) -> tuple[list[Change], list[Change]]:
    """Return the rows that went from wrong to right and from right to wrong, the surest new predictions first.

    Both predicted the same rows, with the same labels in order.
    """
    surest = np.argsort(-after.confidences, kind="stable")

    def collect(rows: Rows) -> list[Change]:
        return [
            Change(
                texts[row],
                after.labels[after.targets[row]],
                before.labels[before.chosen[row]],
                after.labels[after.chosen[row]],
            )
            for row in surest
            if rows[row]
        ]

    return collect(~before.correct & after.correct), collect(before.correct & ~after.correct)
