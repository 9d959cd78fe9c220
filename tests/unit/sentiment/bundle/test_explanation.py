"""Which words made a prediction: weights that add up, whatever the model."""

import math
import zlib
from collections.abc import Callable
from itertools import pairwise

import pytest

from sentiment.bundle.explanation import Part, keep_parts, list_orders, list_steps, split_parts, weigh_parts

Score = Callable[[frozenset[int]], float]
COUNTS = [1, 2, 3, 5, 8]

SCORES: dict[str, Score] = {
    "always the same": lambda kept: 0.3,
    "a sum": lambda kept: sum(kept) / 100,
    "all or nothing": lambda kept: float(len(kept) >= 3),
    "one word alone": lambda kept: float(kept == frozenset({1})),
    "odd or even": lambda kept: len(kept) % 2 - 0.5,
    "noise": lambda kept: zlib.crc32(str(sorted(kept)).encode()) / 2**32,
}


def split(text: str, max_parts: int = 64) -> list[str]:
    return [text[part.start : part.end] for part in split_parts(text, max_parts)]


def explain(parts: int, score: Score, evaluations: int = 100, seed: int = 0) -> list[float]:
    """Return the weights of so many parts."""
    orders = list(list_orders(parts, evaluations, seed))
    return weigh_parts(orders, [[score(kept) for kept in list_steps(order)] for order in orders])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (" \t\n", []),
        ("good", ["good"]),
        ("  good\n", ["good"]),
        ("not good, at all!", ["not", "good,", "at", "all!"]),
        ("a\u00a0b\u2003c", ["a", "b", "c"]),
        ("caf\u00e9 \U0001f600", ["caf\u00e9", "\U0001f600"]),
        ("\u4e0d\u597d", ["\u4e0d\u597d"]),
    ],
    ids=repr,
)
def test_a_text_is_taken_apart_at_its_spaces(text, words):
    """The parts of a short text are its words, as they stand."""
    assert split(text) == words


def test_a_part_says_where_it_stands():
    """The characters of a part are those of the text."""
    assert split_parts(" ab  c ", 64) == [Part(1, 3), Part(5, 6)]


@pytest.mark.parametrize("words", [1, 2, 3, 7, 63, 64, 65, 100, 127, 128, 1000])
@pytest.mark.parametrize("max_parts", [1, 2, 3, 10, 64])
def test_parts_cover_all_words_evenly(words, max_parts):
    """Every word is in one part, parts are in order, and one part has a word more than another at most."""
    text = " ".join(f"w{number}" for number in range(words))
    parts = split(text, max_parts)
    sizes = [len(part.split()) for part in parts]

    assert " ".join(parts) == text
    assert len(parts) == min(words, max_parts)
    assert max(sizes) - min(sizes) <= 1


def test_a_joined_part_keeps_what_is_between_its_words():
    """Several words side by side are read as they were written."""
    assert split("a  b\nc d", 2) == ["a  b", "c d"]


@pytest.mark.parametrize("parts", [1, 2, 3, 10, 64])
@pytest.mark.parametrize("evaluations", [1, 2, 10, 128, 400])
def test_orders_fit_into_the_evaluations(parts, evaluations):
    """As many texts are scored as were allowed, or those of one order and its reverse."""
    orders = list(list_orders(parts, evaluations))
    scored = {kept for order in orders for kept in list_steps(order)}

    assert len(scored) <= max(evaluations, 2 * parts)
    assert len(orders) == 2 * max(1, evaluations // (2 * parts))


@pytest.mark.parametrize("parts", COUNTS)
def test_an_order_names_each_part_once(parts):
    """The first order is that of the text, and every order stands beside its reverse."""
    orders = list(list_orders(parts, 100))

    assert orders[0] == list(range(parts))
    assert all(sorted(order) == list(range(parts)) for order in orders)
    assert orders[1::2] == [order[::-1] for order in orders[::2]]


def test_orders_are_the_same_every_time():
    """One text has one explanation: nothing depends on when it was asked for, nor on what was drawn before."""
    assert list(list_orders(9, 200)) == list(list_orders(9, 200))
    assert list(list_orders(9, 200)) != list(list_orders(9, 200, seed=1))


def test_orders_differ():
    """More orders than that of the text are seen."""
    assert len({tuple(order) for order in list_orders(8, 400)}) > 40


def test_no_part_has_an_order():
    """A text without words has orders of nothing."""
    assert {tuple(order) for order in list_orders(0, 10)} == {()}


@pytest.mark.parametrize("parts", [0, *COUNTS])
def test_the_steps_of_an_order_go_from_none_to_all(parts):
    """Each step adds the next part of the order."""
    order = list(range(parts))[::-1]
    steps = list_steps(order)

    assert (steps[0], steps[-1], len(steps)) == (frozenset(), frozenset(range(parts)), parts + 1)
    assert [set(after - before) for before, after in pairwise(steps)] == [{n} for n in order]


@pytest.mark.parametrize(
    ("kept", "text"),
    [
        ({0, 1, 2}, "  not  a\tgood day "),
        ({0, 2}, "not good day"),
        ({1}, "a"),
        (set(), ""),
        ({2, 1}, "a good day"),
    ],
    ids=str,
)
def test_a_text_is_left_with_some_of_its_parts(kept, text):
    """Parts that stay keep their order; a text with all of them is that text, spaces and all."""
    parts = [Part(2, 5), Part(7, 8), Part(9, 17)]

    assert keep_parts("  not  a\tgood day ", parts, frozenset(kept)) == text


@pytest.mark.parametrize("text", ["", "  "], ids=repr)
def test_a_text_without_parts_stays(text):
    """A text of spaces is itself."""
    assert keep_parts(text, [], frozenset()) == text


@pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)
@pytest.mark.parametrize("parts", COUNTS)
@pytest.mark.parametrize("evaluations", [1, 7, 300])
def test_weights_add_up(parts, score, evaluations):
    """What there is without any word and all weights are the whole, whatever the model and however few the orders."""
    base, whole = score(frozenset()), score(frozenset(range(parts)))

    assert math.isclose(base + sum(explain(parts, score, evaluations)), whole, abs_tol=1e-12)


@pytest.mark.parametrize("parts", COUNTS)
@pytest.mark.parametrize("pairs", [1, 2, 4])
def test_weights_add_up_to_the_last_digit(parts, pairs):
    """Nothing but the rounding of a computer stands between the weights and the whole: without it they are exact."""

    def score(kept: frozenset[int]) -> float:
        return (zlib.crc32(str(sorted(kept)).encode()) >> 12) / 2**20

    assert score(frozenset()) + sum(explain(parts, score, 2 * parts * pairs)) == score(frozenset(range(parts)))


@pytest.mark.parametrize("evaluations", [1, 50, 1000])
def test_a_linear_model_gets_its_own_weights_back(evaluations):
    """Where each word adds what it adds, that is its weight."""
    own = [0.5, -0.25, 0.0, 0.125, -1.0]

    assert explain(5, lambda kept: 0.1 + sum(own[n] for n in kept), evaluations) == pytest.approx(own, abs=1e-12)


def test_two_words_that_only_count_together_share_the_weight():
    """An order and its reverse treat two words alike."""
    weights = explain(4, lambda kept: float({0, 3} <= kept), 1)

    assert weights == [0.5, 0.0, 0.0, 0.5]


def test_a_word_that_changes_nothing_weighs_nothing():
    """A model that does not look at a word gives it no weight."""
    weights = explain(6, lambda kept: SCORES["noise"](kept - {2}), 500)

    assert weights[2] == 0.0


def test_one_word_weighs_all():
    """The only word of a text is the whole of its explanation."""
    assert explain(1, lambda kept: 0.75 if kept else 0.25) == pytest.approx([0.5], abs=1e-12)


def test_no_word_has_no_weight():
    """A text without words has no weights."""
    assert explain(0, lambda kept: 0.25) == []


def test_scores_that_do_not_fit_the_orders_are_an_error():
    """A score that is missing is not passed over."""
    with pytest.raises(ValueError, match="zip"):
        weigh_parts([[0, 1]], [[0.0, 0.5]])
    with pytest.raises(ValueError, match="zip"):
        weigh_parts([[0], [0]], [[0.0, 0.5]])
