"""Whether a confidence of 0.8 is right in 80 of 100 cases: measured, mended on held-out rows, used for a threshold."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

BINS = 15
MAX_ITERATIONS = 1000
MIN_THRESHOLD_ROWS = 30
OUT_OF_REACH = 2.0

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class ReliabilityBin:
    """Rows whose confidence falls between `low` and `high`: how sure they are and how often right, in [0, 1]."""

    low: float
    high: float
    rows: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Calibrator:
    """Turns what a model says into probabilities: `slopes` is scores x classes, `offsets` one number per class."""

    slopes: Numbers
    offsets: Numbers

    def calibrate(self, scores: NDArray[Any]) -> Numbers:
        """Return probabilities, texts x classes, for scores, texts x scores."""
        probabilities: Numbers = softmax(scores @ self.slopes + self.offsets, axis=1)
        return probabilities


def bin_confidences(confidences: Numbers, correct: NDArray[np.bool_], bins: int = BINS) -> tuple[ReliabilityBin, ...]:
    """Return the bins of equal width over [0, 1] that hold rows."""
    edges = np.linspace(0, 1, bins + 1)
    places = np.clip(np.searchsorted(edges, confidences, side="left") - 1, 0, bins - 1)
    found = []
    for place in range(bins):
        inside = places == place
        if inside.any():
            found.append(
                ReliabilityBin(
                    float(edges[place]),
                    float(edges[place + 1]),
                    int(inside.sum()),
                    float(confidences[inside].mean()),
                    float(correct[inside].mean()),
                )
            )
    return tuple(found)


def measure_calibration_error(confidences: Numbers, correct: NDArray[np.bool_]) -> float:
    """Return the expected calibration error, in [0, 1] (Guo et al. 2017, 15 bins of equal width)."""
    return sum(
        item.rows * abs(item.confidence - item.accuracy) for item in bin_confidences(confidences, correct)
    ) / len(correct)


def fit_calibrator(scores: Numbers, targets: NDArray[np.int64]) -> Calibrator:
    """Return the most likely calibrator of the scores of a model (texts x scores) on rows that it was not fitted on.

    Matrix scaling (Guo et al. 2017, section 4.2), held back by scikit-learn's default penalty. One temperature for
    all classes does not do: weights of the classes and smoothed targets shift one class against another.
    """
    scaler = StandardScaler().fit(scores)
    fitted = LogisticRegression(max_iter=MAX_ITERATIONS).fit(scaler.transform(scores), targets)
    slopes = fitted.coef_.T / scaler.scale_[:, None]
    offsets = fitted.intercept_ - scaler.mean_ @ slopes
    if slopes.shape[1] == 1:
        return Calibrator(np.hstack([np.zeros_like(slopes), slopes]), np.append(0.0, offsets))
    return Calibrator(slopes, offsets)


def choose_threshold(confidences: Numbers, correct: NDArray[np.bool_], precision: float) -> float:
    """Return the lowest confidence at and above which answers are right with the wanted precision.

    At least 30 rows must stand behind it; where no threshold reaches the precision, 2.0,
    which no confidence reaches: all are uncertain.
    """
    order = np.argsort(-confidences, kind="stable")
    ranked = confidences[order]
    reached = np.cumsum(correct[order]) / np.arange(1, len(order) + 1)
    last_of_its_value = np.append(ranked[1:] != ranked[:-1], True)
    enough = np.arange(1, len(order) + 1) >= MIN_THRESHOLD_ROWS
    good = np.flatnonzero((reached >= precision) & last_of_its_value & enough)
    return float(ranked[good[-1]]) if len(good) else OUT_OF_REACH
