"""Ids and lines of the spool."""

import json
from dataclasses import asdict, replace
from datetime import UTC, datetime

import pytest

from service.prediction_log.entries import FeedbackEntry, read_line, write_line
from tests.unit.service.prediction_log.conftest import FEEDBACK, PREDICTION

ODD_TEXTS = {
    "empty": "",
    "newlines": "one\ntwo\r\nthree\rfour",
    "NUL": "a\x00b",
    "control characters": "".join(map(chr, range(32))) + "\x7f\x85",
    "separators": "one\u2028two\u2029three\u000b\u000c\u001c\u001d\u001e",
    "quotes": "\"'\\ \\n \\u0000 {} []",
    "emoji": "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "right to left": "\u202e\u05e9\u05dc\u05d5\u05dd\u202c \u0645\u0631\u062d\u0628\u0627",
    "high surrogate": "good \ud83d",
    "low surrogate": "\ude00 good",
    "swapped surrogates": "\ude00\ud83d",
    "combining": "e\u0301\u0323" * 10,
    "long": "good " * 2000,
}
DAMAGE = {
    "nothing": b"",
    "a line end": b"\n",
    "zeros": b"\x00" * 512,
    "no UTF-8": b'{"kind": "feedback\xff"}\n',
    "null": b"null\n",
    "number": b"1\n",
    "string": b'"prediction"\n',
    "list": b'["kind"]\n',
    "no kind": b"{}\n",
    "an unknown kind": b'{"kind":"other"}\n',
    "a kind that is a list": b'{"kind":[]}\n',
    "a kind alone": b'{"kind":"prediction"}\n',
    "two lines in one": write_line(FEEDBACK)[:-1] + write_line(FEEDBACK),
    "a line after half of one": write_line(FEEDBACK)[:20] + write_line(FEEDBACK),
}
TIMES = {"string": "now", "null": None, "list": [], "NaN": float("nan"), "infinity": float("inf"), "far": 1e300}


def damage(**values) -> bytes:
    """Return the line of a feedback with other values."""
    return json.dumps({"kind": "feedback", **asdict(FEEDBACK), **values}).encode() + b"\n"


@pytest.mark.parametrize("text", ODD_TEXTS.values(), ids=ODD_TEXTS)
def test_a_text_comes_back_as_it_was(text):
    """Whatever a text is made of, it is one line of the spool and the same text after it."""
    line = write_line(replace(PREDICTION, text=text))

    assert line.splitlines() == [line[:-1]]
    assert read_line(line)[1]["text"] == text


def test_a_prediction_comes_back_whole():
    """The row of a prediction has its values and its time in UTC."""
    at = datetime(2023, 11, 14, 22, 13, 20, 250_000, UTC)

    assert read_line(write_line(PREDICTION)) == ("prediction", {**asdict(PREDICTION), "at": at})


def test_feedback_comes_back_whole():
    """The row of a feedback has its values and its time in UTC."""
    at = datetime(2023, 11, 14, 22, 13, 21, 500_000, UTC)

    assert read_line(write_line(FEEDBACK)) == ("feedback", {**asdict(FEEDBACK), "at": at})


@pytest.mark.parametrize("line", DAMAGE.values(), ids=DAMAGE)
def test_what_is_no_entry_is_a_value_error(line):
    """Damage is told from an entry."""
    with pytest.raises(ValueError):
        read_line(line)


def test_a_line_nested_thousands_deep_is_a_value_error():
    """Damage that no parser reads to its end is damage like any other."""
    with pytest.raises(ValueError):
        read_line(b"[" * 100_000 + b"\n")


@pytest.mark.parametrize("entry", [PREDICTION, FEEDBACK], ids=["prediction", "feedback"])
def test_a_line_torn_anywhere_is_a_value_error(entry):
    """However little is missing of an entry, it is not taken for a whole one."""
    line = write_line(entry)

    for length in range(len(line) - 1):
        with pytest.raises(ValueError):
            read_line(line[:length])


@pytest.mark.parametrize("at", TIMES.values(), ids=TIMES)
def test_a_time_that_is_none_is_a_value_error(at):
    """An entry whose time is not one is damaged."""
    with pytest.raises(ValueError):
        read_line(damage(at=at))


@pytest.mark.parametrize("name", [name for name in asdict(FEEDBACK) if name != "subject"])
def test_an_entry_without_one_of_its_fields_is_a_value_error(name):
    """An entry is whole or damaged."""
    values = {key: value for key, value in asdict(FEEDBACK).items() if key != name}

    with pytest.raises(ValueError, match=r"^not an entry of the prediction log$"):
        read_line(json.dumps({"kind": "feedback", **values}).encode())


@pytest.mark.parametrize("entry", [PREDICTION, FEEDBACK], ids=["prediction", "feedback"])
def test_a_line_from_before_subjects_is_an_entry(entry):
    """What an earlier version left in the spool is shipped by this one, with nobody as its subject."""
    line = json.loads(write_line(entry))
    del line["subject"]

    assert read_line(json.dumps(line).encode()) == read_line(write_line(entry))


def test_an_entry_with_a_field_more_is_a_value_error():
    """A field that this version does not know is not thrown away in silence."""
    with pytest.raises(ValueError, match=r"^not an entry of the prediction log$"):
        read_line(damage(weight=1))


def test_an_entry_of_another_kind_is_a_value_error():
    """Feedback is not taken for a prediction."""
    with pytest.raises(ValueError, match=r"^not an entry of the prediction log$"):
        read_line(damage(kind="prediction"))


def test_entries_do_not_change():
    """What is to be logged is what was answered."""
    with pytest.raises(AttributeError):
        FeedbackEntry(**asdict(FEEDBACK)).label = "neutral"
