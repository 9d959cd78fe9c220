"""Which rows can train a model, what is counted of the others, and which datasets are refused."""

import pandas as pd
import pytest

from sentiment.data.datasets import Dataset, DatasetSource
from sentiment.data.validation import DroppedRows, clean_dataset, order_labels
from sentiment.errors import DatasetError

GOOD = ("good", "positive")
BAD = ("bad", "negative")


def clean(*rows: tuple[str, str], labels=None):
    raw = Dataset("made", pd.DataFrame(rows, columns=["text", "label"], dtype=object))
    dataset, report = clean_dataset(raw, DatasetSource("made", (), labels=labels or {}))
    return list(dataset.frame.itertuples(index=False, name=None)), report


def say_mistake(*rows: tuple[str, str], labels=None) -> str:
    with pytest.raises(DatasetError) as caught:
        clean(*rows, labels=labels)
    return str(caught.value)


def test_clean_rows_are_kept_in_order():
    """Rows without a fault are kept as they are, and nothing is reported as dropped."""
    rows, report = clean(GOOD, BAD, ("Fine, I think", "positive"))
    assert rows == [GOOD, BAD, ("Fine, I think", "positive")]
    assert (report.rows_read, report.rows_kept, report.rows_dropped, report.dropped) == (3, 3, 0, ())


@pytest.mark.parametrize("text", ["", "  ", "\t\n", "\u00a0"])
def test_a_row_without_text_is_dropped(text):
    """An empty text is dropped and counted; there is nothing to show of it."""
    rows, report = clean(GOOD, (text, "positive"), BAD)
    assert rows == [GOOD, BAD]
    assert report.dropped == (DroppedRows("empty text", 1, ()),)


def test_a_row_without_a_label_is_dropped():
    """A row without a label is dropped and counted."""
    rows, report = clean(GOOD, ("so so", ""), BAD)
    assert rows == [GOOD, BAD]
    assert report.dropped == (DroppedRows("no label", 1, ("no label: so so",)),)


def test_a_row_without_text_and_label_counts_once():
    """A row with two faults is counted under the first."""
    _, report = clean(GOOD, ("", ""), BAD)
    assert [(rows.reason, rows.count) for rows in report.dropped] == [("empty text", 1)]


def test_labels_unknown_to_the_mapping_are_dropped():
    """A label that the mapping does not know is dropped and counted, the others are mapped."""
    rows, report = clean(("good", "5"), ("odd", "11"), ("bad", "1"), labels={"1": "negative", "5": "positive"})
    assert rows == [GOOD, BAD]
    assert report.dropped == (DroppedRows("unknown label", 1, ("11: odd",)),)


def test_an_empty_label_is_no_unknown_label():
    """With a mapping, an empty label is still counted as no label."""
    _, report = clean(GOOD, BAD, ("odd", ""), labels={"positive": "positive", "negative": "negative"})
    assert [rows.reason for rows in report.dropped] == ["no label"]


def test_star_ratings_become_classes():
    """Several ratings may mean one class."""
    stars = {"1": "negative", "2": "negative", "3": "neutral", "4": "positive", "5": "positive"}
    rows, report = clean(*((f"text {star}", star) for star in "12345"), labels=stars)
    assert [label for _, label in rows] == ["negative", "negative", "neutral", "positive", "positive"]
    assert dict(report.class_counts) == {"negative": 2, "neutral": 1, "positive": 2}


def test_without_a_mapping_every_label_is_its_own_class():
    """A file with labels of its own needs no mapping."""
    _, report = clean(("a", "ham"), ("b", "spam"))
    assert dict(report.class_counts) == {"ham": 1, "spam": 1}


def test_a_repeated_text_is_kept_once():
    """Of texts that are the same but for case and spaces the first is kept."""
    rows, report = clean(GOOD, BAD, ("  GOOD ", "positive"), ("good", "positive"))
    assert rows == [GOOD, BAD]
    assert report.dropped == (DroppedRows("duplicate text", 2, ("positive:   GOOD ", "positive: good")),)


def test_contradictions_are_dropped_altogether():
    """A text with two labels is dropped under both, for neither can be trusted."""
    rows, report = clean(GOOD, ("so so", "positive"), BAD, ("So  so", "negative"))
    assert rows == [GOOD, BAD]
    assert report.dropped == (
        DroppedRows("same text with different labels", 2, ("positive: so so", "negative: So  so")),
    )


def test_two_labels_of_one_class_are_no_contradiction():
    """Four and five stars for one text agree when both mean positive."""
    labels = {"1": "negative", "4": "positive", "5": "positive"}
    rows, report = clean(("good", "4"), ("good", "5"), ("bad", "1"), labels=labels)
    assert rows == [GOOD, BAD]
    assert [dropped.reason for dropped in report.dropped] == ["duplicate text"]


def test_an_unknown_label_does_not_contradict_a_known_one():
    """A text is kept when its other label does not count."""
    rows, _ = clean(GOOD, BAD, ("good", "unsure"), labels={"positive": "positive", "negative": "negative"})
    assert rows == [GOOD, BAD]


def test_rows_read_are_kept_or_dropped_under_one_reason():
    """The counts of the reasons add up to the rows that are missing."""
    _, report = clean(GOOD, BAD, ("", "x"), ("a", ""), ("c", "positive"), ("C", "negative"), ("bad ", "negative"))
    assert report.rows_read == 7
    assert sum(rows.count for rows in report.dropped) == report.rows_dropped == 5


def test_a_reason_shows_three_examples_of_eighty_characters():
    """A report of many dropped rows stays short."""
    _, report = clean(GOOD, BAD, *(("x" * 200, "positive") for _ in range(6)))
    assert report.dropped == (DroppedRows("duplicate text", 5, ("positive: " + "x" * 80,) * 3),)


def test_lengths_are_counted_in_words():
    """A text of n words counts in the bin whose lower edge is at most n."""
    texts = ["w" + " w" * (words - 1) for words in (1, 2, 3, 4, 255, 256, 1000)]
    _, report = clean(*((text, "positive" if place % 2 else "negative") for place, text in enumerate(texts)))
    assert {low: count for low, count in report.length_counts.items() if count} == {1: 1, 2: 2, 4: 1, 128: 1, 256: 2}


def test_the_report_carries_the_digest_of_what_was_kept():
    """A dropped row does not change the digest of a dataset; a kept one does."""
    _, plain = clean(GOOD, BAD)
    _, same = clean(GOOD, ("", "positive"), BAD)
    _, more = clean(GOOD, BAD, ("new", "positive"))
    assert plain.digest == same.digest != more.digest


def test_cleaning_leaves_the_raw_rows_alone():
    """The raw dataset is the same after cleaning as before."""
    raw = Dataset("made", pd.DataFrame([GOOD, BAD, BAD], columns=["text", "label"]))
    clean_dataset(raw, DatasetSource("made", ()))
    assert list(raw.frame.columns) == ["text", "label"]
    assert len(raw.frame) == 3


def test_no_row_at_all_is_refused(sentence):
    """A dataset of no rows says that nothing is left and which keys to check."""
    assert say_mistake() == sentence


def test_no_row_after_cleaning_is_refused_with_the_reasons(sentence):
    """A dataset of bad rows alone says how many fell to each reason."""
    assert say_mistake(("", "positive"), (" ", "negative"), ("good", "")) == sentence


def test_only_unknown_labels_are_refused_with_the_known_ones(sentence):
    """A mapping that fits no row is told with the labels that it knows."""
    assert say_mistake(("good", "5"), ("bad", "1"), labels={"pos": "positive", "neg": "negative"}) == sentence


def test_one_class_is_refused(sentence):
    """A dataset of one class says which and what a model needs."""
    assert say_mistake(GOOD, ("fine", "positive")) == sentence


def test_one_class_after_cleaning_is_refused():
    """What counts is what is left: a second class that was dropped does not help."""
    assert "only the class 'positive' (1 rows)" in say_mistake(GOOD, ("", "negative"))


@pytest.mark.parametrize("labels", [("negative", "positive"), ("negative", "neutral", "positive")])
def test_two_and_three_classes_are_accepted(labels):
    """Two and three classes can train a model."""
    _, report = clean(*((f"text {label}", label) for label in labels))
    assert tuple(report.class_counts) == labels


def test_four_classes_are_refused_with_a_mapping_to_write(sentence):
    """More than three classes are named, with the mapping that would join them."""
    assert say_mistake(*((f"text {star}", star) for star in "1234")) == sentence


def test_hundreds_of_classes_are_refused_in_a_short_sentence():
    """A label column that is an id names eight of its values, not all."""
    message = say_mistake(*((f"text {number}", f"id{number}") for number in range(300)))
    assert "has 300 classes (" in message
    assert message.count("id") == 8


@pytest.mark.parametrize(
    ("labels", "ordered"),
    [
        ({"positive", "negative", "neutral"}, ("negative", "neutral", "positive")),
        ({"positive", "negative"}, ("negative", "positive")),
        ({"spam", "ham"}, ("ham", "spam")),
        ({"angry", "positive"}, ("positive", "angry")),
        (set(), ()),
    ],
)
def test_classes_go_from_negative_to_positive(labels, ordered):
    """The usual classes have their order; others follow by name."""
    assert order_labels(labels) == ordered
