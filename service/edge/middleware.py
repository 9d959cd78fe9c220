"""The HTTP edge: only routes of the table pass, bodies are bounded and checked here, errors leave in one shape."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, ValidationError

from sentiment.data.text_normalization import normalise_text
from sentiment.hosts import is_loopback
from service.api.context import CURRENT, REQUEST_ID_HEADER, RequestContext, choose_request_id, read_subject
from service.api.errors import OVERLOADED, ApiError, Refusal
from service.api.routes import Route, RouteTable
from service.api.schemas import BatchPredictRequest, PredictRequest, Problem
from service.observability.metrics import Metrics
from service.security.access import Access, say_exposed
from service.security.audit import open_audit
from service.settings import ServiceSettings

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

RETRY_AFTER_SECONDS = 1
NO_ANSWER = 499
BARRED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS)

logger = logging.getLogger(__name__)

READINESS = "readyz"
NOT_FOUND = Problem(
    code="not_found", message="there is no such path; docs.json lists what there is, for example POST /predict."
)
NOT_ALLOWED = Problem(
    code="method_not_allowed", message="this path does not take this method; docs.json lists which ones do."
)
PROBLEMS = {
    HTTPStatus.BAD_REQUEST: Problem(code="malformed", message="the request could not be read; send JSON."),
    HTTPStatus.SERVICE_UNAVAILABLE: OVERLOADED,
    HTTPStatus.GATEWAY_TIMEOUT: Problem(code="timeout", message="the answer took too long; send fewer texts at once."),
}
EMPTY_BATCH = Problem(code="empty_batch", message="texts is empty; send at least one text.")
CUT_OFF = Problem(code="cut_off", message="the connection ended before the body did; send it again.")
LATE_BODY = Problem(code="late_body", message="the body did not arrive in time; send it at once, or send fewer texts.")
BAD_SUBJECT = Problem(
    code="bad_subject",
    message="X-Subject is not one id of 1 to 256 visible ASCII characters; send such an id once, or leave it out.",
)
NOT_READY = Problem(code="not_ready", message="the model is not ready yet; ask again in a moment.")
REFUSED = Problem(code="refused", message="the request was refused.")
FAILED = Problem(code="internal", message="the service failed to answer; the error is in its log.")


class Edge:
    """ASGI middleware around the whole service; only what is in the table of routes passes."""

    def __init__(
        self,
        app: App,
        settings: ServiceSettings,
        routes: RouteTable,
        open_access: Callable[[], Access],
        open_metrics: Callable[[], Metrics] | None = None,
    ) -> None:
        self._app = app
        self._routes = routes
        self._metrics = open_metrics() if open_metrics else None
        self._settings = settings
        self._access = open_access()
        self._warned = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a request and pass on what its route is given; give every error the same shape."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})  # no path takes one, and keys are for requests
            return
        request = RequestContext(choose_request_id(scope["headers"]))
        CURRENT.set(request)
        reply = _Reply(send, request)
        found = self._routes.find(scope["path"], scope.get("raw_path"))
        try:
            await self._handle(found, scope, receive, reply)
        finally:
            if self._metrics is not None:
                route = next(iter(found.values()), None)
                code = request.problem.code if request.problem else None
                self._metrics.note_request(route, reply.status, request.elapsed_seconds, code)

    async def _handle(self, found: Mapping[str, Route], scope: Scope, receive: Receive, reply: "_Reply") -> None:
        self._warn_if_exposed(scope)
        if not found:
            await _send_problem(reply, HTTPStatus.NOT_FOUND, NOT_FOUND)
            return
        route = found.get(scope["method"])
        if route is None:
            allowed = ", ".join(sorted(found)).encode()
            await _send_problem(reply, HTTPStatus.METHOD_NOT_ALLOWED, NOT_ALLOWED, [(b"allow", allowed)])
            return
        reply.request.route = route
        client = (scope.get("client") or ("",))[0]
        deadline = asyncio.get_running_loop().time() + self._settings.timeout_seconds
        try:
            reply.request.caller = caller = self._access.recognise(route, scope["headers"])
            self._access.require_scope(route, caller)
            self._access.limit(caller, client, 1)
            if route.request is not None:
                reply.request.subject = _check_subject(scope["headers"])
                async with asyncio.timeout_at(deadline):
                    body = await _read_body(receive, self._settings.max_body_bytes)
                reply.request.asked = asked = _check_body(body, route, route.request, self._settings)
                self._access.limit(caller, client, _count_texts(asked) - 1)
        except ApiError as error:
            if error.refusal.status in BARRED:
                open_audit().record_refusal(f"{route.method} {route.path}", error.refusal.problem.code)
            await _send_refusal(reply, error.refusal)
            return
        except TimeoutError:
            await _send_problem(reply, HTTPStatus.REQUEST_TIMEOUT, LATE_BODY, [(b"connection", b"close")])
            return
        inner = {
            **scope,
            "path": route.path,
            "raw_path": route.path.encode(),
            "query_string": scope.get("query_string", b"") if route.query else b"",
        }
        try:
            async with asyncio.timeout_at(deadline):
                await self._app(inner, _receive_no_body(receive), _ErrorShaper(reply, route))
        except TimeoutError:
            if reply.status != NO_ANSWER:
                return  # whoever asked does not read the answer
            await _send_problem(reply, HTTPStatus.GATEWAY_TIMEOUT, PROBLEMS[HTTPStatus.GATEWAY_TIMEOUT])
        finally:
            self._access.charge(caller, client, reply.request.owed_texts)

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

    def __init__(self, reply: _Reply, route: Route) -> None:
        self._reply = reply
        self._route = route
        self._replaced = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] >= HTTPStatus.BAD_REQUEST:
            self._replaced = True
            kept = [(name, value) for name, value in message.get("headers", []) if name == b"allow"]
            problem = self._reply.request.problem or _choose_problem(message["status"], self._route)
            await _send_problem(self._reply, message["status"], problem, kept)
        elif not self._replaced:
            await self._reply(message)


def _choose_problem(status: int, route: Route) -> Problem:
    if status == HTTPStatus.SERVICE_UNAVAILABLE and route.name == READINESS:
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


def _check_body(body: bytes, route: Route, shape: type[BaseModel], settings: ServiceSettings) -> BaseModel:
    if not body and not route.needs_body:
        body = b"{}"
    try:
        request = shape.model_validate_json(body)
    except ValidationError as error:
        raise _refuse_invalid(error, route.wanted) from None
    if isinstance(request, PredictRequest):
        problem = find_problem(request.text, settings)
        if problem is not None:
            too_long = problem.limit is not None
            status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE if too_long else HTTPStatus.UNPROCESSABLE_ENTITY
            raise ApiError(status, problem)
    elif isinstance(request, BatchPredictRequest):
        _check_batch(request.texts, settings.max_batch_texts)
    return request


def _check_subject(headers: list[tuple[bytes, bytes]]) -> str:
    try:
        return read_subject(headers)
    except ValueError:
        raise ApiError(HTTPStatus.BAD_REQUEST, BAD_SUBJECT) from None


def _count_texts(asked: BaseModel) -> int:
    return len(asked.texts) if isinstance(asked, BatchPredictRequest) else 1


def _check_batch(texts: list[str], limit: int) -> None:
    if not texts:
        raise ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, EMPTY_BATCH)
    if len(texts) > limit:
        said = f"texts has {len(texts):,} entries, the limit is {limit:,}; send them in several requests."
        problem = Problem(code="batch_too_large", message=said, limit=limit)
        raise ApiError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, problem)


def _refuse_invalid(error: ValidationError, wanted: str) -> ApiError:
    """Return the refusal for a body of the wrong shape, without a word of what it said."""
    mistake = error.errors(include_url=False, include_input=False)[0]
    bounds = mistake.get("ctx", {})
    if mistake["type"] == "json_invalid":
        problem = Problem(code="malformed", message=f"the body is not JSON in UTF-8; wanted {wanted}.")
        return ApiError(HTTPStatus.BAD_REQUEST, problem)
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
    return ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, problem)


async def _read_body(receive: Receive, limit: int) -> bytes:
    chunks, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ApiError(HTTPStatus.BAD_REQUEST, CUT_OFF)
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            said = f"the body is over the limit of {limit:,} bytes; send shorter or fewer texts."
            problem = Problem(code="body_too_large", message=said, limit=limit)
            raise ApiError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, problem)
        chunks.append(chunk)
        more = message.get("more_body", False)
    return b"".join(chunks)


def _receive_no_body(receive: Receive) -> Receive:
    """Return what tells of an empty body, and then of nothing but the caller who leaves."""
    messages = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive_no_body() -> Message:
        if messages:
            return messages.pop()
        while (message := await receive())["type"] == "http.request":
            pass
        return message

    return receive_no_body


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
