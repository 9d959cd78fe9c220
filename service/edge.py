"""The HTTP edge: bodies are bounded and checked before BentoML sees them, errors leave in one shape."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, ValidationError

from sentiment.hosts import is_loopback
from sentiment.texts import normalise_text
from service.access import open_access, say_exposed
from service.metrics import Metrics
from service.refusals import OVERLOADED, Refusal, RefusedError
from service.requests import CURRENT, REQUEST_ID_HEADER, RequestContext, choose_request_id
from service.schemas import (
    BatchPredictRequest,
    CanaryRequest,
    FeedbackRequest,
    PredictRequest,
    Problem,
    ReloadRequest,
)
from service.settings import ServiceSettings

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

RELOAD = "/reload"
REQUESTS: dict[str, type[BaseModel]] = {
    "/predict": PredictRequest,
    "/batch_predict": BatchPredictRequest,
    "/explain": PredictRequest,
    "/feedback": FeedbackRequest,
    RELOAD: ReloadRequest,
    "/canary": CanaryRequest,
}
WANTED: dict[type[BaseModel], str] = {
    PredictRequest: '{"text": "..."}',
    BatchPredictRequest: '{"texts": ["...", "..."]}',
    FeedbackRequest: '{"prediction_id": "...", "label": "..."}',
    ReloadRequest: '{"alias": "production"}, or a version, a folder or a uri',
    CanaryRequest: '{"version": "3", "share": 0.1, "minutes": 30}, or a folder or a uri instead of the version',
}
RETRY_AFTER_SECONDS = 1
NO_ANSWER = 499

logger = logging.getLogger(__name__)

READINESS = "/readyz"
PROBLEMS = {
    HTTPStatus.BAD_REQUEST: Problem(code="malformed", message="the request could not be read; send JSON."),
    HTTPStatus.NOT_FOUND: Problem(
        code="not_found", message="there is no such path; docs.json lists what there is, for example POST /predict."
    ),
    HTTPStatus.METHOD_NOT_ALLOWED: Problem(
        code="method_not_allowed", message="this path does not take this method; docs.json lists which ones do."
    ),
    HTTPStatus.SERVICE_UNAVAILABLE: OVERLOADED,
    HTTPStatus.GATEWAY_TIMEOUT: Problem(code="timeout", message="the answer took too long; send fewer texts at once."),
}
EMPTY_BATCH = Problem(code="empty_batch", message="texts is empty; send at least one text.")
CUT_OFF = Problem(code="cut_off", message="the connection ended before the body did; send it again.")
LATE_BODY = Problem(code="late_body", message="the body did not arrive in time; send it at once, or send fewer texts.")
NOT_READY = Problem(code="not_ready", message="the model is not ready yet; ask again in a moment.")
REFUSED = Problem(code="refused", message="the request was refused.")
FAILED = Problem(code="internal", message="the service failed to answer; the error is in its log.")


class Edge:
    """ASGI middleware around the whole service."""

    def __init__(self, app: App, settings: ServiceSettings, open_metrics: Callable[[], Metrics] | None = None) -> None:
        self._app = app
        self._metrics = open_metrics() if open_metrics else None
        self._settings = settings
        self._access = open_access(settings)
        self._warned = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a prediction request and pass it on; give every error the same shape."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})  # no path takes one, and keys are for requests
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = RequestContext(choose_request_id(scope["headers"]))
        CURRENT.set(request)
        reply = _Reply(send, request)
        try:
            await self._handle(scope, receive, reply)
        finally:
            if self._metrics is not None:
                code = request.problem.code if request.problem else None
                self._metrics.note_request(scope["path"], reply.status, request.elapsed_seconds, code)

    async def _handle(self, scope: Scope, receive: Receive, reply: "_Reply") -> None:
        self._warn_if_exposed(scope)
        barred = self._access.find_refusal(
            scope["method"], scope["path"], scope["headers"], (scope.get("client") or ("",))[0]
        )
        if barred is not None:
            await _send_refusal(reply, barred)
            return
        deadline = asyncio.get_running_loop().time() + self._settings.timeout_seconds
        if scope["method"] == "POST" and scope["path"] in REQUESTS:
            try:
                async with asyncio.timeout_at(deadline):
                    body = await _read_body(receive, self._settings.max_body_bytes)
                if not body and scope["path"] == RELOAD:
                    body = b"{}"
                reply.request.asked = _check_body(body, REQUESTS[scope["path"]], self._settings)
            except RefusedError as error:
                await _send_refusal(reply, error.refusal)
                return
            except TimeoutError:
                await _send_problem(reply, HTTPStatus.REQUEST_TIMEOUT, LATE_BODY, [(b"connection", b"close")])
                return
            scope = {
                **scope,
                "headers": [*_drop_content_type(scope["headers"]), (b"content-type", b"application/json")],
            }
            receive = _replay(body, receive)
        try:
            async with asyncio.timeout_at(deadline):
                await self._app(scope, receive, _ErrorShaper(reply, scope["path"]))
        except TimeoutError:
            if reply.status != NO_ANSWER:
                return  # whoever asked does not read the answer
            await _send_problem(reply, HTTPStatus.GATEWAY_TIMEOUT, PROBLEMS[HTTPStatus.GATEWAY_TIMEOUT])

    def _warn_if_exposed(self, scope: Scope) -> None:
        """Say once, when somebody reaches the service from elsewhere, that nobody needs a key."""
        host = (scope.get("server") or ("127.0.0.1",))[0]
        if not self._warned and self._access.is_open and not is_loopback(host):
            self._warned = True
            logger.warning("%s", say_exposed(host))


class _Reply:
    """Puts the id of the request into the header of its answer, and remembers the status; 499 when there was none."""

    def __init__(self, send: Send, request: RequestContext) -> None:
        self._send = send
        self.request = request
        self.status = NO_ANSWER

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = int(message["status"])
            named = (REQUEST_ID_HEADER, self.request.id.encode())
            message = {**message, "headers": [*message.get("headers", []), named]}
        await self._send(message)


class _ErrorShaper:
    """Replaces the body of an error from further in by the one shape."""

    def __init__(self, reply: _Reply, path: str) -> None:
        self._reply = reply
        self._path = path
        self._replaced = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] >= HTTPStatus.BAD_REQUEST:
            self._replaced = True
            kept = [(name, value) for name, value in message.get("headers", []) if name == b"allow"]
            problem = self._reply.request.problem or _choose_problem(message["status"], self._path)
            await _send_problem(self._reply, message["status"], problem, kept)
        elif not self._replaced:
            await self._reply(message)


def _choose_problem(status: int, path: str) -> Problem:
    if status == HTTPStatus.SERVICE_UNAVAILABLE and path == READINESS:
        return NOT_READY
    fallback = FAILED if status >= HTTPStatus.INTERNAL_SERVER_ERROR else REFUSED
    return next((problem for known, problem in PROBLEMS.items() if known == status), fallback)


def find_problem(text: str, settings: ServiceSettings) -> Problem | None:
    """Return what keeps a text from being answered, or None."""
    if not normalise_text(text):
        return Problem(code="empty_text", message="the text is empty or only spaces; send at least one word.")
    if len(text) > settings.max_text_chars:
        return Problem(
            code="text_too_long",
            message=f"the text has {len(text):,} characters, the limit is {settings.max_text_chars:,};"
            " shorten or split it.",
            limit=settings.max_text_chars,
        )
    return None


def _check_body(body: bytes, shape: type[BaseModel], settings: ServiceSettings) -> BaseModel:
    try:
        request = shape.model_validate_json(body)
    except ValidationError as error:
        raise _refuse_invalid(error, shape) from None
    if isinstance(request, PredictRequest):
        problem = find_problem(request.text, settings)
        if problem is not None:
            too_long = problem.limit is not None
            status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE if too_long else HTTPStatus.UNPROCESSABLE_ENTITY
            raise RefusedError(status, problem)
    elif isinstance(request, BatchPredictRequest):
        _check_batch(request.texts, settings.max_batch_texts)
    return request


def _check_batch(texts: list[str], limit: int) -> None:
    if not texts:
        raise RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, EMPTY_BATCH)
    if len(texts) > limit:
        said = f"texts has {len(texts):,} entries, the limit is {limit:,}; send them in several requests."
        problem = Problem(code="batch_too_large", message=said, limit=limit)
        raise RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, problem)


def _refuse_invalid(error: ValidationError, shape: type[BaseModel]) -> RefusedError:
    """Return the refusal for a body of the wrong shape, without a word of what it said."""
    mistake = error.errors(include_url=False, include_input=False)[0]
    bounds = mistake.get("ctx", {})
    wanted = WANTED[shape]
    if mistake["type"] == "json_invalid":
        problem = Problem(code="malformed", message=f"the body is not JSON in UTF-8; wanted {wanted}.")
        return RefusedError(HTTPStatus.BAD_REQUEST, problem)
    place = ".".join(str(part) for part in mistake["loc"]) or "the body"
    reasons = {
        "missing": f"{place} is missing",
        "extra_forbidden": "the body has a key that is not known here",
        "value_error": "the body names more than one model",
        "greater_than": f"{place} is not above {bounds.get('gt')}",
        "less_than_equal": f"{place} is above {bounds.get('le')}",
        "string_pattern_mismatch": f"{place} is not an id that a prediction answered with",
    }
    reason = reasons.get(mistake["type"], f"{place} has the wrong type")
    problem = Problem(code="wrong_type", message=f"{reason}; wanted {wanted}.")
    return RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, problem)


async def _read_body(receive: Receive, limit: int) -> bytes:
    chunks, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RefusedError(HTTPStatus.BAD_REQUEST, CUT_OFF)
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            said = f"the body is over the limit of {limit:,} bytes; send shorter or fewer texts."
            problem = Problem(code="body_too_large", message=said, limit=limit)
            raise RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, problem)
        chunks.append(chunk)
        more = message.get("more_body", False)
    return b"".join(chunks)


def _drop_content_type(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in headers if name != b"content-type"]


def _replay(body: bytes, receive: Receive) -> Receive:
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay


async def _send_refusal(reply: _Reply, refusal: Refusal) -> None:
    headers = []
    if refusal.retry_after_seconds is not None:
        headers.append((b"retry-after", str(refusal.retry_after_seconds).encode()))
    if refusal.status == HTTPStatus.UNAUTHORIZED:
        headers.append((b"www-authenticate", b"Bearer"))
    await _send_problem(reply, refusal.status, refusal.problem, headers)


async def _send_problem(
    reply: _Reply, status: int, problem: Problem, kept_headers: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """Answer with a problem, which is the one that the request ended with."""
    reply.request.problem = problem
    content = json.dumps(problem.model_dump()).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode()), *kept_headers]
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers.append((b"retry-after", str(RETRY_AFTER_SECONDS).encode()))
    await reply({"type": "http.response.start", "status": int(status), "headers": headers})
    await reply({"type": "http.response.body", "body": content})
