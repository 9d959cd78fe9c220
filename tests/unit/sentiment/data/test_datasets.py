"""Datasets by name and by file, where they are looked for, and what their digest notices."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from sentiment.data.datasets import DATA_VARIABLE, NAMED, Dataset, DatasetSource, find_dataset, load_dataset
from sentiment.data.validation import ValidationReport, clean_dataset
from sentiment.errors import DatasetError
from sentiment.paths import CHECKOUT

CSV = "text,label\ngood,positive\nbad,negative\n"
REAL = ["youtube", "tweet_eval", "amazon", pytest.param("imdb", marks=pytest.mark.slow)]


def make_dataset(*rows: tuple[str, str]) -> Dataset:
    return Dataset("made", pd.DataFrame(rows, columns=["text", "label"]))


def list_rows(dataset: Dataset) -> list[tuple[str, str]]:
    return list(dataset.frame.itertuples(index=False, name=None))


def write(file: Path, content: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    return file


@pytest.fixture(scope="module")
def real_report(request, data_folder) -> ValidationReport:
    """The report on one real dataset, read and cleaned once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(DATA_VARIABLE, str(data_folder))
        source = find_dataset(request.param)
        return clean_dataset(load_dataset(source), source)[1]


def test_the_named_datasets_are_these():
    """The names that a configuration may use without a path."""
    assert set(NAMED) == {"bundled", "youtube", "tweet_eval", "imdb", "amazon"}


@pytest.mark.parametrize("name", sorted(NAMED))
def test_a_name_finds_its_source(name):
    """A known name finds the source of that name."""
    assert find_dataset(name).name == name


def test_a_name_brings_its_own_columns():
    """Columns and labels of a named dataset are its own, whatever the configuration says."""
    source = find_dataset("amazon", text_column="x", label_column="y", labels={"a": "b"})
    assert (source.text_column, source.label_column, source.labels["5"]) == ("verified_reviews", "rating", "positive")


def test_an_unknown_name_is_told_with_the_nearest_one(refuses):
    """A typo in a dataset name gets the nearest name, all names and the other way."""
    with refuses(DatasetError):
        find_dataset("yuotube")


def test_an_unknown_name_far_from_all_gets_no_guess():
    """A name near to none gets the list without a guess."""
    with pytest.raises(DatasetError) as caught:
        find_dataset("zzz")
    assert "Did you mean" not in str(caught.value)


@pytest.mark.parametrize("name", ["reviews.csv", "somewhere/reviews", "./reviews.parquet"])
def test_a_missing_file_is_told_with_the_names(name, tmp_path, monkeypatch, refuses):
    """A path to nothing says so and lists the names."""
    monkeypatch.chdir(tmp_path)
    with refuses(DatasetError):
        find_dataset(name)


def test_a_folder_is_not_a_file(tmp_path, refuses):
    """A path to a folder is told as a path to nothing is."""
    with refuses(DatasetError):
        find_dataset(str(tmp_path))


@pytest.mark.parametrize("name", ["a.xlsx", "a.txt", "a.csv.gz", "a"])
def test_an_unknown_ending_is_told_with_the_known_ones(tmp_path, name, refuses):
    """A file of another format says which endings are read."""
    with refuses(DatasetError):
        find_dataset(str(write(tmp_path / name, CSV)))


def test_a_file_is_a_dataset_named_after_it(tmp_path):
    """A file gives a dataset with its name and its rows as found."""
    dataset = load_dataset(find_dataset(str(write(tmp_path / "reviews.csv", CSV))))
    assert dataset.name == "reviews"
    assert list_rows(dataset) == [("good", "positive"), ("bad", "negative")]


def test_a_file_takes_columns_labels_and_encoding_from_the_configuration(tmp_path):
    """What the configuration says of a file reaches the source."""
    file = write(tmp_path / "a.csv", CSV)
    source = find_dataset(str(file), text_column="t", label_column="l", labels={"1": "negative"}, encoding="latin-1")
    assert source == DatasetSource("a", (file,), "t", "l", {"1": "negative"}, "latin-1")


def test_the_encoding_of_a_source_is_used(tmp_path):
    """A file in latin-1 is read with the encoding of its source."""
    (tmp_path / "a.csv").write_bytes("text,label\ncaf\u00e9,positive\n".encode("latin-1"))
    dataset = load_dataset(find_dataset(str(tmp_path / "a.csv"), encoding="latin-1"))
    assert list_rows(dataset) == [("caf\u00e9", "positive")]


def test_a_path_may_start_at_home(tmp_path, monkeypatch):
    """A tilde in a path is the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "a.csv", CSV)
    assert len(load_dataset(find_dataset("~/a.csv")).frame) == 2


def test_a_path_may_be_relative(tmp_path, monkeypatch):
    """A relative path is one from the current folder, also when a data folder is named."""
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "elsewhere"))
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "in" / "a.csv", CSV)
    assert len(load_dataset(find_dataset("in/a.csv")).frame) == 2


def test_the_bundled_dataset_needs_no_data_folder(tmp_path, monkeypatch):
    """The dataset that ships with the project loads from any folder."""
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    assert len(load_dataset(find_dataset("bundled")).frame) > 0


def test_a_named_dataset_comes_from_the_data_folder(tmp_path, monkeypatch):
    """SENTIMENT_DATA_DIR holds a named dataset under its own path."""
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    write(tmp_path / "youtube" / "comments.csv", "Comment,Sentiment\ngood,positive\n")
    assert list_rows(load_dataset(NAMED["youtube"])) == [("good", "positive")]


def test_the_data_folder_comes_before_the_current_one(tmp_path, monkeypatch):
    """A named dataset is the one in SENTIMENT_DATA_DIR, whatever lies in the current folder."""
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "data" / "youtube" / "comments.csv", "Comment,Sentiment\nwanted,positive\n")
    write(tmp_path / "youtube" / "comments.csv", "Comment,Sentiment\nother,positive\n")
    assert list_rows(load_dataset(NAMED["youtube"])) == [("wanted", "positive")]


def test_the_data_folder_may_start_at_home(tmp_path, monkeypatch):
    """A tilde in SENTIMENT_DATA_DIR is the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(DATA_VARIABLE, "~/data")
    write(tmp_path / "data" / "youtube" / "comments.csv", "Comment,Sentiment\ngood,positive\n")
    assert len(load_dataset(NAMED["youtube"]).frame) == 1


def test_the_files_of_a_dataset_follow_one_another(tmp_path, monkeypatch):
    """A dataset in two files is both, in order."""
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    write(tmp_path / "tweet_eval" / "train.csv", "text,label\none,positive\n")
    write(tmp_path / "tweet_eval" / "validation.csv", "text,label\ntwo,negative\n")
    dataset = load_dataset(NAMED["tweet_eval"])
    assert list_rows(dataset) == [("one", "positive"), ("two", "negative")]
    assert list(dataset.frame.index) == [0, 1]


def test_a_named_dataset_that_is_nowhere_says_where_to_fetch_it(tmp_path, monkeypatch, refuses):
    """A dataset without a public download names its page, its path and the variable."""
    monkeypatch.setenv(DATA_VARIABLE, "/no/such/folder")
    monkeypatch.chdir(tmp_path)
    with refuses(DatasetError):
        load_dataset(NAMED["youtube"])


def test_a_dataset_with_a_file_missing_is_nowhere(tmp_path, monkeypatch, refuses):
    """Half of a dataset is none: both of its files must be there."""
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    write(tmp_path / "train.csv", CSV)
    with refuses(DatasetError):
        load_dataset(DatasetSource("made", (Path("train.csv"), Path("test.csv"))))


def test_a_dataset_of_the_hub_is_one_commit():
    """A name there may be other rows tomorrow."""
    hubs = [source.hub for source in NAMED.values() if source.hub]
    assert len(hubs) == 2
    assert all(re.fullmatch("[0-9a-f]{40}", revision) for _, revision, _, _ in hubs)


@pytest.mark.slow
def test_a_hub_out_of_reach_says_what_to_do(tmp_path):
    """Without a network, a dataset from the hub names the files to put into the data folder."""
    code = "from sentiment.data.datasets import *\ntry: load_dataset(NAMED['imdb'])\nexcept DatasetError as e: print(e)"
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PYTHONPATH": str(CHECKOUT), DATA_VARIABLE: ""}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=os.environ | offline, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("dataset 'imdb' could not be fetched from 'stanfordnlp/imdb'")
    assert done.stdout.strip().endswith(
        "put imdb/train.parquet, imdb/test.parquet into a folder and name it in SENTIMENT_DATA_DIR."
    )


def test_the_same_rows_have_the_same_digest():
    """Two datasets of the same rows have one digest, whatever their names."""
    rows = (("good", "positive"), ("bad", "negative"))
    assert make_dataset(*rows).digest == Dataset("other", make_dataset(*rows).frame).digest


@pytest.mark.parametrize(
    "rows",
    [
        (("bad", "negative"), ("good", "positive")),
        (("good", "positive"),),
        (("good", "positive"), ("bad", "negative"), ("new", "neutral")),
        (("good", "positive"), ("bad", "neutral")),
        (("Good", "positive"), ("bad", "negative")),
    ],
    ids=["order", "row less", "row more", "label", "case"],
)
def test_a_digest_changes_with_rows_and_order(rows):
    """Every change of the rows or of their order changes the digest."""
    assert make_dataset(*rows).digest != make_dataset(("good", "positive"), ("bad", "negative")).digest


@pytest.mark.parametrize("real_report", REAL, indirect=True)
def test_a_real_dataset_can_train_a_model(real_report):
    """Each real dataset keeps nearly all of its rows, or loses them to duplicates alone."""
    repeated = sum(rows.count for rows in real_report.dropped if rows.reason == "duplicate text")
    assert real_report.rows_kept > 2_000
    assert real_report.rows_kept + repeated > 0.95 * real_report.rows_read


@pytest.mark.parametrize("real_report", REAL, indirect=True)
def test_a_real_dataset_has_rows_of_every_class(real_report):
    """Each real dataset has positive and negative rows, and neutral ones unless it is imdb."""
    classes = {"negative", "positive"} if real_report.dataset == "imdb" else {"negative", "neutral", "positive"}
    assert set(real_report.class_counts) == classes
    assert min(real_report.class_counts.values()) > 100


@pytest.mark.parametrize("real_report", REAL, indirect=True)
def test_a_real_dataset_has_no_unknown_label(real_report):
    """The mapping of each real dataset covers every label in its files."""
    assert "unknown label" not in {rows.reason for rows in real_report.dropped}
