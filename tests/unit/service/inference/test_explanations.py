"""Explaining an answer through the batcher, a few texts at a time."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from service.api.schemas import WordWeight
from service.inference.explanations import TEXTS_PER_TURN, explain_text

WEIGHTS = {"not": -0.25, "good": 0.5, "at": 0.0625, "all": 0.125}
WIDE = {"max_parts": 64, "max_evaluations": 400, "max_words": 12_000}


class FakeModel:
    """Adds up what it thinks of each word, and notes what it was asked."""

    def __init__(self) -> None:
        self.turns: list[list[str]] = []
        self.busy = 0

    async def __call__(self, texts: Sequence[str]) -> list[float]:
        assert self.busy == 0
        self.busy += 1
        self.turns.append(list(texts))
        await asyncio.sleep(0)
        self.busy -= 1
        return [0.25 + sum(WEIGHTS.get(word, 0.0) for word in text.split()) for text in texts]

    @property
    def texts(self) -> list[str]:
        return [text for turn in self.turns for text in turn]


class BrokenModel:
    """Is away, or answers one text too few."""

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error

    async def __call__(self, texts: Sequence[str]) -> list[float]:
        if self._error:
            raise self._error
        return [0.5] * (len(texts) - 1)


def explain(text: str, model: Any = None, **bounds: int) -> tuple[float, list[WordWeight]]:
    return asyncio.run(explain_text(text, model or FakeModel(), **{**WIDE, **bounds}))


def test_each_word_has_its_weight():
    """Where each word adds what it adds, that is its weight, and the base is what there is without any."""
    base, words = explain("not good at all")

    assert base == 0.25
    assert [(word.text, word.weight) for word in words] == list(WEIGHTS.items())


def test_a_word_says_where_it_stands():
    """A page can mark the characters of a word in the text that was sent."""
    text = "  not\tgood  "
    _, words = explain(text)

    assert [(word.start, word.end) for word in words] == [(2, 5), (6, 10)]
    assert [text[word.start : word.end] for word in words] == [word.text for word in words] == ["not", "good"]


def test_the_same_word_has_a_weight_in_each_of_its_places():
    """A word that stands twice counts twice."""
    _, words = explain("good good")

    assert [word.weight for word in words] == [0.5, 0.5]


@pytest.mark.parametrize("text", ["not good at all", "good", " ".join(["all"] * 200)], ids=["four", "one", "many"])
def test_base_and_weights_are_the_score(text):
    """All that is said adds up to the score of the whole text."""
    model = FakeModel()
    base, words = explain(text, model)

    (whole,) = asyncio.run(FakeModel()([text]))
    assert base + sum(word.weight for word in words) == pytest.approx(whole, abs=1e-4)


def test_the_whole_text_is_scored_as_it_was_sent():
    """The explanation ends at the answer, and not at that of a text with other spaces."""
    model = FakeModel()
    explain("  not\t good\n", model)

    assert {"", "not", "good", "  not\t good\n"} == set(model.texts)


@pytest.mark.parametrize("text", ["not good at all", "all " * 30, ""], ids=["four", "thirty", "none"])
def test_no_text_is_scored_twice(text):
    """A set of parts is scored once, however many orders go through it."""
    model = FakeModel()
    explain(text.replace("all ", "all{} ").format(*range(30)), model)

    assert len(model.texts) == len(set(model.texts))


def test_a_turn_is_short():
    """An explanation asks for a few texts at a time, one turn after the other, so that predictions get between."""
    model = FakeModel()
    explain(" ".join(f"w{number}" for number in range(30)), model)

    sizes = [len(turn) for turn in model.turns]
    assert TEXTS_PER_TURN == 8
    assert set(sizes[:-1]) == {8}
    assert 1 <= sizes[-1] <= 8


@pytest.mark.parametrize("words", [1, 2, 10, 64, 65, 1000])
@pytest.mark.parametrize("max_evaluations", [1, 20, 150, 400])
def test_evaluations_are_bounded(words, max_evaluations):
    """No more texts are scored than may be, or two for each part."""
    model = FakeModel()
    _, found = explain(" ".join(f"w{n}" for n in range(words)), model, max_evaluations=max_evaluations, max_words=10**9)

    assert len(model.texts) <= max(max_evaluations, 2 * len(found))


@pytest.mark.parametrize("words", [20, 64, 200, 2000])
@pytest.mark.parametrize("max_words", [1, 3000, 12_000])
def test_words_are_bounded(words, max_words):
    """A long text is scored less often: about as many words as may be, or those of one order and its reverse."""
    model = FakeModel()
    _, found = explain(" ".join(f"w{n}" for n in range(words)), model, max_words=max_words)

    scored = sum(len(text.split()) for text in model.texts)
    assert scored <= max(1.1 * max_words, (len(found) + 1) * words)


@pytest.mark.parametrize(("words", "max_parts", "parts"), [(5, 64, 5), (64, 64, 64), (65, 64, 64), (9, 2, 2)])
def test_parts_are_bounded(words, max_parts, parts):
    """Words of a long text are joined to their neighbours."""
    text = " ".join(f"w{number}" for number in range(words))
    _, found = explain(text, max_parts=max_parts)

    assert len(found) == parts
    assert " ".join(part.text for part in found) == text


def test_an_explanation_is_the_same_every_time():
    """A text that is explained twice is explained alike, and asks alike."""
    text, models = " ".join(f"w{n} not" for n in range(20)), [FakeModel(), FakeModel()]

    assert explain(text, models[0]) == explain(text, models[1])
    assert models[0].turns == models[1].turns


@pytest.mark.parametrize("text", ["", "   "], ids=repr)
def test_a_text_without_words_has_a_base(text):
    """Where there is no word there is no weight."""
    model = FakeModel()

    assert explain(text, model) == (0.25, [])
    assert model.turns == [[text]]


def test_a_weight_has_six_digits():
    """What is random in the last digits is not answered."""

    async def score(texts: Sequence[str]) -> list[float]:
        return [len(text) / 7 for text in texts]

    _, words = explain("ab cde", score)

    assert [word.weight for word in words] == [round(word.weight, 6) for word in words]


def test_what_the_model_raises_ends_the_explanation():
    """A service that is overloaded says so, and half an explanation is none."""
    with pytest.raises(OSError, match="away"):
        explain("not good", BrokenModel(OSError("away")))


def test_a_score_that_is_missing_ends_the_explanation():
    """Scores are never given to other texts than theirs."""
    with pytest.raises(ValueError, match="zip"):
        explain("not good", BrokenModel())
