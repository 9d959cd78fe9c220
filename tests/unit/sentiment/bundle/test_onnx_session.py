"""Texts share calls of like length, and come back in the order they came."""

import os
import random
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest

from sentiment.bundle.bundle import Bundle
from sentiment.bundle.onnx_session import GRAPH_ERRORS, TextGraph, plan_calls
from sentiment.paths import CHECKOUT

LENGTHS = {
    "mixed": [random.Random(7).randint(2, 256) for _ in range(500)],
    "short": [random.Random(8).randint(2, 6) for _ in range(100)],
    "equal": [12] * 33,
    "one": [5],
    "falling": list(range(256, 1, -1)),
}


@pytest.fixture(params=LENGTHS.values(), ids=LENGTHS.keys())
def lengths(request: pytest.FixtureRequest) -> list[int]:
    return request.param


def open_graph(bundle: Bundle, **settings: int) -> TextGraph:
    return TextGraph(bundle.model, bundle.tokenizer, **{"max_tokens": 16, "texts_per_call": 4, **settings})


def make_texts(words: Sequence[int]) -> list[str]:
    return [" ".join(["good"] * count) for count in words]


@pytest.mark.parametrize("texts_per_call", [1, 2, 8])
def test_every_text_is_in_exactly_one_call(lengths: list[int], texts_per_call: int):
    """No text is lost and none is asked twice."""
    calls = plan_calls(lengths, texts_per_call)
    assert sorted(position for call in calls for position in call) == list(range(len(lengths)))


@pytest.mark.parametrize("texts_per_call", [1, 2, 8])
def test_no_call_takes_more_texts_than_allowed(lengths: list[int], texts_per_call: int):
    """The size of a call is bounded."""
    assert max(len(call) for call in plan_calls(lengths, texts_per_call)) <= texts_per_call


def test_no_text_is_padded_by_more_than_a_quarter_of_its_call(lengths: list[int]):
    """The shortest text of a call is at least three quarters as long as the longest."""
    for call in plan_calls(lengths, 8):
        shared = [lengths[position] for position in call]
        assert min(shared) * 4 >= max(shared) * 3


@pytest.mark.parametrize(("short", "calls"), [(75, 1), (74, 2)], ids=["at-the-bound", "past-it"])
def test_two_texts_share_a_call_up_to_a_quarter_of_padding(short: int, calls: int):
    """A quarter of padding is allowed, more is not."""
    assert len(plan_calls([100, short], 8)) == calls


def test_texts_of_one_length_fill_their_calls():
    """Nine like texts in calls of four make three calls, not more."""
    assert [len(call) for call in plan_calls([7] * 9, 4)] == [4, 4, 1]


def test_no_texts_make_no_calls():
    """An empty plan for an empty list."""
    assert plan_calls([], 8) == []


def test_rows_come_back_in_the_order_of_the_texts(tiny_bundle: Bundle):
    """The longest text has the most positive answer wherever it stands."""
    words = [3, 11, 1, 7, 12, 2, 9, 5]
    answer = open_graph(tiny_bundle).run(make_texts(words))
    assert list(np.argsort(answer.outputs[:, 2])) == list(np.argsort(words))
    assert answer.tokens == tuple(count + 2 for count in words)


@pytest.mark.parametrize(
    ("words", "tokens", "truncated"), [(13, 15, False), (14, 16, False), (15, 16, True), (500, 16, True)]
)
def test_a_text_is_cut_past_the_limit_and_says_so(tiny_bundle: Bundle, words: int, tokens: int, truncated: bool):
    """Fourteen words and the two marks fill sixteen tokens; one word more is cut."""
    answer = open_graph(tiny_bundle, max_tokens=16).run(make_texts([words]))
    assert (answer.tokens, answer.truncated) == ((tokens,), (truncated,))


@pytest.mark.parametrize("text", ["", "   ", "\n\t", "\x00"], ids=["empty", "spaces", "breaks", "nul"])
def test_a_text_without_words_has_an_answer(tiny_bundle: Bundle, text: str):
    """Nothing to read is two marks, not an error."""
    answer = open_graph(tiny_bundle).run([text])
    assert answer.tokens == (2,)
    assert np.isfinite(answer.outputs).all()


@pytest.mark.parametrize("threads", [2, 5])
def test_threads_do_not_change_answers(tiny_bundle: Bundle, threads: int):
    """Calls that run side by side give the rows that one thread gives."""
    texts = make_texts([random.Random(3).randint(1, 14) for _ in range(60)])
    alone = open_graph(tiny_bundle, threads=1).run(texts)
    together = open_graph(tiny_bundle, threads=threads).run(texts)
    assert np.array_equal(alone.outputs, together.outputs)
    assert alone.tokens == together.tokens


def test_no_texts_are_refused(tiny_bundle: Bundle, sentence):
    """An empty list is a mistake of the caller."""
    with pytest.raises(ValueError) as refusal:
        open_graph(tiny_bundle).run([])
    assert str(refusal.value) == sentence


def test_two_graphs_of_one_bundle_keep_their_own_limit(tiny_bundle: Bundle):
    """Cutting in one graph leaves another alone."""
    wide, narrow = open_graph(tiny_bundle, max_tokens=16), open_graph(tiny_bundle, max_tokens=8)
    texts = make_texts([12])
    assert (wide.run(texts).tokens, narrow.run(texts).tokens) == ((14,), (8,))


def test_the_engine_reports_to_nobody(tmp_path):
    """It would keep its reports in a database under the cache folder, and send them to its maker."""
    told = {"CI", "ORT_RUNNING_UNIT_TESTS", "ORT_DISABLE_TELEMETRY"}
    environment = {name: value for name, value in os.environ.items() if name not in told}
    environment.update(HOME=str(tmp_path), XDG_CACHE_HOME=str(tmp_path), PYTHONPATH=str(CHECKOUT))

    subprocess.run([sys.executable, "-c", "import sentiment.bundle.onnx_session"], env=environment, check=True)

    assert list(tmp_path.iterdir()) == []


def test_the_errors_of_the_engine_are_where_they_were():
    """A bundle that the engine refuses is one sentence only as long as its errors are found in its private module."""
    missing = {"Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NoSuchFile", "RuntimeException"} - {
        error.__name__ for error in GRAPH_ERRORS
    }
    assert not missing, f"onnxruntime no longer has {missing}; see where its errors went (bundle/onnx_session.py)"
