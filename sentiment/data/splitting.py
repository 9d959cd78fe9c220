"""Train, validation and holdout by the hash of each text: a text keeps its split for ever."""

from dataclasses import dataclass

import pandas as pd

from sentiment.data.datasets import Dataset
from sentiment.data.text_normalization import place_text

SPLIT_SALT = "side"  # every text keeps its split only as long as this stays
SAMPLE_SALT = "sample"


@dataclass(frozen=True)
class DatasetSplits:
    """The three splits of one dataset; no text is in two of them."""

    train: Dataset
    validation: Dataset
    holdout: Dataset


def split_dataset(
    dataset: Dataset, *, validation_share: float, holdout_share: float, train_fraction: float = 1.0
) -> DatasetSplits:
    """Return the splits of a cleaned dataset; shares and `train_fraction` are in (0, 1].

    `train_fraction` keeps that part of the training rows, the same ones every time and each smaller
    part inside the larger; validation and holdout stay whole.
    """
    places = dataset.frame["text"].map(lambda text: place_text(text, SPLIT_SALT))
    samples = dataset.frame["text"].map(lambda text: place_text(text, SAMPLE_SALT))
    in_holdout = places < holdout_share
    in_validation = ~in_holdout & (places < holdout_share + validation_share)
    in_train = ~in_holdout & ~in_validation & (samples < train_fraction)
    return DatasetSplits(*(_take(dataset, rows) for rows in (in_train, in_validation, in_holdout)))


def sample_rows(dataset: Dataset, rows: int, seed: int) -> Dataset:
    """Return that many rows at random, in the order they came; all where there are no more."""
    if rows >= len(dataset.frame):
        return dataset
    frame = dataset.frame.sample(rows, random_state=seed).sort_index().reset_index(drop=True)
    return Dataset(dataset.name, frame)


def _take(dataset: Dataset, rows: "pd.Series[bool]") -> Dataset:
    return Dataset(dataset.name, dataset.frame.loc[rows, ["text", "label"]].reset_index(drop=True))
