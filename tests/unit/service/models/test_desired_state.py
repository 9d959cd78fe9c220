"""What the workers of a server are to serve, written down and read again."""

import time

import pytest

from service.models.desired_state import (
    PENDING_FILE,
    DesiredCanary,
    DesiredState,
    read_desired_state,
    write_desired_state,
)

CANARY = DesiredCanary("b", "/bundles/canary", "5", 0.25, 1234.5)
CHOICES = {
    "a model": DesiredState("a", "/bundles/good", "4"),
    "with a canary": DesiredState("a", "/bundles/good", "4", canary=CANARY),
    "after a canary": DesiredState("a", "/bundles/good", "4", ended="5 ended: its time was over"),
}
NO_CHOICES = {
    "nothing": "",
    "half": '{"id": "a", "fol',
    "a list": "[]",
    "null": "null",
    "another": '{"weather": 1}',
    "half a canary": '{"id": "a", "folder": "/bundles/good", "version": "4", "canary": {"id": "b"}}',
    "no canary but a word": '{"id": "a", "folder": "/bundles/good", "version": "4", "canary": "b"}',
}


@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES)
def test_what_is_written_down_is_read(tmp_path, choice):
    """Every worker reads what one wrote; nothing but the choice is left."""
    path = tmp_path / PENDING_FILE
    for one in (DesiredState("z", "/bundles/other", "1"), choice):
        write_desired_state(path, one)

    assert read_desired_state(path) == choice
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", NO_CHOICES.values(), ids=NO_CHOICES)
def test_what_cannot_be_read_is_no_choice(tmp_path, content):
    """A file that says nothing names no model."""
    (tmp_path / PENDING_FILE).write_text(content)

    assert read_desired_state(tmp_path / PENDING_FILE) is None


def test_where_nothing_is_written_there_is_no_choice(tmp_path):
    """Before the first reload no file is there."""
    assert read_desired_state(tmp_path / PENDING_FILE) is None


def test_a_canary_makes_another_choice_of_the_same_model():
    """Workers that are ready for the model alone are not taken for ready for both."""
    assert [choice.name for choice in CHOICES.values()] == ["a", "a+b", "a"]


def test_a_canary_is_over_when_its_time_has_come():
    """Its end is a moment on the clock that all processes of the machine share."""
    now = time.monotonic()
    over = [DesiredCanary("b", "/bundles/canary", "5", 0.25, until).is_over for until in (now, now + 60)]

    assert over == [True, False]


def test_a_canary_says_why_it_ended(sentence):
    """Its version and the reason, or that its time was over."""
    assert CANARY.describe_end("4 was loaded") == sentence
    assert CANARY.describe_end() == sentence
