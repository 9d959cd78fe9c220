"""Which precision a candidate takes, and which sides cannot train one."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

from sentiment.candidates import Workbench, choose_precision, train_svm_candidate
from sentiment.candidates.svm_model import SvmSettings
from sentiment.datasets import Dataset
from sentiment.encoder import Encoder
from sentiment.errors import DatasetError


def make_side(labels: Sequence[str], name: str = "made") -> Dataset:
    texts = [f"text number {i}" for i in range(len(labels))]
    return Dataset(name, pd.DataFrame({"text": texts, "label": list(labels)}))


def train(folder: Path, train_labels: Sequence[str], validation_labels: Sequence[str]) -> None:
    encoder = Encoder(folder / "absent", folder / "absent", max_tokens=16)
    train_svm_candidate(
        "svm",
        make_side(train_labels),
        make_side(validation_labels),
        SvmSettings(c=1.0, gamma="scale", smote_neighbours=5, seed=0),
        Workbench(encoder, "absent", folder / "embeddings", "fp32", max_int8_loss=0.01),
        folder / "bundle",
        dataset_digest="d" * 64,
        holdout_digest="h" * 64,
    )


@pytest.mark.parametrize(
    ("int8_f1", "chosen"),
    [(0.875, "int8"), (0.75, "int8"), (0.625, "int8"), (0.62, "fp32"), (0.0, "fp32")],
    ids=["better", "equal", "just-within", "just-below", "lost"],
)
def test_auto_takes_int8_while_it_keeps_its_quality(int8_f1: float, chosen: str):
    """A loss of macro F1 up to the limit buys the smaller model; more does not."""
    assert choose_precision(int8_f1, fp32_f1=0.75, max_loss=0.125) == chosen


@pytest.mark.parametrize(("int8_f1", "chosen"), [(0.75, "int8"), (0.7499, "fp32")])
def test_auto_without_an_allowance_takes_int8_only_where_nothing_is_lost(int8_f1: float, chosen: str):
    """At a limit of zero an equal score is enough and a lower one is not."""
    assert choose_precision(int8_f1, fp32_f1=0.75, max_loss=0.0) == chosen


def test_a_class_that_training_lacks_is_named(tmp_path: Path):
    """A class that only validation has cannot be learnt, and the sentence says what to do."""
    with pytest.raises(DatasetError) as refusal:
        train(tmp_path, ["negative", "positive", "positive"], ["negative", "neutral", "positive"])
    assert str(refusal.value) == (
        "the training side of dataset 'made' has no row of the class 'neutral' (3 rows in all);"
        " add rows of that class, or raise dataset.train_fraction."
    )


def test_a_class_that_validation_lacks_is_named(tmp_path: Path):
    """A class that only training has cannot be calibrated."""
    with pytest.raises(DatasetError) as refusal:
        train(tmp_path, ["negative", "positive"], ["negative", "negative"])
    assert str(refusal.value) == (
        "the validation side of dataset 'made' has no row of the class 'positive' (2 rows in all);"
        " add rows of that class, or raise dataset.train_fraction."
    )


def test_a_refused_side_leaves_no_files(tmp_path: Path):
    """The check comes before any work."""
    with pytest.raises(DatasetError):
        train(tmp_path, ["negative"], ["positive"])
    assert list(tmp_path.iterdir()) == []
