"""The worst mistakes, and the rows that change between two models."""

import pytest

from sentiment.evaluation.error_analysis import Change, Mistake, find_changes, find_mistakes
from tests.unit.sentiment.evaluation.test_slices import make_predictions


def test_the_surest_mistakes_come_first():
    """Wrong answers by falling confidence; right ones are not there."""
    predictions = make_predictions([0, 1, 2, 0], [1, 1, 0, 2], [0.5, 0.99, 0.75, 0.625])
    assert find_mistakes(predictions, ["a", "b", "c", "d"], 10) == [
        Mistake("c", "positive", "negative", 0.75),
        Mistake("d", "negative", "positive", 0.625),
        Mistake("a", "negative", "neutral", 0.5),
    ]


def test_mistakes_of_one_confidence_keep_their_order():
    """The same answers make the same list every time."""
    found = find_mistakes(make_predictions([0] * 40, [1] * 40), [str(row) for row in range(40)], 40)
    assert [item.text for item in found] == [str(row) for row in range(40)]


@pytest.mark.parametrize(("limit", "shown"), [(0, 0), (1, 1), (2, 2), (3, 2)])
def test_no_more_mistakes_are_listed_than_wanted(limit: int, shown: int):
    """The limit is exact; fewer mistakes make a shorter list."""
    assert len(find_mistakes(make_predictions([0, 0, 0], [1, 0, 2]), ["a", "b", "c"], limit)) == shown


def test_a_model_that_is_right_has_no_mistakes():
    """An empty list, no error."""
    assert find_mistakes(make_predictions([0, 1], [0, 1]), ["a", "b"], 5) == []


def test_changes_are_rows_on_which_one_model_alone_is_right():
    """Gained and lost rows are apart; both right and both wrong are in neither."""
    before = make_predictions([0, 0, 0, 0], [0, 1, 0, 1])
    after = make_predictions([0, 0, 0, 0], [0, 0, 2, 2])
    assert find_changes(before, after, ["both", "gained", "lost", "neither"]) == (
        [Change("gained", "negative", "neutral", "negative")],
        [Change("lost", "negative", "negative", "positive")],
    )


def test_the_surest_new_answers_come_first():
    """The confidence of the new model orders both lists, ties as the rows are."""
    before = make_predictions([0] * 4, [1] * 4, [0.9, 0.8, 0.7, 0.6])
    after = make_predictions([0] * 4, [0] * 4, [0.5, 0.75, 0.5, 0.9])
    better, worse = find_changes(before, after, ["a", "b", "c", "d"])
    assert [item.text for item in better] == ["d", "b", "a", "c"]
    assert worse == []


def test_a_model_against_itself_changes_nothing():
    """No row is gained or lost."""
    predictions = make_predictions([0, 1, 2], [0, 2, 1])
    assert find_changes(predictions, predictions, ["a", "b", "c"]) == ([], [])
