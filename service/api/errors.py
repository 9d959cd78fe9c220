"""Errors that end a request with a response: a status, a problem and headers."""

import json
from collections.abc import Mapping
from http import HTTPStatus

from starlette.responses import Response

from sentiment.errors import SentimentError
from service.api.schemas import Problem

RETRY_AFTER_SECONDS = 1
HEADERS: Mapping[int, Mapping[str, str]] = {
    HTTPStatus.UNAUTHORIZED: {"www-authenticate": "Bearer"},
    HTTPStatus.SERVICE_UNAVAILABLE: {"retry-after": str(RETRY_AFTER_SECONDS)},
}
"""Headers that every response of a status has."""

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


class ApiError(SentimentError):
    """Ends a request with a problem. Any code may raise it; the edge alone sends its response."""

    def __init__(self, status: int, problem: Problem, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(problem.message)
        self.status = HTTPStatus(status)
        self.problem = problem
        self.headers = {**HEADERS.get(status, {}), **(headers or {})}

    def make_response(self) -> Response:
        """Return the response that ends the request."""
        content = json.dumps(self.problem.model_dump()).encode()
        return Response(content, self.status, self.headers, media_type="application/json")
