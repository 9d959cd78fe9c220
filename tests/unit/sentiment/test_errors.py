"""One family of errors, and the sentence for a name that nobody knows."""

import pytest

from sentiment import errors
from sentiment.errors import SentimentError, describe_unknown, find_last_words


@pytest.mark.parametrize(
    "name",
    [name for name, kind in vars(errors).items() if isinstance(kind, type) and kind.__module__ == errors.__name__],
)
def test_every_error_is_of_one_family(name):
    """Whoever catches SentimentError catches all that a user may see."""
    assert issubclass(getattr(errors, name), SentimentError)


@pytest.mark.parametrize("other", [ValueError, OSError, RuntimeError])
def test_the_family_is_apart_from_the_errors_of_python(other):
    """A handler for the errors of Python does not swallow ours."""
    assert not issubclass(SentimentError, other)


def test_a_typo_gets_the_nearest_name_and_all_names_in_order(sentence):
    """The sentence names what was said, the nearest known one and all known ones by name."""
    assert describe_unknown("route", "predct", ["reload", "predict", "health"]) == sentence


def test_a_name_far_from_all_gets_no_guess(sentence):
    """Where nothing is near there is no guess."""
    assert describe_unknown("route", "xyz", ["predict", "health"]) == sentence


def test_of_two_near_names_the_nearer_is_offered():
    """One guess is offered, the best."""
    assert "Did you mean 'svm_smote'?" in describe_unknown("candidate", "svm_smot", ["svm", "svm_smote"])


def test_an_odd_name_is_shown_so_that_it_can_be_seen(sentence):
    """White space and quotes in a name show in the sentence."""
    assert describe_unknown("key", "a\n", ["z"]) == sentence


def test_known_names_may_come_from_an_iterator(sentence):
    """The known names may be any iterable, also one that can be read once."""
    assert describe_unknown("key", "b", iter(["z", "y"])) == sentence


@pytest.mark.parametrize(
    ("output", "words"), [("", "no word of why"), ("one\ntwo.\n\n", "two"), ("only", "only")], ids=str
)
def test_the_last_words_are_the_last_line(output, words):
    """Without a full stop, so that a sentence can go on."""
    assert find_last_words(output) == words
