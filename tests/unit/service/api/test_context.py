"""What is known of the request that is being answered."""

import time

import pytest

from service.api.context import RequestContext, choose_request_id, read_subject
from service.api.schemas import FeedbackRequest
from tests.unit.service.edge.test_middleware import HOSTILE_IDS, SOUND_IDS


def is_made(name: str) -> bool:
    """Return whether an id is one of our own."""
    return FeedbackRequest(prediction_id=name, label="an id like any other").prediction_id == name


@pytest.mark.parametrize("sent", SOUND_IDS.values(), ids=SOUND_IDS)
def test_a_sound_id_is_kept(sent):
    """A request is called what its caller calls it."""
    assert choose_request_id([(b"accept", b"*/*"), (b"x-request-id", sent)]) == sent.decode()


@pytest.mark.parametrize("sent", HOSTILE_IDS.values(), ids=HOSTILE_IDS)
def test_a_hostile_id_is_replaced(sent):
    """What is long or could do harm is not what a request is called."""
    assert is_made(choose_request_id([(b"x-request-id", sent)]))


@pytest.mark.parametrize(
    "headers", [[], [(b"accept", b"a")], [(b"request-id", b"a")], [(b"x-request-id-2", b"a")]], ids=str
)
def test_a_request_without_an_id_gets_one(headers):
    """Nothing but the one header names a request."""
    assert is_made(choose_request_id(headers))


@pytest.mark.parametrize("second", [b"b", b"<b>"])
def test_the_first_of_two_ids_counts(second):
    """A request that was given two ids has one."""
    assert choose_request_id([(b"x-request-id", b"a"), (b"x-request-id", second)]) == "a"


@pytest.mark.parametrize("sent", [b"7", b"ann@example.com", b"!~", b"x" * 256], ids=ascii)
def test_whom_a_text_is_from_is_read(sent):
    """An id of a person is taken as it is written; without one there is none."""
    assert read_subject([(b"x-request-id", b"r"), (b"x-subject", sent)]) == sent.decode()
    assert read_subject([(b"x-request-id", b"r"), (b"subject", sent)]) == ""


@pytest.mark.parametrize(
    "sent",
    [[b""], [b"x" * 257], [b"a b"], [b"ann\n"], [b"a\x00"], [b"\x7f"], ["j\u00fcrgen".encode()], [b"a", b"a"]],
    ids=ascii,
)
def test_what_is_no_id_of_a_person_is_an_error(sent):
    """An id that could not be found again as it was meant is not kept in silence."""
    with pytest.raises(ValueError, match=r"^no id of a person$"):
        read_subject([(b"x-subject", one) for one in sent])


def test_a_request_knows_how_long_it_has_been_under_way():
    """The time of a request goes on from its start."""
    request = RequestContext("r-1", started=time.perf_counter() - 5)
    first = request.elapsed_seconds

    assert 5 <= first <= request.elapsed_seconds < 6


def test_a_request_starts_now():
    """A request that was just read has taken no time."""
    request = RequestContext("r-1")

    assert request.id == "r-1"
    assert 0 <= request.elapsed_seconds < 1
