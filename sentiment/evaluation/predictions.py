"""How good a predictor is on labelled text: its predictions, and their scores, overall and by class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, f1_score, precision_recall_fscore_support

from sentiment.bundle.onnx_session import Floats
from sentiment.bundle.predictor import Predictor
from sentiment.data.datasets import Dataset
from sentiment.errors import BundleError, DatasetError
from sentiment.evaluation.calibration import measure_calibration_error


@dataclass(frozen=True)
class Predictions:
    """What one bundle predicts for one split of a dataset, row by row.

    `probabilities` is rows x labels; `targets` index into `labels`.
    """

    bundle_digest: str
    dataset_digest: str
    labels: tuple[str, ...]
    probabilities: Floats
    targets: NDArray[np.int64]

    @property
    def chosen(self) -> NDArray[np.int64]:
        chosen: NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return chosen

    @property
    def correct(self) -> NDArray[np.bool_]:
        correct: NDArray[np.bool_] = self.chosen == self.targets
        return correct

    @property
    def confidences(self) -> NDArray[np.float64]:
        return np.asarray(self.probabilities.max(axis=1), dtype=np.float64)

    def reorder(self, labels: Sequence[str]) -> "Predictions":
        """Return the same predictions with the same labels in another order."""
        order = [self.labels.index(label) for label in labels]
        return replace(
            self,
            labels=tuple(labels),
            probabilities=self.probabilities[:, order],
            targets=np.argsort(order)[self.targets],
        )


@dataclass(frozen=True)
class ClassScore:
    """Precision, recall and F1 of one class, each in [0, 1], and its number of rows."""

    precision: float
    recall: float
    f1: float
    rows: int


@dataclass(frozen=True)
class Evaluation:
    """Scores of one bundle on one split of a dataset.

    Macro figures are means over the classes that have rows. The confusion counts true labels by row. The calibration
    error is the expected one, in [0, 1].
    """

    bundle_digest: str
    dataset_digest: str
    rows: int
    accuracy: float
    macro_precision: float
    macro_recall: float
    macro_f1: float
    calibration_error: float
    classes: Mapping[str, ClassScore]
    confusion: tuple[tuple[int, ...], ...]

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.classes)

    def flatten(self) -> dict[str, float]:
        """Return the scores by name, as MLflow and the card keep them."""
        scores = {
            "accuracy": self.accuracy,
            "macro_precision": self.macro_precision,
            "macro_recall": self.macro_recall,
            "macro_f1": self.macro_f1,
            "calibration_error": self.calibration_error,
        }
        for label, score in self.classes.items():
            scores |= {f"precision_{label}": score.precision, f"recall_{label}": score.recall, f"f1_{label}": score.f1}
        return scores


def predict_rows(predictor: Predictor, rows: Dataset) -> Predictions:
    """Return what a predictor predicts for labelled rows, through the path that serves.

    Raises BundleError when a prediction is not a number.
    """
    targets = encode_labels(rows, predictor.labels)
    probabilities = predictor.predict_probabilities(list(rows.frame["text"]))
    broken = int((~np.isfinite(probabilities)).any(axis=1).sum())
    if broken:
        raise BundleError(
            f"the bundle {predictor.bundle.card.digest[:12]} answers {broken} of {len(targets)} texts with no number;"
            " train it again."
        )
    return Predictions(predictor.bundle.card.digest, rows.digest, predictor.labels, probabilities, targets)


def score_predictions(predictions: Predictions) -> Evaluation:
    """Return the scores of the predictions."""
    known = range(len(predictions.labels))
    chosen, targets = predictions.chosen, predictions.targets
    precision, recall, f1, support = precision_recall_fscore_support(targets, chosen, labels=known, zero_division=0)
    classes = {
        label: ClassScore(float(precision[i]), float(recall[i]), float(f1[i]), int(support[i]))
        for i, label in enumerate(predictions.labels)
    }
    return Evaluation(
        bundle_digest=predictions.bundle_digest,
        dataset_digest=predictions.dataset_digest,
        rows=len(targets),
        accuracy=float(predictions.correct.mean()),
        macro_precision=float(precision[support > 0].mean()),
        macro_recall=float(recall[support > 0].mean()),
        macro_f1=float(f1[support > 0].mean()),
        calibration_error=measure_calibration_error(predictions.confidences, predictions.correct),
        classes=classes,
        confusion=tuple(tuple(int(n) for n in row) for row in confusion_matrix(targets, chosen, labels=known)),
    )


def measure_macro_f1(targets: NDArray[np.int64], predictions: NDArray[Any]) -> float:
    """Return macro F1 of predictions, one class or one row of scores per target."""
    chosen = predictions.argmax(axis=1) if predictions.ndim > 1 else predictions
    return float(f1_score(targets, chosen, average="macro"))


def encode_labels(rows: Dataset, labels: Sequence[str]) -> NDArray[np.int64]:
    """Return the position of each row's label. Raises DatasetError for a label the model does not know."""
    positions = {label: i for i, label in enumerate(labels)}
    strange = sorted(set(rows.frame["label"]) - set(positions))
    if strange:
        raise DatasetError(
            f"dataset {rows.name!r} has the label {strange[0]!r}, the model knows {', '.join(labels)};"
            " map the labels in dataset.labels."
        )
    return np.array([positions[label] for label in rows.frame["label"]], dtype=np.int64)
