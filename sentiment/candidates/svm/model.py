"""The `svm` and `svm_smote` candidates: scaler, RBF machine and calibration on sentence embeddings."""

import importlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler

from sentiment.bundle.onnx_session import Floats
from sentiment.errors import DatasetError
from sentiment.evaluation.calibration import Calibrator, fit_calibrator

ROWS_PER_CHUNK = 1024


@dataclass(frozen=True)
class SvmSettings:
    """`c` and `gamma` as in scikit-learn's SVC; `smote_neighbours` rows make each synthetic one."""

    c: float
    gamma: str | float
    smote_neighbours: int
    seed: int


@dataclass(frozen=True)
class Machine:
    """An RBF machine with a decision per pair of classes.

    `support` is vectors x dimensions, `weights` vectors x pairs, `intercepts` one number per pair.
    """

    support: NDArray[np.float64]
    weights: NDArray[np.float64]
    intercepts: NDArray[np.float64]
    gamma: float

    def decide(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        """Return the decisions, rows x pairs.

        Not by the `decision_function` of who fitted it: Intel's is off by tenths on some sets (scikit-learn-intelex
        2199.9.9), in double precision too, where its vectors and weights are right.
        """
        decisions = np.empty((len(rows), len(self.intercepts)))
        for start in range(0, len(rows), ROWS_PER_CHUNK):
            chunk = rows[start : start + ROWS_PER_CHUNK]
            squares = (chunk**2).sum(axis=1)[:, None] + (self.support**2).sum(axis=1)[None, :]
            kernel = np.exp(-self.gamma * np.maximum(squares - 2 * chunk @ self.support.T, 0))
            decisions[start : start + ROWS_PER_CHUNK] = kernel @ self.weights + self.intercepts
        return decisions


@dataclass(frozen=True)
class SvmModel:
    """A fitted machine; `labels` are in the order of its probabilities."""

    labels: tuple[str, ...]
    scaler: StandardScaler
    machine: Machine
    calibrator: Calibrator

    def predict_probabilities(self, embeddings: Floats) -> NDArray[np.float64]:
        """Return calibrated probabilities, texts x labels."""
        return self.calibrator.calibrate(self.machine.decide(self.scaler.transform(_widen(embeddings))))


def fit_svm(
    embeddings: Floats,
    targets: NDArray[np.int64],
    labels: Sequence[str],
    settings: SvmSettings,
    *,
    smote: bool,
    calibration: tuple[Floats, NDArray[np.int64]],
) -> SvmModel:
    """Return the machine fitted on the training rows and calibrated on the `calibration` rows.

    `targets` index into `labels`. With `smote` the smaller classes are filled up, in training only.
    Raises DatasetError when a class has too few rows for that.
    """
    scaler = StandardScaler().fit(_widen(embeddings))
    rows, classes = scaler.transform(_widen(embeddings)), targets
    if smote:
        rows, classes = _fill_up(rows, classes, labels, settings)
    gamma = measure_gamma(rows, settings.gamma)
    machine = read_machine(load_svc()(C=settings.c, gamma=gamma, cache_size=1000).fit(rows, classes))
    held_out, held_out_targets = calibration
    calibrator = fit_calibrator(machine.decide(scaler.transform(_widen(held_out))), held_out_targets)
    return SvmModel(tuple(labels), scaler, machine, calibrator)


def measure_gamma(rows: NDArray[Any], gamma: str | float) -> float:
    """Return the number that scikit-learn's SVC takes for `scale` and `auto` on these rows; a number is itself."""
    if isinstance(gamma, str):
        variance = float(rows.var()) if gamma == "scale" else 1.0
        return 1 / (rows.shape[1] * variance) if variance else 1.0
    return gamma


def load_svc() -> Any:
    """Return Intel's SVC where it is installed and runs, else scikit-learn's: the same answers, later."""
    logging.getLogger("sklearnex").setLevel(logging.WARNING)
    try:
        return importlib.import_module("sklearnex.svm").SVC
    except ImportError:
        return importlib.import_module("sklearn.svm").SVC


def read_machine(svc: Any) -> Machine:
    """Return what an SVC has learnt, scikit-learn's or Intel's, that was made with a number for gamma.

    libsvm keeps the dual coefficients by class block: a vector of class i has one row per other class.
    """
    support, dual = np.asarray(svc.support_vectors_), np.asarray(svc.dual_coef_)
    intercepts, gamma = np.atleast_1d(np.asarray(svc.intercept_)), float(svc.gamma)
    if len(dual) == 1:
        return Machine(support, dual.T, intercepts, gamma)
    counts = np.asarray(svc.n_support_)
    ends = np.cumsum(counts)
    blocks = [slice(end - count, end) for end, count in zip(ends, counts, strict=True)]
    pairs = [(i, j) for i in range(len(blocks)) for j in range(i + 1, len(blocks))]
    weights = np.zeros((len(support), len(pairs)))
    for column, (i, j) in enumerate(pairs):
        weights[blocks[i], column] = dual[j - 1, blocks[i]]
        weights[blocks[j], column] = dual[i, blocks[j]]
    return Machine(support, weights, intercepts, gamma)


def _widen(embeddings: Floats) -> NDArray[np.float64]:
    """Return them in double precision, in which the machine is fitted, and decides."""
    return embeddings.astype(np.float64)


def _fill_up(
    rows: NDArray[Any], targets: NDArray[np.int64], labels: Sequence[str], settings: SvmSettings
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    from imblearn.over_sampling import SMOTE

    counts = np.bincount(targets, minlength=len(labels))
    smallest = int(counts.argmin())
    if counts[smallest] <= settings.smote_neighbours:
        raise DatasetError(
            f"svm_smote needs more than {settings.smote_neighbours} training rows of each class, but"
            f" {labels[smallest]!r} has {counts[smallest]};"
            " add rows, lower training.svm.smote_neighbours, or train only svm."
        )
    smote = SMOTE(k_neighbors=settings.smote_neighbours, random_state=settings.seed)
    filled, classes = smote.fit_resample(rows, targets)
    return filled, classes
