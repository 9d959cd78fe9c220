"""What every candidate is made from and what it hands over: words that the candidates share, no training."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sentiment.bundle.onnx_session import Floats
from sentiment.config.schema import EncoderSection, TrainingSection
from sentiment.data.datasets import Dataset
from sentiment.data.validation import order_labels
from sentiment.errors import DatasetError
from sentiment.evaluation.predictions import encode_labels
from sentiment.paths import StateFolder

logger = logging.getLogger(__name__)

Report = Callable[[Mapping[str, float], int], None]
"""Gets live metrics by name, and the step that they are of."""


@dataclass(frozen=True)
class TrainingSplits:
    """The rows to fit on and the rows to choose and calibrate on, with the digests that go on the card."""

    train: Dataset
    validation: Dataset
    dataset_digest: str
    holdout_digest: str

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The classes in order. Raises DatasetError when a split lacks one."""
        labels = order_labels(set(self.train.frame["label"]) | set(self.validation.frame["label"]))
        for split, rows in (("training", self.train), ("validation", self.validation)):
            counts = rows.frame["label"].value_counts()
            for label in labels:
                if label not in counts.index:
                    raise DatasetError(
                        f"the {split} split of dataset {self.train.name!r} has no row of the class {label!r}"
                        f" ({len(rows.frame)} rows in all); add rows of that class, or raise dataset.train_fraction."
                    )
        return labels

    @property
    def train_texts(self) -> list[str]:
        return list(self.train.frame["text"])

    @property
    def validation_texts(self) -> list[str]:
        return list(self.validation.frame["text"])

    @property
    def train_targets(self) -> NDArray[np.int64]:
        return encode_labels(self.train, self.labels)

    @property
    def validation_targets(self) -> NDArray[np.int64]:
        return encode_labels(self.validation, self.labels)


@dataclass(frozen=True)
class TrainingContext:
    """The configuration of a training, where work that is done once is kept, and who hears of its progress."""

    encoder: EncoderSection
    training: TrainingSection
    state: StateFolder
    report: Report


@dataclass(frozen=True)
class TrainedCandidate:
    """A trained candidate whose graph and tokenizer lie in its folder, before it is sealed.

    `probabilities` are its answers on validation, rows x labels; `base` names the weights that it started from.
    """

    base: str
    max_tokens: int
    precision: str
    texts_per_call: int
    probabilities: Floats
    metrics: Mapping[str, float]


def choose_precision(candidate: str, f1: Mapping[str, float], max_loss: float) -> str:
    """Return the precision to serve of those whose macro F1 on validation is given.

    Of two that is int8 where it keeps within `max_loss` of fp32.
    """
    (precision,) = f1 if len(f1) == 1 else ("int8" if f1["int8"] >= f1["fp32"] - max_loss else "fp32",)
    measured = ", ".join(f"{value:.3f} in {name}" for name, value in f1.items())
    logger.info("%s: macro F1 on validation %s; took %s", candidate, measured, precision)
    return precision
