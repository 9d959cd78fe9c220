"""The `svm` and `svm_smote` candidates: scaler, RBF machine and calibration on sentence embeddings."""

import importlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler

from sentiment.calibration import Calibrator, fit_calibrator
from sentiment.errors import DatasetError
from sentiment.text_graph import Floats


@dataclass(frozen=True)
class SvmSettings:
    """`c` and `gamma` as in scikit-learn's SVC; `smote_neighbours` rows make each synthetic one."""

    c: float
    gamma: str | float
    smote_neighbours: int
    seed: int


@dataclass(frozen=True)
class SvmModel:
    """A fitted machine; `labels` are in the order of its probabilities."""

    labels: tuple[str, ...]
    scaler: StandardScaler
    machine: Any
    calibrator: Calibrator

    def predict_probabilities(self, embeddings: Floats) -> NDArray[np.float64]:
        """Return calibrated probabilities, texts x labels, as scikit-learn computes them."""
        return self.calibrator.calibrate(decide(self.machine, self.scaler.transform(_widen(embeddings))))


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
    machine = load_svc()(C=settings.c, gamma=settings.gamma, decision_function_shape="ovo", cache_size=1000)
    machine.fit(rows, classes)
    held_out, held_out_targets = calibration
    calibrator = fit_calibrator(decide(machine, scaler.transform(_widen(held_out))), held_out_targets)
    return SvmModel(tuple(labels), scaler, machine, calibrator)


def load_svc() -> Any:
    """Return Intel's SVC where it is installed and runs, else scikit-learn's: the same answers, later."""
    logging.getLogger("sklearnex").setLevel(logging.WARNING)
    try:
        return importlib.import_module("sklearnex.svm").SVC
    except ImportError:
        return importlib.import_module("sklearn.svm").SVC


def decide(machine: Any, rows: NDArray[Any]) -> NDArray[np.float64]:
    """Return the one-vs-one decisions, rows x pairs of classes."""
    decisions = np.asarray(machine.decision_function(rows), dtype=np.float64)
    return decisions.reshape(len(rows), -1)


def _widen(embeddings: Floats) -> NDArray[np.float64]:
    """Return them in double precision: in single precision Intel's SVC can be off by tenths in a decision."""
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
