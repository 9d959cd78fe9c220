"""Whether a confidence of 0.8 is right in 80 of 100 cases: measured, mended by a temperature, used for a threshold."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

BINS = 15
LOG_TEMPERATURES = (-3.0, 3.0)
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


def fit_temperature(logits: Numbers, targets: NDArray[np.int64]) -> float:
    """Return the temperature that makes the logits divided by it most likely (texts x labels, one target each)."""
    rows = np.arange(len(targets))

    def miss(log_temperature: float) -> float:
        return float(-log_softmax(logits / np.exp(log_temperature), axis=1)[rows, targets].mean())

    return float(np.exp(minimize_scalar(miss, bounds=LOG_TEMPERATURES, method="bounded").x))


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
