"""Datasets by name or by file: where each one lies and what its columns and labels mean."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from sentiment.data.table_reader import FORMATS, read_table
from sentiment.data.text_normalization import digest_rows
from sentiment.errors import DatasetError, describe_unknown
from sentiment.paths import CHECKOUT

DATA_VARIABLE = "SENTIMENT_DATA_DIR"
STARS = {"1": "negative", "2": "negative", "3": "neutral", "4": "positive", "5": "positive"}
TWO = {"positive": "positive", "negative": "negative"}
THREE = {**TWO, "neutral": "neutral"}


@dataclass(frozen=True)
class DatasetSource:
    """Where labelled text lies, which columns hold it and which labels count.

    `labels` maps what a file says to a class; a value outside it is dropped as an unknown label.
    Without a mapping every value is its own class. `hub` is the id, commit and configuration on the
    Hugging Face hub and what the integer labels there stand for; `home` is a page to fetch the files from by hand.
    """

    name: str
    files: tuple[Path, ...]
    text_column: str = "text"
    label_column: str = "label"
    labels: Mapping[str, str] = field(default_factory=dict)
    encoding: str = "utf-8"
    hub: tuple[str, str, str | None, Mapping[str, str]] | None = None
    home: str = ""


NAMED = {
    source.name: source
    for source in (
        DatasetSource("bundled", (CHECKOUT / "data" / "comments.csv",), labels=THREE),
        DatasetSource(
            "youtube",
            (Path("youtube/comments.csv"),),
            "Comment",
            "Sentiment",
            THREE,
            home="https://www.kaggle.com/datasets/atifaliak/youtube-comments-dataset",
        ),
        DatasetSource(
            "tweet_eval",
            (Path("tweet_eval/train.csv"), Path("tweet_eval/validation.csv")),
            labels=THREE,
            hub=(
                "cardiffnlp/tweet_eval",
                "b3a375baf0f409c77e6bc7aa35102b7b3534f8be",
                "sentiment",
                {"0": "negative", "1": "neutral", "2": "positive"},
            ),
        ),
        DatasetSource(
            "imdb",
            (Path("imdb/train.parquet"), Path("imdb/test.parquet")),
            labels=TWO,
            hub=(
                "stanfordnlp/imdb",
                "e6281661ce1c48d982bc483cf8a173c1bbeb5d31",
                None,
                {"0": "negative", "1": "positive"},
            ),
        ),
        DatasetSource(
            "amazon",
            (Path("amazon/alexa_reviews.tsv"),),
            "verified_reviews",
            "rating",
            STARS,
            home="https://www.kaggle.com/datasets/sid321axn/amazon-alexa-reviews",
        ),
    )
}


@dataclass(frozen=True)
class Dataset:
    """Named, labelled text: `frame` has the columns `text` and `label`, both strings."""

    name: str
    frame: pd.DataFrame

    @property
    def digest(self) -> str:
        """SHA-256 of the rows in their order."""
        return digest_rows(zip(self.frame["text"], self.frame["label"], strict=True))


def find_dataset(
    name: str,
    *,
    text_column: str = "text",
    label_column: str = "label",
    labels: Mapping[str, str] | None = None,
    encoding: str = "utf-8",
) -> DatasetSource:
    """Return the source for a known name or a file; columns and labels are for files only.

    Raises DatasetError when the name is neither known nor a file that exists and has a known format.
    """
    if name in NAMED:
        return NAMED[name]
    path = Path(name).expanduser()
    if not path.suffix and "/" not in name:
        raise DatasetError(describe_unknown("dataset", name, NAMED) + " A path to a file works too.")
    if not path.is_file():
        raise DatasetError(f"there is no file {name!r}; give a path that exists or one of: {', '.join(sorted(NAMED))}.")
    if path.suffix.lower() not in FORMATS:
        raise DatasetError(
            f"{path.name!r} ends in {path.suffix!r}; a dataset file ends in one of: {', '.join(sorted(FORMATS))}."
        )
    return DatasetSource(path.stem, (path.resolve(),), text_column, label_column, labels or {}, encoding)


def load_dataset(source: DatasetSource) -> Dataset:
    """Return the raw rows of a source, labels as found, from `SENTIMENT_DATA_DIR` or else the hub.

    Raises DatasetError when neither holds it.
    """
    files = [_resolve_file(file) for file in source.files]
    if all(file.is_file() for file in files):
        frames = [read_table(file, source.text_column, source.label_column, encoding=source.encoding) for file in files]
        return Dataset(source.name, pd.concat(frames, ignore_index=True))
    return Dataset(source.name, _download(source))


def _resolve_file(file: Path) -> Path:
    folder = os.environ.get(DATA_VARIABLE)
    return Path(folder).expanduser() / file if folder else file


def _download(source: DatasetSource) -> pd.DataFrame:
    wanted = ", ".join(str(file) for file in source.files)
    place = f"put {wanted} into a folder and name it in {DATA_VARIABLE}"
    if source.hub is None:
        where = f" from {source.home}" if source.home else ""
        raise DatasetError(
            f"dataset {source.name!r} is not in {DATA_VARIABLE}={os.environ.get(DATA_VARIABLE, '')!r};"
            f" fetch it{where}, {place}."
        )
    import datasets

    repository, revision, configuration, meanings = source.hub
    try:
        splits = datasets.load_dataset(repository, configuration, revision=revision)
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"dataset {source.name!r} could not be fetched from {repository!r} on the Hugging Face hub"
            f" ({type(error).__name__}); check the network, or {place}."
        ) from error
    frames = [splits[split].to_pandas() for split in ("train", "validation", "test") if split in splits]
    frame = pd.concat(frames, ignore_index=True)
    return pd.DataFrame({"text": frame["text"].astype(str), "label": frame["label"].astype(str).map(meanings)})
