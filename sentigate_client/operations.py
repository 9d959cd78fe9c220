"""What can be asked of a service, each operation as an exchange, and where it may be asked with which key."""

import json
import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from ipaddress import ip_address
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx

from sentigate_client.answers import (
    Canary,
    Champion,
    Explanation,
    Feedback,
    Health,
    ModelCard,
    Prediction,
    Problem,
    Reloaded,
    read_answer,
)
from sentigate_client.errors import (
    ConnectionFailedError,
    InvalidRequestError,
    PlainHttpError,
    UnavailableError,
    UsageError,
)
from sentigate_client.exchange import Exchange, exchange
from sentigate_client.retries import Retries

T = TypeVar("T")

VISIBLE = re.compile(r"[!-~]+")
SUBJECT = re.compile(r"[!-~]{0,256}")
REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
BATCH_TEXTS = 256  # as many as the service takes, unless it is set otherwise
TOO_LARGE = 413


class Operations:
    """The operations of one service, for one key."""

    def __init__(self, url: str, key: str, user_agent: str, timeout_seconds: float, retries: Retries) -> None:
        self.url = url
        self._headers = {"accept-encoding": "identity", "user-agent": user_agent}
        if key:
            self._headers["authorization"] = f"Bearer {key}"
        self._timeout_seconds = timeout_seconds
        self._retries = retries
        self._batch_texts = BATCH_TEXTS

    def predict(self, text: str, *, request_id: str = "", subject: str = "") -> Exchange[Prediction]:
        """Return the sentiment of one text.

        `request_id` is your name for the request, `[A-Za-z0-9_.:-]{1,128}`; without one it gets a new one. `subject`
        is your id of the person who wrote the text, by which the log can find and forget it.

        Raises InvalidRequestError for a text that is empty or too long, UsageError for an id that cannot be sent, and
        the other errors of `SentigateError`.
        """
        return self._ask("POST", "/predict", Prediction, {"text": text}, request_id=request_id, subject=subject)

    def predict_batch(
        self, texts: Iterable[str], *, request_id: str = "", subject: str = ""
    ) -> Exchange[list[Prediction | Problem]]:
        """Return a prediction for each text, in order, or the problem of a text that is empty or too long.

        More texts than the service takes at once go in several requests, one after the other, all under one request
        id, each with a deadline of its own. If one of them fails, its error is raised and all predictions are lost.

        Raises the errors of `predict`.
        """
        if isinstance(texts, str):
            raise UsageError("texts is one text; wanted a list of texts.")
        asked, found = list(texts), list[Prediction | Problem]()
        size = self._batch_texts
        request_id = request_id or make_request_id()
        while len(found) < len(asked):
            part = asked[len(found) : len(found) + size]
            read = partial(_read_batch, len(part))
            try:
                found += yield from self._send(
                    "POST", "/batch_predict", read, {"texts": part}, request_id=request_id, subject=subject
                )
            except InvalidRequestError as refusal:
                if refusal.status != TOO_LARGE or len(part) == 1:
                    raise
                size = len(part) // 2
                if refusal.code == "batch_too_large" and 0 < (refusal.limit or 0) < len(part):
                    size = self._batch_texts = refusal.limit or size
        return found

    def explain(self, text: str, *, request_id: str = "", subject: str = "") -> Exchange[Explanation]:
        """Return the sentiment of one text, and what each word adds to it. Takes and raises what `predict` does."""
        return self._ask("POST", "/explain", Explanation, {"text": text}, request_id=request_id, subject=subject)

    def feedback(
        self, prediction_id: str, label: str, *, request_id: str = "", subject: str = ""
    ) -> Exchange[Feedback]:
        """Keep the label that a prediction should have had. Needs the scope `feedback`.

        Raises InvalidRequestError for a label that the model does not know, and ConflictError without a prediction log.
        """
        body = {"prediction_id": prediction_id, "label": label}
        return self._ask("POST", "/feedback", Feedback, body, request_id=request_id, subject=subject)

    def health(self) -> Exchange[Health]:
        """Return what works and what does not."""
        return self._ask("GET", "/health", Health)

    def ready(self) -> Exchange[bool]:
        """Return whether the service takes requests, after one attempt. It is false if nothing answers.

        Raises RequestRefusedError when a gateway before the service refuses the probe.
        """
        try:
            yield from self._send("GET", "/readyz", bool, retries=replace(self._retries, attempts=1))
        except (ConnectionFailedError, UnavailableError):
            return False
        return True

    def model(self) -> Exchange[ModelCard]:
        """Return the card of the model that answers. Needs the scope `read`."""
        return self._ask("GET", "/model", ModelCard)

    def metrics(self) -> Exchange[str]:
        """Return the metrics of all workers in the text format of Prometheus. Needs the scope `read`."""
        return self._send("GET", "/metrics", bytes.decode)

    def reload(self, *, version: str = "", folder: str = "", uri: str = "") -> Exchange[Reloaded]:
        """Answer from another model in every worker: a version, a bundle folder, a URI, or what is in production.

        A reload that is under way is waited for. Needs the scope `admin` or, without keys, the token of the service.

        Raises InvalidRequestError for a model that cannot be opened, and ConflictError if the other reload does not
        end. Nothing is changed then.
        """
        return self._ask("POST", "/reload", Reloaded, _name_source(version, folder, uri))

    def start_canary(
        self, share: float, minutes: float, *, version: str = "", folder: str = "", uri: str = ""
    ) -> Exchange[Canary]:
        """Let another model answer a share (0 to 1) of the requests, for so many minutes at most.

        Needs and raises what `reload` does.
        """
        body = {**_name_source(version, folder, uri), "share": share, "minutes": minutes}
        return self._ask("POST", "/canary", Canary, body)

    def stop_canary(self) -> Exchange[Champion]:
        """Let the champion answer every request. It does no harm without a canary. Needs what `reload` does."""
        return self._ask("DELETE", "/canary", Champion)

    def _ask(
        self, method: str, path: str, shape: type[T], body: Mapping[str, Any] | None = None, **options: Any
    ) -> Exchange[T]:
        return self._send(method, path, lambda content: read_answer(shape, json.loads(content)), body, **options)

    def _send(
        self,
        method: str,
        path: str,
        read: Callable[[bytes], T],
        body: Mapping[str, Any] | None = None,
        *,
        request_id: str = "",
        subject: str = "",
        retries: Retries | None = None,
    ) -> Exchange[T]:
        """Return an exchange with JSON in; all its attempts have one request id, so that one model answers them."""
        named = request_id or make_request_id()
        if not REQUEST_ID.fullmatch(named) or not SUBJECT.fullmatch(subject):
            raise UsageError(
                "an id cannot be sent; wanted 1 to 128 letters, digits and _ . : - for a request, and 1 to 256 visible"
                " ASCII characters for a subject."
            )
        headers = {**self._headers, "x-request-id": named, **({"x-subject": subject} if subject else {})}
        content = None
        if body is not None:
            headers["content-type"] = "application/json"
            # Half a character passes here as it is: the service refuses it with a sentence.
            content = json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass")
        request = httpx.Request(method, f"{self.url}{path}", headers=headers, content=content)
        return exchange(request, read, retries or self._retries, self._timeout_seconds)


def check_address(url: str, key: str, *, allow_plain_http: bool) -> str:
    """Return the address of a service without a slash at its end.

    Raises UsageError for a URL of no service and a key that fits in no header, and PlainHttpError for a key that would
    leave this machine unencrypted while `allow_plain_http` is false.
    """
    if set("@?#") & set(url):
        raise UsageError(
            "the address holds a password, a query or a fragment; name it without, and give the key by itself."
        )
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
        host.encode("idna")
    except ValueError:
        host = ""
    if not host or parts.scheme not in {"http", "https"} or not VISIBLE.fullmatch(url):
        raise UsageError(f"{url!r} is not the address of a service; wanted for example http://127.0.0.1:3000.")
    if key and not VISIBLE.fullmatch(key):
        raise UsageError("the key has a character that no key has; wanted one line of visible ASCII characters.")
    if key and parts.scheme == "http" and not (allow_plain_http or is_loopback(url)):
        raise PlainHttpError(f"the key would go to {url} unencrypted; wanted https://, or `allow_plain_http=True`.")
    return url.rstrip("/")


def is_loopback(url: str) -> bool:
    """Return whether requests to a URL stay on this machine. Of names, only localhost is this machine."""
    host = urlsplit(url).hostname or ""
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost"
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def make_request_id() -> str:
    """Return a new id."""
    return uuid.uuid4().hex


def _read_batch(size: int, content: bytes) -> list[Prediction | Problem]:
    answer = json.loads(content)
    entries = answer.get("predictions") if isinstance(answer, dict) else None
    if not isinstance(entries, list) or len(entries) != size:
        raise ValueError(f"{size} predictions were wanted")
    return [_read_entry(entry) for entry in entries]


def _read_entry(entry: object) -> Prediction | Problem:
    if isinstance(entry, dict) and entry.get("error") is not None:
        return read_answer(Problem, entry["error"])
    return read_answer(Prediction, entry)


def _name_source(version: str, folder: str, uri: str) -> dict[str, str]:
    return {name: value for name, value in (("version", version), ("folder", folder), ("uri", uri)) if value}
