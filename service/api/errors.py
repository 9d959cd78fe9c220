"""Refusals: requests that end with a problem on purpose, and without a traceback."""

import logging
from dataclasses import dataclass
from http import HTTPStatus

from bentoml.exceptions import BentoMLException

from service.api.context import CURRENT
from service.api.schemas import Problem

OVERLOADED = Problem(code="overloaded", message="too many texts wait for the model; try again in a moment.")
RELOADED = Problem(code="reloaded", message="the model was changed in the middle of the explanation; ask again.")
UNLOGGED = Problem(
    code="unlogged",
    message="the answer cannot be kept in the prediction log, so there is none; the operator finds why in the log.",
)
UNRECORDED = Problem(
    code="unrecorded",
    message="this cannot be kept in the audit log, so it was not done; the operator finds why in the log.",
)
LOG_OFF = Problem(code="log_off", message="there is no prediction log to keep this in; the operator has turned it off.")


@dataclass(frozen=True)
class Refusal:
    """How a request ends that is not answered; `retry_after_seconds` where waiting helps."""

    status: HTTPStatus
    problem: Problem
    retry_after_seconds: int | None = None


class ApiError(BentoMLException):
    """Ends a request with a refusal, wherever it is raised: before the model is asked or after."""

    def __init__(self, status: HTTPStatus, problem: Problem, retry_after_seconds: int | None = None) -> None:
        super().__init__(problem.message)
        self.error_code = status
        self.refusal = Refusal(status, problem, retry_after_seconds)
        CURRENT.get().problem = problem


class DropRefusals(logging.Filter):
    """Keeps refusals out of BentoML's log of failures; each has a line in its access log."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is of something else."""
        return not (record.exc_info and record.exc_info[0] and issubclass(record.exc_info[0], ApiError))


def quieten_refusals() -> None:
    """Put the filter on the logger of BentoML that writes a traceback for each error."""
    logging.getLogger("bentoml._internal.server.http_app").addFilter(DropRefusals())
