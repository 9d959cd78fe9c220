"""One call as a conversation: what to send, what came, whether to send it again. Nothing here opens a connection.

An exchange is a generator. It yields each `Attempt`, is sent the `Reply` or `Failure` that came of it, and returns the
answer. Both clients drive the same exchanges.
"""

import json
import random
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TypeVar

from sentigate_client.errors import (
    KINDS,
    ConnectionFailedError,
    RequestRefusedError,
    SentigateError,
    TimedOutError,
    UnreadableAnswerError,
)
from sentigate_client.retries import Retries, choose_pause, read_retry_after

T = TypeVar("T")

REPEATED_STATUSES = (429, 503)  # the service did nothing
REPEATED_CODE = "reload_busy"
SHORTEST_TIMEOUT_SECONDS = 0.001


@dataclass(frozen=True)
class Request:
    """One request; `secret` is what no error may show."""

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(repr=False)
    secret: str = field(default="", repr=False)

    @property
    def asked(self) -> str:
        """What errors call it."""
        return f"{self.method} {self.url}"


@dataclass(frozen=True)
class Attempt:
    """A request to send after a pause; the whole answer must come within the timeout, both in seconds."""

    request: Request
    pause_seconds: float
    timeout_seconds: float


@dataclass(frozen=True)
class Reply:
    """What came back; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Failure:
    """Why nothing came back, and whether the request may have reached the service."""

    reason: str
    was_sent: bool
    is_late: bool = False


Exchange = Generator[Attempt, Reply | Failure, T]


def exchange(
    request: Request,
    read: Callable[[Reply], T],
    retries: Retries,
    timeout_seconds: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    roll: Callable[[], float] = random.random,
) -> Exchange[T]:
    """Return what `read` makes of the answer. Raises SentigateError when the last attempt has none.

    `read` raises ValueError for a body that it cannot read.
    """
    deadline = clock() + retries.deadline_seconds
    attempt, pause = 0, 0.0
    while True:
        attempt += 1
        left = deadline - clock() - pause
        came = yield Attempt(request, pause, max(SHORTEST_TIMEOUT_SECONDS, min(timeout_seconds, left)))
        if isinstance(came, Reply) and came.status // 100 == 2:  # noqa: PLR2004 - of the protocol
            return _read(request, read, came)
        error = _explain(request, came)
        pause = choose_pause(retries, attempt, getattr(error, "retry_after_seconds", None), roll())
        if attempt >= retries.attempts or not _may_repeat(request, error) or clock() + pause >= deadline:
            raise error


def _read(request: Request, read: Callable[[Reply], T], reply: Reply) -> T:
    try:
        return read(reply)
    except (ValueError, RecursionError) as error:
        raise UnreadableAnswerError(
            f"{request.asked} answered {reply.status}, and it is no answer of the service: {error}."
        ) from None


def _explain(request: Request, came: Reply | Failure) -> SentigateError:
    """Return the error that an attempt ended with."""
    if isinstance(came, Failure):
        kind = TimedOutError if came.is_late else ConnectionFailedError
        return kind(request.asked, _hide(request, came.reason), came.was_sent)
    code, message, limit = _read_problem(came)
    return KINDS.get(came.status, RequestRefusedError)(
        request.asked,
        came.status,
        _hide(request, code),
        _hide(request, message),
        came.headers.get("x-request-id") or request.headers.get("x-request-id", ""),
        read_retry_after(came.headers, datetime.now(timezone.utc)),
        limit,
    )


def _read_problem(reply: Reply) -> tuple[str, str, int | None]:
    """Return code, message and limit of an error; what a gateway answers may have none of them."""
    if target := reply.headers.get("location"):
        return "", f"it points to {target}, and the client follows no redirects.", None
    try:
        found = json.loads(reply.body)
    except (ValueError, RecursionError):
        found = None
    code, message, limit = map(found.get, ("code", "message", "limit")) if isinstance(found, dict) else ("", "", None)
    return (
        code if isinstance(code, str) else "",
        message if isinstance(message, str) else "",
        limit if type(limit) is int else None,
    )


def _may_repeat(request: Request, error: SentigateError) -> bool:
    """Return whether the service has done nothing yet, or does no harm by doing it twice."""
    if isinstance(error, RequestRefusedError):
        return error.status in REPEATED_STATUSES or error.code == REPEATED_CODE
    return isinstance(error, ConnectionFailedError) and (request.method == "GET" or not error.was_sent)


def _hide(request: Request, text: str) -> str:
    return text.replace(request.secret, "***") if request.secret else text
