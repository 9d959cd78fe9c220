"""Ids of what is kept."""

import time
import uuid

from service.api import ids
from service.api.ids import make_id
from service.api.schemas import FeedbackRequest


def test_an_id_is_a_uuid_of_version_7():
    """An id is a UUID that says its version, written as the standard wants it."""
    made = uuid.UUID(make_id())

    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert str(uuid.UUID(make_id())).islower()


def test_an_id_holds_the_time_at_which_it_was_made():
    """The first 48 bits of an id are the milliseconds since 1970."""
    before = time.time_ns() // 1_000_000
    made = uuid.UUID(make_id()).int >> 80

    assert before <= made <= time.time_ns() // 1_000_000


def test_ids_of_different_milliseconds_sort_by_time(monkeypatch):
    """Ids are in the order in which they were made, as strings too."""
    moments = iter(range(1_700_000_000_000_000_000, 1_700_000_001_000_000_000, 1_000_000))
    monkeypatch.setattr(ids.time, "time_ns", lambda: next(moments))

    made = [make_id() for _ in range(1000)]

    assert made == sorted(made)


def test_ids_of_one_millisecond_differ(monkeypatch):
    """Many ids that are made at once are all different, in every bit that time does not fill."""
    monkeypatch.setattr(ids.time, "time_ns", lambda: 1_700_000_000_000_000_000)
    numbers = {uuid.UUID(make_id()).int for _ in range(2000)}
    ever_set = ever_clear = 0
    for number in numbers:
        ever_set, ever_clear = ever_set | number, ever_clear | ~number

    assert len(numbers) == 2000
    assert (ever_set & ever_clear).bit_count() == 74


def test_an_id_is_accepted_by_the_feedback_route():
    """What an answer calls its prediction is what feedback may name."""
    made = make_id()

    assert FeedbackRequest(prediction_id=made, label="positive").prediction_id == made
