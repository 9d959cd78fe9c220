"""A small HTTP server that answers by a script, and remembers what it was asked."""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PREDICTION = {
    "label": "positive",
    "confidence": 0.75,
    "scores": {"negative": 0.25, "positive": 0.75},
    "tokens": 5,
    "uncertain": False,
    "truncated": False,
    "model_version": "5-d1",
    "model_digest": "d1",
    "prediction_id": "p1",
    "request_id": "r1",
}
READY = (200, {}, b"")


@dataclass(frozen=True)
class Asked:
    """One request; names of headers are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    content: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.content)


Reply = tuple[int, dict[str, str], Any]
Script = Callable[[Asked, int], Reply | Callable[[BaseHTTPRequestHandler], None]]


@dataclass
class Server:
    """Where the server is, and what it was asked so far."""

    url: str = ""
    seen: list[Asked] = field(default_factory=list)


def problem(status: int, code: str, message: str = "it is not.", **more: Any) -> Reply:
    """Return an error as the service gives it; headers as keyword arguments in `headers`."""
    headers = more.pop("headers", {})
    return status, headers, {"code": code, "message": message, "limit": None, **more}


@contextmanager
def serve(script: Script | Sequence[Any]) -> Iterator[Server]:
    """Yield a server; a script says what comes for a request and how many came before, or is a list of answers."""
    server = Server()
    choose = script if callable(script) else lambda _, place: script[min(place, len(script) - 1)]

    class Handler(BaseHTTPRequestHandler):
        protocol_version, disable_nagle_algorithm = "HTTP/1.1", True

        def answer(self) -> None:
            content = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(self.command, self.path, headers, content)
            server.seen.append(asked)
            reply = choose(asked, len(server.seen) - 1)
            if callable(reply):
                reply(self)
                self.close_connection = True
                return
            status, headers, body = reply
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = answer  # noqa: N815 - as http.server wants them

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Listener(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64

    http = Listener(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
