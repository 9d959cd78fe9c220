"""Refusals: a value, and the error that ends a request with it."""

import logging
from http import HTTPStatus

import pytest
from bentoml.exceptions import BentoMLException

from service.api.context import CURRENT, RequestContext
from service.api.errors import (
    LOG_OFF,
    OVERLOADED,
    RELOADED,
    UNLOGGED,
    ApiError,
    DropRefusals,
    Refusal,
    quieten_refusals,
)

FRAMEWORK = "bentoml._internal.server.http_app"
MESSAGES = {
    "overloaded": (OVERLOADED, "too many texts wait for the model; try again in a moment."),
    "reloaded": (RELOADED, "the model was changed in the middle of the explanation; ask again."),
    "unlogged": (
        UNLOGGED,
        "the answer cannot be kept in the prediction log, so there is none; the operator finds why in the log.",
    ),
    "log_off": (LOG_OFF, "there is no prediction log to keep this in; the operator has turned it off."),
}


@pytest.fixture
def request_context():
    """A request that is being answered."""
    context = RequestContext("r-1")
    token = CURRENT.set(context)
    yield context
    CURRENT.reset(token)


@pytest.fixture
def framework():
    """The framework's logger, as it was before."""
    logger = logging.getLogger(FRAMEWORK)
    before = list(logger.filters)
    yield logger
    logger.filters[:] = before


def log_error(logger: logging.Logger, error: BaseException) -> None:
    logger.error("Exception on /predict [POST]", exc_info=error)


@pytest.mark.parametrize("code", MESSAGES)
def test_a_refusal_says_what_is_wrong(code):
    """Each refusal has a code that stays and a sentence for a person."""
    problem, message = MESSAGES[code]

    assert problem.model_dump() == {"code": code, "message": message}


@pytest.mark.parametrize("status", [HTTPStatus.CONFLICT, HTTPStatus.INSUFFICIENT_STORAGE])
def test_a_refusal_ends_its_request(request_context, status):
    """The framework learns the status, and the edge the problem."""
    error = ApiError(status, UNLOGGED)

    assert isinstance(error, BentoMLException)
    assert (error.error_code, str(error), request_context.problem) == (status, UNLOGGED.message, UNLOGGED)


def test_an_error_carries_its_refusal(request_context):
    """Whoever catches the error knows how the request ends."""
    assert ApiError(HTTPStatus.CONFLICT, LOG_OFF).refusal == Refusal(HTTPStatus.CONFLICT, LOG_OFF)


def test_a_refusal_leaves_other_requests_alone(request_context):
    """The problem of one request is not that of another."""
    other = RequestContext("r-2")
    ApiError(HTTPStatus.CONFLICT, LOG_OFF)

    assert other.problem is None


def test_a_refusal_leaves_no_traceback(request_context, framework, caplog):
    """What is answered on purpose is not in the log of failures."""
    quieten_refusals()
    log_error(framework, ApiError(HTTPStatus.CONFLICT, LOG_OFF))

    assert caplog.records == []


@pytest.mark.parametrize("error", [ValueError("bad"), BentoMLException("bad"), KeyError()], ids=repr)
def test_other_errors_are_logged(framework, caplog, error):
    """A failure is in the log with its traceback, whether it is the framework's or ours."""
    quieten_refusals()
    log_error(framework, error)

    assert [record.exc_info[0] for record in caplog.records] == [type(error)]


@pytest.mark.parametrize("exc_info", [None, (None, None, None)], ids=["none", "empty"])
def test_a_line_without_an_error_is_logged(exc_info):
    """What is no failure is none of the filter's business."""
    record = logging.LogRecord(FRAMEWORK, logging.INFO, __file__, 1, "started", None, exc_info)

    assert DropRefusals().filter(record) is True


def test_a_refusal_of_a_derived_kind_is_dropped_too(request_context):
    """A kind of refusal that is made from the first is one."""

    class BusyError(ApiError):
        pass

    error = BusyError(HTTPStatus.CONFLICT, LOG_OFF)
    record = logging.LogRecord(FRAMEWORK, logging.ERROR, __file__, 1, "failed", None, (BusyError, error, None))

    assert DropRefusals().filter(record) is False


def test_a_refusal_asks_nobody_to_wait_unless_that_helps():
    """Only a refusal that says so has a time after which to ask again."""
    refusal = Refusal(HTTPStatus.CONFLICT, LOG_OFF)

    assert (refusal.status, refusal.problem, refusal.retry_after_seconds) == (409, LOG_OFF, None)
    assert Refusal(HTTPStatus.TOO_MANY_REQUESTS, OVERLOADED, 7).retry_after_seconds == 7


def test_the_refusal_of_a_request_is_its_last():
    """Where a request is refused twice the edge hears why it ended."""
    context = RequestContext("r-1")
    token = CURRENT.set(context)
    ApiError(HTTPStatus.SERVICE_UNAVAILABLE, OVERLOADED)
    ApiError(HTTPStatus.SERVICE_UNAVAILABLE, RELOADED)
    CURRENT.reset(token)

    assert context.problem == RELOADED
