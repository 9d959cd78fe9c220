"""The way from a request that the edge has checked to what answers it: past BentoML's dispatch, which reads no body.

BentoML's takes a third of a request, reads bodies without a bound and writes their values into its log. It knows these
operations all the same: for its client, its description and the Bento.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

import bentoml
from pydantic import BaseModel

from service.api.context import CURRENT
from service.api.errors import ApiError
from service.edge.middleware import App, Receive, Scope, Send

Operation = Callable[[Any, Any], Awaitable[BaseModel]]
"""Returns the answer of the service, the first argument, to a request that was checked; None has no body."""

logger = logging.getLogger(__name__)


class Dispatch:
    """ASGI middleware inside the edge, which has found the route and gives errors their shape."""

    def __init__(self, app: App, operations: Mapping[str, Operation]) -> None:
        """`operations` are by the names of their routes."""
        self._app = app
        self._operations = operations

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request to one of the operations, and pass on any other."""
        request = CURRENT.get() if scope["type"] == "http" else None
        operation = self._operations.get(request.route.name) if request and request.route else None
        if request is None or operation is None:
            await self._app(scope, receive, send)
            return
        content = b""
        try:
            answer = await operation(bentoml.get_current_service(), request.asked)
        except ApiError as error:
            status = error.refusal.status
        except Exception:
            logger.exception("a request to %s failed", scope["path"])
            status = HTTPStatus.INTERNAL_SERVER_ERROR
        else:
            status, content = HTTPStatus.OK, answer.model_dump_json().encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": int(status), "headers": headers})
        await send({"type": "http.response.body", "body": content})
