"""The splits of a named dataset as the training pipeline makes them, for benchmarks."""

from sentigate.configuration import CONFIG
from sentiment.config.reader import read_config
from sentiment.data.datasets import find_dataset, load_dataset
from sentiment.data.splitting import DatasetSplits, split_dataset
from sentiment.data.validation import clean_dataset


def split_named(dataset: str) -> DatasetSplits:
    """Return train, validation and holdout of a dataset by the shares of `zenml_config.yaml`."""
    source = find_dataset(dataset)
    clean, _ = clean_dataset(load_dataset(source), source)
    split = read_config(CONFIG).split
    return split_dataset(clean, validation_share=split.validation_share, holdout_share=split.holdout_share)
