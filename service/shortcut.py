"""The short way to the answers that are asked for most: past BentoML's dispatch, which takes a third of a request.

BentoML knows these APIs all the same: for its client, its description and the Bento.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

import bentoml
from pydantic import BaseModel

from service.edge import App, Receive, Scope, Send
from service.refusals import RefusedError
from service.requests import CURRENT

Answering = Callable[[Any, Any], Awaitable[BaseModel]]
"""Returns the answer of the service, the first argument, to a request that was checked."""

logger = logging.getLogger(__name__)


class Shortcut:
    """ASGI middleware inside the edge, which has checked the request and gives errors their shape."""

    def __init__(self, app: App, answering: Mapping[str, Answering]) -> None:
        self._app = app
        self._answering = answering

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request to one of the paths, and pass on any other."""
        asked = CURRENT.get().asked if scope["type"] == "http" else None
        if asked is None or scope["path"] not in self._answering:
            await self._app(scope, receive, send)
            return
        content = b""
        try:
            answer = await self._answering[scope["path"]](bentoml.get_current_service(), asked)
        except RefusedError as error:
            status = error.refusal.status
        except Exception:
            logger.exception("a request to %s failed", scope["path"])
            status = HTTPStatus.INTERNAL_SERVER_ERROR
        else:
            status, content = HTTPStatus.OK, answer.model_dump_json().encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": int(status), "headers": headers})
        await send({"type": "http.response.body", "body": content})
