"""The HTTP edge: it lets only routes of the table pass, bounds and checks requests, and sends every response."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from http import HTTPStatus

from pydantic import BaseModel
from starlette.datastructures import QueryParams
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sentiment.hosts import is_loopback
from service.api.checks import check_body, check_query, check_subject, count_texts
from service.api.context import REQUEST_ID_HEADER, RequestContext, choose_request_id
from service.api.errors import OVERLOADED, ApiError
from service.api.routes import JSON, Route, RouteTable
from service.api.schemas import Problem
from service.observability.metrics import Metrics
from service.security.access import Access, describe_exposure
from service.security.audit import open_audit
from service.settings import ServiceSettings
from service.worker import Handler, Worker

NO_ANSWER = 499
BARRED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS)
READINESS = "readyz"

NOT_FOUND = Problem(
    code="not_found", message="there is no such path; docs.json lists what there is, for example POST /predict."
)
NOT_ALLOWED = Problem(
    code="method_not_allowed", message="this path does not take this method; docs.json lists which ones do."
)
CUT_OFF = Problem(code="cut_off", message="the connection ended before the body did; send it again.")
LATE_BODY = Problem(code="late_body", message="the body did not arrive in time; send it at once, or send fewer texts.")
LATE = Problem(code="timeout", message="the answer took too long; send fewer texts at once.")
NOT_READY = Problem(code="not_ready", message="the model is not ready yet; ask again in a moment.")
REFUSED = Problem(code="refused", message="the request was refused.")
FAILED = Problem(code="internal", message="the service failed to answer; the error is in its log.")
FOREIGN_PROBLEMS: Mapping[int, Problem] = {
    HTTPStatus.BAD_REQUEST: Problem(code="malformed", message="the request could not be read; send JSON."),
    HTTPStatus.SERVICE_UNAVAILABLE: OVERLOADED,
    HTTPStatus.GATEWAY_TIMEOUT: LATE,
}

logger = logging.getLogger(__name__)


class Edge:
    """ASGI middleware around the whole service: it answers the routes of the table and passes no other request on.

    A route without a handler is BentoML's own.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: ServiceSettings,
        routes: RouteTable,
        handlers: Mapping[str, Handler],
        find_worker: Callable[[], Worker],
        open_access: Callable[[], Access],
        open_metrics: Callable[[], Metrics] | None = None,
    ) -> None:
        """`handlers` are by the names of their routes."""
        self._app = app
        self._routes = routes
        self._handlers = handlers
        self._find_worker = find_worker
        self._metrics = open_metrics() if open_metrics else None
        self._settings = settings
        self._access = open_access()
        self._warned = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, and count it. Every error of it becomes a response here."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})  # no path takes one, and keys are for requests
            return
        request = RequestContext(choose_request_id(scope["headers"]))
        reply = _Reply(send, request.id)
        found = self._routes.find(scope["path"], scope.get("raw_path"))
        code = None
        try:
            await self._answer(found, request, scope, receive, reply)
        except ApiError as error:
            code = error.problem.code
            await error.make_response()(scope, receive, reply)
        finally:
            if self._metrics is not None:
                route = next(iter(found.values()), None)
                self._metrics.note_request(route, reply.status, request.elapsed_seconds, code)

    async def _answer(
        self, found: Mapping[str, Route], request: RequestContext, scope: Scope, receive: Receive, reply: "_Reply"
    ) -> None:
        self._warn_if_exposed(scope)
        if not found:
            raise ApiError(HTTPStatus.NOT_FOUND, NOT_FOUND)
        if scope["method"] not in found:
            raise ApiError(HTTPStatus.METHOD_NOT_ALLOWED, NOT_ALLOWED, {"allow": ", ".join(sorted(found))})
        request.route = route = found[scope["method"]]
        client = (scope.get("client") or ("",))[0]
        deadline = asyncio.get_running_loop().time() + self._settings.timeout_seconds
        try:
            async with asyncio.timeout_at(deadline):
                asked = await self._admit(route, request, client, scope, receive)
        except ApiError as error:
            if error.status in BARRED:
                open_audit().record_refusal(request, f"{route.method} {route.path}", error.problem.code)
            raise
        except TimeoutError:
            raise ApiError(HTTPStatus.REQUEST_TIMEOUT, LATE_BODY, {"connection": "close"}) from None
        try:
            async with asyncio.timeout_at(deadline):
                await self._respond(route, asked, request, scope, receive, reply)
        except TimeoutError:
            if reply.status == NO_ANSWER:  # otherwise the caller does not read the response
                raise ApiError(HTTPStatus.GATEWAY_TIMEOUT, LATE) from None
        finally:
            self._access.charge(request.caller, client, request.owed_texts)

    async def _admit(
        self, route: Route, request: RequestContext, client: str, scope: Scope, receive: Receive
    ) -> BaseModel | None:
        """Return the body or the parameters of a request whose caller may send it, None for a route without any."""
        request.caller = caller = self._access.recognise(route, scope["headers"])
        self._access.require_scope(route, caller)
        self._access.limit(caller, client, 1)
        if route.query is not None:
            return check_query(route.query, QueryParams(scope.get("query_string", b"")))
        if route.request is None:
            return None
        request.subject = check_subject(scope["headers"])
        body = await _read_body(receive, self._settings.max_body_bytes)
        asked = check_body(body, route, route.request, self._settings)
        self._access.limit(caller, client, count_texts(asked) - 1)
        return asked

    async def _respond(
        self,
        route: Route,
        asked: BaseModel | None,
        request: RequestContext,
        scope: Scope,
        receive: Receive,
        reply: "_Reply",
    ) -> None:
        handler = self._handlers.get(route.name)
        if handler is None:
            await self._pass_on(route, scope, receive, reply)
            return
        try:
            answer = await handler(self._find_worker(), asked, request)
            if isinstance(answer, BaseModel):
                answer = Response(answer.model_dump_json(), media_type=JSON)
            await answer(scope, receive, reply)
        except ApiError:
            raise
        except Exception:
            logger.exception("a request to %s failed", route.path)
            if reply.status == NO_ANSWER:
                raise ApiError(HTTPStatus.INTERNAL_SERVER_ERROR, FAILED) from None

    async def _pass_on(self, route: Route, scope: Scope, receive: Receive, reply: "_Reply") -> None:
        """Let BentoML answer; its errors get the shape of ours."""
        inner = {**scope, "path": route.path, "raw_path": route.path.encode(), "query_string": b""}
        status = HTTPStatus.OK

        async def send(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            if status < HTTPStatus.BAD_REQUEST:
                await reply(message)

        await self._app(inner, _receive_no_body(receive), send)
        if status >= HTTPStatus.BAD_REQUEST:
            raise ApiError(status, _choose_problem(status, route))

    def _warn_if_exposed(self, scope: Scope) -> None:
        """Say once, when somebody reaches the service from elsewhere, that nobody needs a key."""
        host = (scope.get("server") or ("127.0.0.1",))[0]
        if not self._warned and self._access.is_open and not is_loopback(host):
            self._warned = True
            logger.warning("%s", describe_exposure(host))


class _Reply:
    """Adds the id of the request to the headers of its response, and remembers the status; 499 without a response."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._named = (REQUEST_ID_HEADER, request_id.encode())
        self.status = NO_ANSWER

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = int(message["status"])
            message = {**message, "headers": [*message.get("headers", []), self._named]}
        await self._send(message)


def _choose_problem(status: int, route: Route) -> Problem:
    if status == HTTPStatus.SERVICE_UNAVAILABLE and route.name == READINESS:
        return NOT_READY
    return FOREIGN_PROBLEMS.get(status, FAILED if status >= HTTPStatus.INTERNAL_SERVER_ERROR else REFUSED)


async def _read_body(receive: Receive, limit: int) -> bytes:
    # Starlette's `Request.stream` has no bound of its own and raises on a disconnect in its own way: this is as short.
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
    """Return a `receive` that yields an empty body, and then nothing but the disconnect of the caller."""
    messages = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive_no_body() -> Message:
        if messages:
            return messages.pop()
        while (message := await receive())["type"] == "http.request":
            pass
        return message

    return receive_no_body
