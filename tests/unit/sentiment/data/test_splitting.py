"""Which split a text is in, and that it stays there."""

import pandas as pd
import pytest

from sentiment.data.datasets import Dataset
from sentiment.data.splitting import DatasetSplits, split_dataset

ROWS = [(f"comment number {number}", ("negative", "positive")[number % 2]) for number in range(2000)]


def split(rows=ROWS, validation_share=0.15, holdout_share=0.2, **options) -> DatasetSplits:
    dataset = Dataset("made", pd.DataFrame(rows, columns=["text", "label"]))
    return split_dataset(dataset, validation_share=validation_share, holdout_share=holdout_share, **options)


def list_rows(split: Dataset) -> list[tuple[str, str]]:
    return list(split.frame.itertuples(index=False, name=None))


def texts(split: Dataset) -> set[str]:
    return set(split.frame["text"])


def test_every_row_is_on_one_side():
    """Train, validation and holdout hold every row once, with its label."""
    splits = split()
    together = [*list_rows(splits.train), *list_rows(splits.validation), *list_rows(splits.holdout)]
    assert sorted(together) == sorted(ROWS)


def test_no_text_is_in_two_splits():
    """Nothing crosses from one split to another."""
    splits = split()
    assert not texts(splits.train) & texts(splits.validation)
    assert not texts(splits.train) & texts(splits.holdout)
    assert not texts(splits.validation) & texts(splits.holdout)


@pytest.mark.parametrize(("validation_share", "holdout_share"), [(0.15, 0.2), (0.1, 0.1), (0.3, 0.5)])
def test_the_splits_have_about_their_shares(validation_share, holdout_share):
    """Each split has its share of the rows, give or take what a hash does."""
    splits = split(validation_share=validation_share, holdout_share=holdout_share)
    assert len(splits.validation.frame) / 2000 == pytest.approx(validation_share, abs=0.04)
    assert len(splits.holdout.frame) / 2000 == pytest.approx(holdout_share, abs=0.04)


def test_a_text_keeps_its_side_when_rows_are_added():
    """Rows that arrive later move no row that was there before."""
    before, after = split(ROWS[:1000]), split(ROWS)
    assert texts(before.train) <= texts(after.train)
    assert texts(before.validation) <= texts(after.validation)
    assert texts(before.holdout) <= texts(after.holdout)


def test_a_text_keeps_its_side_when_rows_are_removed_or_shuffled():
    """The split of a text depends on no other row and on no order."""
    shuffled = split(ROWS[::-3])
    assert texts(shuffled.holdout) <= texts(split().holdout)
    assert texts(shuffled.train) <= texts(split().train)


def test_a_text_keeps_its_side_when_its_label_changes():
    """A corrected label does not move a text."""
    corrected = split([(text, "neutral") for text, _ in ROWS])
    assert texts(corrected.holdout) == texts(split().holdout)


def test_a_text_spelled_differently_is_on_the_same_side():
    """Case and spaces do not carry a text across."""
    shouted = split([(f"  {text.upper()} ", label) for text, label in ROWS])
    assert {text.strip().lower() for text in texts(shouted.holdout)} == texts(split().holdout)


def test_a_side_keeps_the_order_of_the_rows():
    """Rows keep their order in each split and are numbered anew."""
    holdout = split().holdout.frame
    numbers = [int(text.split()[-1]) for text in holdout["text"]]
    assert numbers == sorted(numbers)
    assert list(holdout.index) == list(range(len(holdout)))


def test_the_same_rows_give_the_same_digests():
    """A second run has the same holdout, down to its digest."""
    assert split().holdout.digest == split().holdout.digest


def test_a_larger_holdout_contains_the_smaller_one():
    """A holdout that grows keeps the texts that it had."""
    assert texts(split(holdout_share=0.1).holdout) < texts(split(holdout_share=0.3).holdout)


def test_a_smaller_train_fraction_is_inside_the_larger():
    """Each smaller part of the training rows lies inside the next."""
    parts = [texts(split(train_fraction=fraction).train) for fraction in (0.1, 0.3, 0.7, 1.0)]
    assert parts[0] < parts[1] < parts[2] < parts[3]


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
def test_a_train_fraction_is_that_part_of_the_training_rows(fraction):
    """The fraction is one of the training split, not of all rows, give or take what a hash does."""
    whole, part = len(split().train.frame), len(split(train_fraction=fraction).train.frame)
    assert part / whole == pytest.approx(fraction, abs=0.05)


def test_a_train_fraction_leaves_validation_and_holdout_whole():
    """Training on less changes nothing about what is measured."""
    whole, part = split(), split(train_fraction=0.1)
    assert part.validation.digest == whole.validation.digest
    assert part.holdout.digest == whole.holdout.digest


def test_no_rows_make_three_empty_splits():
    """No rows split into no rows."""
    splits = split([])
    assert [len(split.frame) for split in (splits.train, splits.validation, splits.holdout)] == [0, 0, 0]


def test_every_side_keeps_the_name_of_the_dataset():
    """A split is a dataset of the same name."""
    splits = split(ROWS[:10])
    assert {splits.train.name, splits.validation.name, splits.holdout.name} == {"made"}
