"""Connections that callers leave half-open: closed after a time, which uvicorn does only between two requests."""

import asyncio
from typing import TYPE_CHECKING, Any

import uvicorn.config
from uvicorn.protocols.http.auto import AutoHTTPProtocol

if TYPE_CHECKING:
    Base: Any = asyncio.Protocol
else:
    Base = AutoHTTPProtocol


class Connection(Base):
    """Ends when for `seconds` no request begins on it and no answer is given, whatever trickles in or is not read."""

    seconds = 60.0

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Start to watch."""
        super().connection_made(transport)
        self._moved = self.loop.time()
        self._watch = self.loop.call_later(self.seconds, self._check)

    def data_received(self, data: bytes) -> None:
        """Note when a request begins."""
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            self._moved = self.loop.time()

    def on_response_complete(self) -> None:
        """Note when an answer was given."""
        self._moved = self.loop.time()
        super().on_response_complete()

    def connection_lost(self, error: Exception | None) -> None:
        """Stop to watch."""
        self._watch.cancel()
        super().connection_lost(error)

    def _check(self) -> None:
        left = self._moved + self.seconds - self.loop.time()
        if left > 0:
            self._watch = self.loop.call_later(left, self._check)
        else:
            self.transport.abort()  # a close would wait for a caller who does not read


def bound_connections(seconds: float) -> None:
    """Close the half-open connections of this process after so many seconds."""
    Connection.seconds = seconds
    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{Connection.__name__}"
