"""The dataset that ships with the project: large enough, varied, and of the classes it claims."""

from collections import Counter

import pandas as pd
import pytest

from sentiment.data.datasets import NAMED, Dataset, load_dataset
from sentiment.data.text_normalization import normalise_text
from sentiment.data.validation import clean_dataset

WORDS_IN_A_RUN = 5


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return load_dataset(NAMED["bundled"])


@pytest.fixture(scope="module")
def texts(dataset) -> pd.Series:
    return dataset.frame["text"].map(normalise_text)


def test_it_has_fifteen_hundred_distinct_comments(texts):
    """At least 1,500 comments differ by normalised text."""
    assert texts.nunique() >= 1500


def test_no_row_is_dropped(dataset):
    """Every row can train a model."""
    _, report = clean_dataset(dataset, NAMED["bundled"])
    assert report.dropped == ()


@pytest.mark.parametrize(("label", "share"), [("positive", 0.5), ("neutral", 0.33), ("negative", 0.17)])
def test_a_class_has_about_its_share(dataset, label, share):
    """About half of the comments are positive, a third neutral, the rest negative."""
    assert (dataset.frame["label"] == label).mean() == pytest.approx(share, abs=0.04)


def test_it_has_no_other_class(dataset):
    """Every comment is positive, neutral or negative."""
    assert set(dataset.frame["label"]) == {"positive", "neutral", "negative"}


def test_no_run_of_five_words_is_in_more_than_one_row_of_a_hundred(texts):
    """The comments do not follow a template."""
    rows_with = Counter()
    for text in texts:
        words = text.split()
        rows_with.update({tuple(words[at : at + WORDS_IN_A_RUN]) for at in range(len(words) - WORDS_IN_A_RUN + 1)})
    assert max(rows_with.values()) <= 0.01 * len(texts)
