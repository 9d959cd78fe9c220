"""Slices of a dataset."""

from collections.abc import Sequence

import numpy as np
import pytest

from sentiment.evaluation.predictions import Predictions
from sentiment.evaluation.slices import score_slices, slice_texts

LABELS = ("negative", "neutral", "positive")
SLICES = ["1-4 words", "5-15 words", "16-50 words", "51 words or more", "negation", "emoji", "question", "all caps"]


def make_predictions(targets: Sequence[int], chosen: Sequence[int], sure: Sequence[float] | None = None) -> Predictions:
    """Return answers with a confidence each, the rest shared by the other labels."""
    confidence = np.array([0.9] * len(chosen) if sure is None else sure, dtype=np.float32)
    probabilities = np.repeat((1 - confidence)[:, None] / 2, 3, axis=1)
    probabilities[np.arange(len(chosen)), list(chosen)] = confidence
    return Predictions("bundle", "dataset", LABELS, probabilities, np.array(targets, dtype=np.int64))


def find_slices(text: str) -> list[str]:
    return [name for name, rows in slice_texts([text]).items() if rows[0]]


def has_trait(trait: str, text: str) -> bool:
    return trait in find_slices(text)


def test_the_slices_have_their_names():
    """Lengths first, then traits."""
    assert list(slice_texts(["word"])) == SLICES


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (1, "1-4 words"),
        (4, "1-4 words"),
        (5, "5-15 words"),
        (15, "5-15 words"),
        (16, "16-50 words"),
        (50, "16-50 words"),
        (51, "51 words or more"),
        (5000, "51 words or more"),
    ],
)
def test_a_text_has_one_length(words: int, name: str):
    """Both ends of a length belong to it, and no text has two."""
    assert find_slices(" ".join(["good"] * words)) == [name]


@pytest.mark.parametrize("text", ["", "  ", "\n\t\u00a0"])
def test_a_text_without_words_is_in_no_slice(text: str):
    """Nothing has no length."""
    assert find_slices(text) == []


def test_words_are_what_spaces_of_any_kind_part():
    """Breaks, tabs and hard spaces part words; punctuation does not."""
    assert find_slices("one\ntwo\tthree\u00a0four-five...six") == ["1-4 words"]


def test_a_text_may_be_in_several_slices():
    """Short, negated, asked, shouted and with a face."""
    assert find_slices("WHY NOT? \U0001f600") == ["1-4 words", "negation", "emoji", "question", "all caps"]


@pytest.mark.parametrize(
    "text",
    [
        "not good",
        "NOT good",
        "no.",
        "never again",
        "nothing works",
        "I don't like it",
        "I don\u2019t like it",
        "DON'T",
        "cannot say",
        "dont bother",
        "neither this nor that",
        "without a doubt",
        "it ain't bad",
    ],
)
def test_a_negation_is_seen(text: str):
    """Words that deny, in either case, with a straight, a curly or no apostrophe."""
    assert has_trait("negation", text)


@pytest.mark.parametrize("text", ["knot", "notable", "nobly done", "another", "snow", "innovation", "good", "n't", "t"])
def test_a_word_that_holds_a_negation_is_none(text: str):
    """Only whole words deny."""
    assert not has_trait("negation", text)


@pytest.mark.parametrize(
    "text", ["excellent", "I want it", "a different restaurant", "the best moment", "brilliant", "went well"]
)
def test_a_word_that_ends_on_nt_is_no_negation(text: str):
    """Praise such as 'excellent' denies nothing."""
    assert not has_trait("negation", text)


@pytest.mark.parametrize(
    "emoji", ["\U0001f600", "\u2764", "\u2764\ufe0f", "\u2b50", "\u263a", "\U0001fae0", "\U0001f1e9"]
)
def test_an_emoji_is_seen(emoji: str):
    """Faces, hearts, stars and flags, with or without the mark for colour."""
    assert has_trait("emoji", f"good{emoji}")


@pytest.mark.parametrize(
    "text", ["good", ":-)", "caf\u00e9", "\u4f60\u597d", "5 * 3", "\u00a9 2020", "\u20ac5", "\U0001d400"]
)
def test_letters_and_signs_are_no_emoji(text: str):
    """Other scripts, signs and faces made of punctuation are text."""
    assert not has_trait("emoji", text)


@pytest.mark.parametrize("emoji", ["\u23f0", "\u231b", "\u2b55", "\u2b1b", "\U0001f197", "\U0001f004"])
def test_an_emoji_outside_the_large_blocks_is_seen(emoji: str):
    """Clocks, circles, squares and buttons are emoji by default as well."""
    assert has_trait("emoji", f"good {emoji}")


@pytest.mark.parametrize(("text", "asks"), [("really?", True), ("? what", True), ("really", False), ("really!", False)])
def test_a_question_has_its_mark(text: str, asks: bool):
    """A question mark anywhere counts."""
    assert has_trait("question", text) is asks


@pytest.mark.parametrize(
    ("text", "shouts"),
    [
        ("GOOD", True),
        ("WOW", False),
        ("A B C D", True),
        ("10/10 BEST!!!", True),
        ("Best EVER", False),
        ("100%", False),
        ("\u00c9T\u00c9S", True),
        ("\u4f60\u597d\u4f60\u597d", False),
    ],
)
def test_all_caps_are_four_capitals_and_no_small_letter(text: str, shouts: bool):
    """Three capitals may be a name; figures and scripts without capitals do not shout."""
    assert has_trait("all caps", text) is shouts


def test_a_slice_is_scored_on_its_own_rows():
    """Two of three short texts are right; the one long text is wrong."""
    texts = ["good", "bad", "good", " ".join(["long"] * 60)]
    found = {score.name: score for score in score_slices(make_predictions([2, 0, 2, 1], [2, 0, 0, 2]), texts)}
    assert list(found) == ["1-4 words", "51 words or more"]
    assert (found["1-4 words"].rows, found["1-4 words"].accuracy) == (3, pytest.approx(2 / 3))
    assert (found["51 words or more"].rows, found["51 words or more"].accuracy) == (1, 0.0)


def test_macro_f1_of_a_slice_is_over_the_classes_in_it():
    """A class that is answered but does not occur in the slice does not count, its answers are errors."""
    (score,) = score_slices(make_predictions([0, 0, 0, 2], [0, 0, 1, 2]), ["good"] * 4)
    assert score.macro_f1 == pytest.approx((0.8 + 1) / 2)


@pytest.mark.parametrize(("chosen", "f1"), [(2, 1.0), (0, 0.0)])
def test_a_slice_of_one_row_has_a_score(chosen: int, f1: float):
    """One row is right or wrong."""
    (score,) = score_slices(make_predictions([2], [chosen]), ["good"])
    assert (score.rows, score.accuracy, score.macro_f1) == (1, f1, f1)


def test_every_text_without_words_leaves_no_slice():
    """Slices without rows are not listed."""
    assert score_slices(make_predictions([0, 1], [0, 1]), ["", " "]) == []


def test_a_row_counts_in_each_of_its_slices():
    """Traits overlap with lengths."""
    texts = ["not good", "good?", "fine"]
    found = {score.name: score.rows for score in score_slices(make_predictions([0, 1, 2], [0, 1, 2]), texts)}
    assert found == {"1-4 words": 3, "negation": 1, "question": 1}
