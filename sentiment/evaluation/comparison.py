"""Two models on the same rows: how far apart they are, and how sure that is.

Rows are resampled within each true class, the same rows for both models. Macro F1 depends on a row only
through (true class, champion's prediction, challenger's prediction), so that a resample is one multinomial draw of
these cells per class: the same distribution as drawing row by row, at a cost that does not grow with the rows.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, norm

from sentiment.evaluation.predictions import Predictions

POWER = 0.8

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Interval:
    """A measured value and the ends of its confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ModelComparison:
    """Challenger minus champion in macro F1, paired; and the rows on which just one of them is right.

    `mcnemar_p` is exact and two-sided. `detectable` is the smallest true difference that this many rows would
    show as above zero four times out of five.
    """

    difference: Interval
    champion: Interval
    challenger: Interval
    only_champion_right: int
    only_challenger_right: int
    mcnemar_p: float
    detectable: float
    rows: int
    resamples: int
    confidence: float


def compare_predictions(
    champion: Predictions, challenger: Predictions, *, resamples: int, confidence: float, seed: int
) -> ModelComparison:
    """Return the paired comparison of two models; both predicted the same rows, with the same labels in order."""
    cells = count_cells(champion, challenger)
    drawn = draw_cells(cells, resamples, np.random.default_rng(seed))
    before, after = score_confusions(drawn.sum(axis=3)), score_confusions(drawn.sum(axis=2))
    at_first, at_last = score_confusions(cells.sum(axis=2)), score_confusions(cells.sum(axis=1))
    champion_right, challenger_right = champion.correct, challenger.correct
    only_champion = int((champion_right & ~challenger_right).sum())
    only_challenger = int((challenger_right & ~champion_right).sum())
    differing = only_champion + only_challenger
    spread = float((after - before).std(ddof=1))
    return ModelComparison(
        difference=_enclose(float(at_last - at_first), after - before, confidence),
        champion=_enclose(float(at_first), before, confidence),
        challenger=_enclose(float(at_last), after, confidence),
        only_champion_right=only_champion,
        only_challenger_right=only_challenger,
        mcnemar_p=float(binomtest(only_champion, differing).pvalue) if differing else 1.0,
        detectable=float(norm.ppf((1 + confidence) / 2) + norm.ppf(POWER)) * spread,
        rows=len(champion.targets),
        resamples=resamples,
        confidence=confidence,
    )


def measure_interval(predictions: Predictions, *, resamples: int, confidence: float, seed: int) -> Interval:
    """Return macro F1 of one model with its stratified bootstrap interval."""
    return compare_predictions(predictions, predictions, resamples=resamples, confidence=confidence, seed=seed).champion


def count_cells(champion: Predictions, challenger: Predictions) -> Counts:
    """Return the rows per (true class, champion's prediction, challenger's prediction)."""
    classes = len(champion.labels)
    cells = np.zeros((classes, classes, classes), dtype=np.int64)
    np.add.at(cells, (champion.targets, champion.chosen, challenger.chosen), 1)
    return cells


def draw_cells(cells: Counts, resamples: int, generator: np.random.Generator) -> Counts:
    """Return `resamples` draws of the cells, each class keeping its number of rows."""
    classes = len(cells)
    drawn = np.zeros((resamples, *cells.shape), dtype=np.int64)
    for true in range(classes):
        rows = int(cells[true].sum())
        if rows:
            counts = generator.multinomial(rows, cells[true].ravel() / rows, size=resamples)
            drawn[:, true] = counts.reshape(resamples, classes, classes)
    return drawn


def score_confusions(confusions: Counts) -> NDArray[np.float64]:
    """Return macro F1 of confusions, true class by prediction in the last two axes, over the classes that have rows."""
    hits = np.diagonal(confusions, axis1=-2, axis2=-1)
    rows = confusions.sum(axis=-1)
    f1 = 2 * hits / np.maximum(rows + confusions.sum(axis=-2), 1)
    scores: NDArray[np.float64] = (f1 * (rows > 0)).sum(axis=-1) / np.maximum((rows > 0).sum(axis=-1), 1)
    return scores


def _enclose(value: float, resampled: NDArray[np.float64], confidence: float) -> Interval:
    tail = (1 - confidence) / 2
    low, high = np.quantile(resampled, (tail, 1 - tail))
    return Interval(value, float(low), float(high))
