"""One call as a conversation: what to send, what came, whether to send it again. Nothing here opens a connection.

An exchange is a generator. It yields each `Attempt`, is sent the response with its body or the error that came of it,
and returns the answer. Both clients drive the same exchanges.
"""

import json
import random
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, TypeVar

import httpx

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

HARMLESS_STATUSES, HARMLESS_CODE = (429, 503), "reload_busy"  # the service did nothing
SHORTEST_TIMEOUT_SECONDS = 0.001
MOST_BYTES = 64_000_000
NOT_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.LocalProtocolError,
    httpx.InvalidURL,
    UnicodeError,  # a name that no host can have
)
FAILURES = (httpx.HTTPError, *NOT_SENT)


@dataclass(frozen=True)
class Attempt:
    """A request to send after a pause; the whole answer must come within the timeout, both in seconds."""

    request: httpx.Request
    pause_seconds: float
    timeout_seconds: float


Outcome = tuple[httpx.Response, bytes] | Exception
Exchange = Generator[Attempt, Outcome, T]


def exchange(
    request: httpx.Request,
    read: Callable[[bytes], T],
    retries: Retries,
    timeout_seconds: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    roll: Callable[[], float] = random.random,
) -> Exchange[T]:
    """Return what `read` makes of the body of the answer. Raises SentigateError when the last attempt has none.

    `read` raises ValueError for a body that it cannot read.
    """
    deadline = clock() + retries.deadline_seconds
    attempt, pause = 0, 0.0
    while True:
        attempt += 1
        seconds = max(SHORTEST_TIMEOUT_SECONDS, min(timeout_seconds, deadline - clock() - pause))
        request.extensions["timeout"] = httpx.Timeout(seconds).as_dict()
        came = yield Attempt(request, pause, seconds)
        if isinstance(came, tuple) and came[0].is_success:
            return _read(request, read, *came)
        error = _explain(request, came, seconds)
        pause = choose_pause(retries, attempt, getattr(error, "retry_after_seconds", None), roll())
        if not _may_repeat(request, error, attempt, retries) or clock() + pause >= deadline:
            raise error


def collect(content: bytearray, chunk: bytes, deadline: float) -> None:
    """Add a piece to a body. Raises httpx.HTTPError when the body trickles past the deadline, or does not end."""
    content += chunk
    if time.monotonic() > deadline:
        raise httpx.ReadTimeout("")
    if len(content) > MOST_BYTES:
        raise httpx.DecodingError(f"the answer is over {MOST_BYTES:,} bytes")


def _read(request: httpx.Request, read: Callable[[bytes], T], response: httpx.Response, body: bytes) -> T:
    try:
        return read(body)
    except (ValueError, RecursionError) as error:
        raise UnreadableAnswerError(
            f"{_name(request)} answered {response.status_code}, and it is no answer of the service: {error}."
        ) from None


def _explain(request: httpx.Request, came: Outcome, seconds: float) -> SentigateError:
    """Return the error that an attempt ended with. What came may repeat the key, which is hidden."""
    key = request.headers.get("authorization", "").removeprefix("Bearer ")

    def hide(text: object) -> str:
        return str(text).replace(key, "***") if key else str(text)

    if isinstance(came, Exception):
        is_late = isinstance(came, httpx.TimeoutException)
        reason = f"no answer within {seconds:.3g} s" if is_late else hide(came).strip().rstrip(".")
        kind = TimedOutError if is_late else ConnectionFailedError
        return kind(_name(request), reason or type(came).__name__, not isinstance(came, NOT_SENT))
    response, body = came
    problem = _read_problem(response, body)
    return KINDS.get(response.status_code, RequestRefusedError)(
        _name(request),
        response.status_code,
        hide(problem.get("code") or ""),
        hide(problem.get("message") or ""),
        response.headers.get("x-request-id") or request.headers["x-request-id"],
        read_retry_after(response.headers.get("retry-after", ""), datetime.now(timezone.utc)),
        limit if isinstance(limit := problem.get("limit"), int) else None,
    )


def _read_problem(response: httpx.Response, body: bytes) -> dict[str, Any]:
    """Return what an error says; nothing where it is of a gateway."""
    if target := response.headers.get("location"):
        return {"message": f"it points to {target}, and the client follows no redirects."}
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _may_repeat(request: httpx.Request, error: SentigateError, attempt: int, retries: Retries) -> bool:
    """Return whether another attempt is left and can do no harm: the service did nothing, or may do it twice."""
    if isinstance(error, RequestRefusedError):
        is_safe = error.status in HARMLESS_STATUSES or error.code == HARMLESS_CODE
        return is_safe and attempt < retries.attempts
    is_safe = isinstance(error, ConnectionFailedError) and (request.method == "GET" or not error.was_sent)
    return is_safe and attempt < min(retries.attempts, retries.connect_attempts)


def _name(request: httpx.Request) -> str:
    return f"{request.method} {request.url}"
