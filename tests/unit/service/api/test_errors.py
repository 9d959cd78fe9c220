"""Errors of the API: values that say how a request ends."""

import json
from contextvars import ContextVar
from http import HTTPStatus

import pytest

from sentiment.errors import SentimentError
from service.api import context
from service.api.context import RequestContext
from service.api.errors import LOG_OFF, OVERLOADED, RELOADED, UNLOGGED, ApiError

MESSAGES = {
    "overloaded": (OVERLOADED, "too many texts wait for the model; try again in a moment."),
    "reloaded": (RELOADED, "the model was changed in the middle of the explanation; ask again."),
    "unlogged": (
        UNLOGGED,
        "the answer cannot be kept in the prediction log, so there is none; the operator finds why in the log.",
    ),
    "log_off": (LOG_OFF, "there is no prediction log to keep this in; the operator has turned it off."),
}


@pytest.mark.parametrize("code", MESSAGES)
def test_a_refusal_says_what_is_wrong(code):
    """Each refusal has a code that stays and a sentence for a person."""
    problem, message = MESSAGES[code]

    assert problem.model_dump() == {"code": code, "message": message}


def test_an_error_that_is_made_changes_nothing():
    """Whoever makes an error and does not raise it has done nothing: a request knows of no problem."""
    request = RequestContext("r-1")
    before = vars(request).copy()

    ApiError(HTTPStatus.CONFLICT, LOG_OFF)

    assert vars(request) == before
    assert "problem" not in before
    assert [name for name, value in vars(context).items() if isinstance(value, ContextVar)] == []


def test_an_error_carries_its_response():
    """Whoever catches the error knows how the request ends."""
    error = ApiError(HTTPStatus.CONFLICT, LOG_OFF)
    response = error.make_response()

    assert isinstance(error, SentimentError)
    assert (error.status, error.problem, str(error)) == (409, LOG_OFF, LOG_OFF.message)
    assert (response.status_code, json.loads(response.body)) == (409, LOG_OFF.model_dump())
    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("status", "given", "headers"),
    [
        (401, {}, {"www-authenticate": "Bearer"}),
        (409, {}, {}),
        (429, {"retry-after": "7"}, {"retry-after": "7"}),
        (503, {}, {"retry-after": "1"}),
    ],
)
def test_a_response_says_when_and_how_to_come_back(status, given, headers):
    """A caller without a key reads which scheme is wanted, one who has to wait for how long."""
    assert ApiError(status, OVERLOADED, given).headers == headers
