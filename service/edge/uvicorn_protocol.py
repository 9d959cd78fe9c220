"""Connections that are no good: closed after a time and a size, which uvicorn bounds only between two requests."""

import asyncio
import os
from typing import cast

import uvicorn.config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 65_536
CHUNK_FRAME_BYTES = 16


class Connection(HttpToolsProtocol):
    """Ends when for `seconds` no request begins on it and no answer is given, whatever trickles in or is not read.

    It also ends when what is not the body of a request, as headers and what frames chunks, is over `MAX_HEAD_BYTES`.
    """

    seconds = 60.0
    most = 1000

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start to watch; one connection too many ends before anything is read from it."""
        super().connection_made(cast("asyncio.Transport", transport))
        if len(self.connections) > self.most:
            self.transport.abort()
        self._frame_bytes = 0
        self._moved = self.loop.time()
        self._watch = self.loop.call_later(self.seconds, self._check)

    def data_received(self, data: bytes) -> None:
        """Take what came, as long as it is not too much."""
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
        """Note how much of what came is a body."""
        self._frame_bytes = max(0, self._frame_bytes - len(body) - CHUNK_FRAME_BYTES)
        super().on_body(body)

    def on_response_complete(self) -> None:
        """Note that an answer was given."""
        self._moved = self.loop.time()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop to watch."""
        self._watch.cancel()
        super().connection_lost(exc)

    def _check(self) -> None:
        left = self._moved + self.seconds - self.loop.time()
        if left > 0:
            self._watch = self.loop.call_later(left, self._check)
        else:
            self.transport.abort()  # a close would wait for a caller who does not read


def bound_connections(seconds: float, most: int, proxies: str) -> None:
    """Close the half-open connections of this process after so many seconds, and those beyond so many at once.

    Only from `proxies`, addresses and networks separated by commas, does a header say whom a request comes from.
    """
    Connection.seconds = seconds
    Connection.most = most
    os.environ["FORWARDED_ALLOW_IPS"] = proxies  # read by uvicorn, which otherwise believes whoever is on this machine
    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{Connection.__name__}"
