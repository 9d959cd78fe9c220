"""One call, attempt by attempt, without a network and without waiting."""

import pickle
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from sentigate_client import Retries, SentigateError
from sentigate_client.errors import (
    ConflictError,
    ConnectionFailedError,
    InvalidRequestError,
    RateLimitedError,
    RequestRefusedError,
    TimedOutError,
    UnavailableError,
    UnreadableAnswerError,
)
from sentigate_client.exchange import Attempt, exchange

BUSY = (503, b'{"code": "overloaded", "message": "try again."}')
WAIT = (429, b'{"code": "too_many_requests", "message": "the limit is 5.", "limit": 5}', {"retry-after": "20"})
FINE = (200, b"fine")
REFUSED, LATE, CUT = httpx.ConnectError("refused"), httpx.ReadTimeout(""), httpx.RemoteProtocolError("cut off")
RETRIES = Retries(attempts=4, deadline_seconds=100, first_pause_seconds=1, longest_pause_seconds=8)
KEY = "sg_secret"


class Conversation:
    """Holds an exchange with a service that answers in turn, on a clock that only pauses and answers move."""

    def __init__(self, *coming: Any, method: str = "POST", retries: Retries = RETRIES, seconds: float = 0) -> None:
        self.now = 0.0
        self.attempts: list[Attempt] = []
        headers = {"authorization": f"Bearer {KEY}", "x-request-id": "mine"}
        self._request = httpx.Request(method, "http://host/predict", headers=headers)
        self._coming, self._retries, self._seconds = coming, retries, seconds

    def run(self, read=bytes.decode) -> Any:
        talk = exchange(self._request, read, self._retries, 35, clock=lambda: self.now, roll=lambda: 1.0)
        attempt = next(talk)
        for came in self._coming:
            self.attempts.append(attempt)
            self.now += attempt.pause_seconds + self._seconds
            try:
                attempt = talk.send(came if isinstance(came, Exception) else answer(*came))
            except StopIteration as end:
                return end.value
        raise AssertionError("it asks once more")

    def fail(self, read=bytes.decode) -> SentigateError:
        with pytest.raises(SentigateError) as raised:
            self.run(read)
        return raised.value

    @property
    def pauses(self) -> Sequence[float]:
        return [attempt.pause_seconds for attempt in self.attempts]


def answer(status: int, body: bytes, headers: dict[str, str] | None = None) -> tuple[httpx.Response, bytes]:
    return httpx.Response(status, headers=headers), body


def test_an_answer_ends_it():
    """One attempt, no pause."""
    talk = Conversation(FINE)
    assert (talk.run(), talk.pauses) == ("fine", [0])


@pytest.mark.parametrize("first", [BUSY, (409, b'{"code": "reload_busy"}'), REFUSED, httpx.ConnectTimeout("")])
def test_what_changed_nothing_is_sent_again(first):
    """The service refused before it did anything, or never got the request: whatever it is, it may be repeated."""
    talk = Conversation(first, first, FINE)
    assert (talk.run(), talk.pauses) == ("fine", [0, 1, 2])


@pytest.mark.parametrize("came", [LATE, CUT, httpx.WriteError("")])
def test_what_may_have_arrived_is_not_sent_again(came):
    """A second attempt would be a second row of the log or a second reload; only a reading is repeated."""
    error = Conversation(came).fail()
    assert isinstance(error, ConnectionFailedError)
    assert error.was_sent
    assert Conversation(came, FINE, method="GET").run() == "fine"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422, 500, 502, 504, 507])
def test_other_refusals_are_final(status):
    """What does not pass by waiting, or may have been done, is asked once."""
    error = Conversation((status, b"")).fail()
    assert isinstance(error, RequestRefusedError)
    assert error.status == status


def test_retry_after_takes_the_place_of_the_pause():
    """Whoever is told how long to wait waits so long, and a little more."""
    talk = Conversation(WAIT, FINE)
    assert (talk.run(), talk.pauses) == ("fine", [0, 21])


def test_a_wait_beyond_the_deadline_fails_at_once():
    """Nobody waits for what cannot work out; the error says when it may."""
    talk = Conversation(WAIT, retries=Retries(deadline_seconds=10))
    error = talk.fail()
    assert isinstance(error, RateLimitedError)
    assert (error.retry_after_seconds, error.limit, error.request_id, talk.now) == (20, 5, "mine", 0)


def test_attempts_are_bounded():
    """The last of the attempts has the last word."""
    talk = Conversation(BUSY, BUSY, BUSY, BUSY)
    assert isinstance(talk.fail(), UnavailableError)
    assert talk.pauses == [0, 1, 2, 4]


def test_a_service_that_nobody_reaches_has_a_bound_of_its_own():
    """One that is not there is given up sooner than one that is busy."""
    talk = Conversation(REFUSED, REFUSED, retries=Retries(attempts=9, connect_attempts=2))
    assert not talk.fail().was_sent


def test_no_attempt_outlasts_the_deadline():
    """The time for an answer shrinks with what is left of the call."""
    talk = Conversation(BUSY, BUSY, FINE, retries=Retries(deadline_seconds=60, first_pause_seconds=1), seconds=25)
    assert talk.run() == "fine"
    assert [round(attempt.timeout_seconds) for attempt in talk.attempts] == [35, 34, 7]
    assert [attempt.request.extensions["timeout"]["read"] for attempt in talk.attempts][-1] == 7


def test_a_reading_that_is_late_says_how_long_it_was_waited_for():
    """A timeout is an error of its own."""
    error = Conversation(LATE).fail()
    assert isinstance(error, TimedOutError)
    assert str(error) == "POST http://host/predict failed: no answer within 35 s."


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"null", b'{"code": 1, "limit": "x"}', b"[" * 100_000, b"\xff"])
def test_a_gateway_that_answers_as_it_likes_is_a_refusal(body):
    """Whatever the body of an error is, the status tells."""
    error = Conversation((418, body)).fail()
    assert (error.status, error.limit, error.retry_after_seconds) == (418, None, None)


def test_a_refusal_is_a_sentence():
    """Method, address, status, code and what the service says."""
    refusal = Conversation((422, b'{"code": "empty_text", "message": "the text is empty."}')).fail()
    assert isinstance(refusal, InvalidRequestError)
    assert str(refusal) == "POST http://host/predict was refused with 422 empty_text: the text is empty."
    assert str(Conversation((502, b"<html>")).fail()) == (
        "POST http://host/predict was refused with 502: no reason was given."
    )


def test_a_redirect_names_its_target():
    """The client goes nowhere else, and says where it was sent."""
    refusal = Conversation((307, b"", {"location": "https://host/"})).fail()
    assert str(refusal).endswith("307: it points to https://host/, and the client follows no redirects.")


def test_a_body_that_cannot_be_read_is_an_error_of_its_own():
    """A login page with status 200 is no answer, and is not asked for again."""

    def read(_: bytes) -> None:
        raise ValueError("label is missing")

    error = Conversation((200, b"<html>")).fail(read)
    assert isinstance(error, UnreadableAnswerError)
    assert str(error).endswith("answered 200, and it is no answer of the service: label is missing.")


@pytest.mark.parametrize(
    "came",
    [
        (403, f'{{"code": "x{KEY}", "message": "you sent {KEY}."}}'.encode()),
        (307, b"", {"location": f"https://elsewhere/?{KEY}"}),
        httpx.LocalProtocolError(f"Illegal header value b'Bearer {KEY}'"),
    ],
)
def test_no_error_shows_the_key(came):
    """Whoever repeats the key, the error does not."""
    error = Conversation(came, came, came).fail()
    assert KEY not in f"{error} {error!r} {vars(error)}"


def test_errors_cross_processes():
    """A pool of processes hands back the error as it is."""
    refusal, failure = Conversation((409, b'{"code": "log_off"}')).fail(), Conversation(CUT).fail()
    assert isinstance(refusal, ConflictError)
    for error in (refusal, failure):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), vars(again), str(again)) == (type(error), vars(error), str(error))
