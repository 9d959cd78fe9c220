"""Web servers of the tests' own, in this process and on loopback."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer


@contextmanager
def serve(server: ThreadingHTTPServer) -> Iterator[str]:
    """Let a server answer until the end; yield its URL."""
    with server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
