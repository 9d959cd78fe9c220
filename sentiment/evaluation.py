"""How good a predictor is on labelled text: accuracy, precision, recall and F1, overall and by class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from sentiment.datasets import Dataset
from sentiment.errors import DatasetError
from sentiment.predictor import Predictor


@dataclass(frozen=True)
class ClassScore:
    """Precision, recall and F1 of one class, each in [0, 1], and its number of rows."""

    precision: float
    recall: float
    f1: float
    rows: int


@dataclass(frozen=True)
class Evaluation:
    """Scores of one bundle on one side of a dataset; the confusion counts true labels by row."""

    bundle_digest: str
    dataset_digest: str
    rows: int
    accuracy: float
    macro_precision: float
    macro_recall: float
    macro_f1: float
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
        }
        for label, score in self.classes.items():
            scores |= {f"precision_{label}": score.precision, f"recall_{label}": score.recall, f"f1_{label}": score.f1}
        return scores


def evaluate_predictor(predictor: Predictor, rows: Dataset) -> Evaluation:
    """Return the scores of a predictor on labelled rows, through the path that serves."""
    targets = encode_labels(rows, predictor.labels)
    answers = predictor.predict_probabilities(list(rows.frame["text"])).argmax(axis=1)
    return score_answers(answers, targets, predictor.labels, predictor.bundle.card.digest, rows.digest)


def score_answers(
    answers: NDArray[np.int64],
    targets: NDArray[np.int64],
    labels: Sequence[str],
    bundle_digest: str,
    dataset_digest: str,
) -> Evaluation:
    """Return the scores of answers against targets; both index into `labels`."""
    known = range(len(labels))
    precision, recall, f1, support = precision_recall_fscore_support(targets, answers, labels=known, zero_division=0)
    classes = {
        label: ClassScore(float(precision[i]), float(recall[i]), float(f1[i]), int(support[i]))
        for i, label in enumerate(labels)
    }
    return Evaluation(
        bundle_digest=bundle_digest,
        dataset_digest=dataset_digest,
        rows=len(targets),
        accuracy=float((answers == targets).mean()),
        macro_precision=float(precision.mean()),
        macro_recall=float(recall.mean()),
        macro_f1=float(f1.mean()),
        classes=classes,
        confusion=tuple(tuple(int(n) for n in row) for row in confusion_matrix(targets, answers, labels=known)),
    )


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
