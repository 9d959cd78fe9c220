"""Connections that stall, send oversized headers or are too many are closed.

uvicorn bounds these only between two requests.
"""

import asyncio
import os
from typing import cast

import uvicorn.config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 65_536
CHUNK_FRAME_BYTES = 16


class BoundedHttpProtocol(HttpToolsProtocol):
    """An HTTP connection that ends after `seconds` in which no request begins and no response is sent.

    It also ends once headers and the frames of chunks are over `MAX_HEAD_BYTES`. One process has `most` at once.
    """

    seconds = 60.0
    most = 1000

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start watching; a connection too many ends before anything is read from it."""
        super().connection_made(cast("asyncio.Transport", transport))
        if len(self.connections) > self.most:
            self.transport.abort()
        self._frame_bytes = 0
        self._moved = self.loop.time()
        self._watch = self.loop.call_later(self.seconds, self._check)

    def data_received(self, data: bytes) -> None:
        """Accept data, up to the limit."""
        self._frame_bytes += len(data)
        super().data_received(data)
        if self._frame_bytes > MAX_HEAD_BYTES:
            self.transport.abort()

    def on_message_begin(self) -> None:
        """Note that a request begins."""
        self._frame_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Note that the head of a request is whole."""
        self._moved = self.loop.time()
        self._frame_bytes = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take the bytes of a body out of the count."""
        self._frame_bytes = max(0, self._frame_bytes - len(body) - CHUNK_FRAME_BYTES)
        super().on_body(body)

    def on_response_complete(self) -> None:
        """Note that a response was sent."""
        self._moved = self.loop.time()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop watching."""
        self._watch.cancel()
        super().connection_lost(exc)

    def _check(self) -> None:
        left = self._moved + self.seconds - self.loop.time()
        if left > 0:
            self._watch = self.loop.call_later(left, self._check)
        else:
            self.transport.abort()  # a close would wait for a caller who does not read


def bound_connections(seconds: float, most: int, proxies: str) -> None:
    """Bound the connections of this process: their idle time, and how many are open at once.

    A header names the caller of a request only if it comes from `proxies`: addresses and networks, separated by commas.
    """
    BoundedHttpProtocol.seconds = seconds
    BoundedHttpProtocol.most = most
    os.environ["FORWARDED_ALLOW_IPS"] = proxies  # read by uvicorn, which otherwise believes whoever is on this machine
    # BentoML passes no `http` to uvicorn.Config, which then looks up "auto" here.
    # https://github.com/Kludex/uvicorn/blob/0.54.0/uvicorn/config.py#L451
    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{BoundedHttpProtocol.__name__}"
