"""A small server that answers as the service does, and may be made wrong in one thing."""

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sg_a-key-that-only-this-test-knows"
DIGEST = "0a1b2c3d4e5f" + "0" * 52
LABELS = ["negative", "neutral", "positive"]
PAGE = {"content-security-policy": "default-src 'none'; img-src 'self'", "x-content-type-options": "nosniff"}
MISSING = 401, {"code": "key_missing", "message": "there is no API key."}
GUARDED = ("/reload", "/dashboard/predictions")
TOKEN_WANTED = 401, {"code": "token_wanted", "message": "this wants the token of the service."}
EMPTY = {"code": "empty_text", "message": "the text is empty."}
Reply = tuple[int, Any] | tuple[int, Any, dict[str, str]]


def answer_text(text: str, request_id: str) -> dict[str, Any]:
    label = "negative" if "hate" in text else "positive"
    scores = {name: 0.9 if name == label else 0.05 for name in LABELS}
    model = {"model_version": "5-0a1b2c3d4e5f", "model_digest": DIGEST}
    return {"label": label, "confidence": 0.9, "scores": scores, "request_id": request_id, **model}


def answer_soundly(asked: "Asked") -> Reply:
    """What a sound service answers; with a key set, strangers get as far as they should."""
    if asked.path in ("/livez", "/readyz"):
        return 200, ""
    if asked.path == "/":
        return 200, "a page", PAGE
    if (asked.server.key and asked.key != asked.server.key) or (asked.path in GUARDED and not asked.key):
        return MISSING if asked.server.key else TOKEN_WANTED
    if asked.path == "/predict":
        found = answer_text(asked.body["text"], asked.request_id)
        return (200, found, {"x-request-id": asked.request_id}) if asked.body["text"].strip() else (422, EMPTY)
    if asked.path == "/batch_predict":
        texts = asked.body["texts"]
        return 200, {"predictions": [answer_text(text, "") if text.strip() else {"error": EMPTY} for text in texts]}
    return {
        "/model": (200, {"version": "5-0a1b2c3d4e5f", "digest": DIGEST, "labels": LABELS, "candidate": "svm"}),
        "/health": (200, {"status": "ok", "prediction_log": {"database": "ok", "shipped": 3}}),
        "/metrics": (200, '# HELP\nsentigate_model_info{role="champion"} 1\nsentigate_requests 3\n'),
        "/dashboard/predictions": (200, {}),
        "/reload": (422, {"code": "wrong_type", "message": "the body names more than one model."}),
    }.get(asked.path, (404, {"code": "not_found"}))


@dataclass(frozen=True)
class Asked:
    """One request as the server sees it."""

    server: "Server"
    path: str
    key: str
    request_id: str
    body: Any


@dataclass
class Server:
    """A server on loopback; `wrong` answers first where it has an answer."""

    wrong: Callable[[Asked], Reply | None] = lambda asked: None
    key: str = ""
    seen: list[Asked] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def serve(server: Server, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            key = (self.headers.get("authorization") or "").removeprefix("Bearer ")
            asked = Asked(server, self.path, key, self.headers.get("x-request-id") or "", body)
            server.seen.append(asked)
            status, content, headers = (*(server.wrong(asked) or answer_soundly(asked)), {})[:3]
            is_text = isinstance(content, str)
            sent = content.encode() if is_text else json.dumps(content).encode()
            self.send_response(status)
            for name, value in {"content-type": "text/plain" if is_text else "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        do_GET = do_POST = answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls:
        listening.socket = tls.wrap_socket(listening.socket, server_side=True)
    server.port = listening.server_address[1]
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()
