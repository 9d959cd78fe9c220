"""What can be asked of a service, each operation as an exchange. The clients run them and return what they end with."""

import json
import re
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from sentigate_client.address import Address
from sentigate_client.answers import (
    CanaryStarted,
    CanaryStopped,
    Explanation,
    Feedback,
    Health,
    ModelCard,
    Prediction,
    Problem,
    Reloaded,
    read_answer,
)
from sentigate_client.errors import ConnectionFailedError, InvalidRequestError, UnavailableError, UsageError
from sentigate_client.exchange import Exchange, Reply, Request, exchange
from sentigate_client.retries import Retries

T = TypeVar("T")

REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
SUBJECT = re.compile(r"[!-~]{1,256}")
BODY_FRAME_BYTES = len(b'{"texts":[]}')
TOO_LARGE = 413


@dataclass(frozen=True)
class BatchLimits:
    """How much fits in one request; the defaults are those of the service."""

    texts: int = 256
    bytes: int = 1_000_000


class Operations:
    """The operations of one service, for one key."""

    def __init__(self, address: Address, user_agent: str, timeout_seconds: float, retries: Retries) -> None:
        self.address = address
        self._user_agent = user_agent
        self._timeout_seconds = timeout_seconds
        self._retries = retries
        self._limits = BatchLimits()

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
        """Return a prediction or a problem for each text, in order.

        More texts than the service takes at once go in several requests, one after the other, all under one request
        id. Each has its own deadline. If one of them fails, the error is raised and the other predictions are lost.

        Raises the errors of `predict`, but a text that is empty or too long is a `Problem` in its place.
        """
        if isinstance(texts, str):
            raise UsageError("texts is one text; wanted a list of texts.")
        encoded = [_encode(text) for text in texts]
        request_id = request_id or make_request_id()
        found: list[Prediction | Problem] = []
        while len(found) < len(encoded):
            size = count_fitting(encoded, len(found), self._limits)
            part = encoded[len(found) : len(found) + size]
            body = b'{"texts":[' + b",".join(part) + b"]}"
            try:
                found += yield from self._send(
                    "POST", "/batch_predict", partial(_read_batch, size), body, request_id=request_id, subject=subject
                )
            except InvalidRequestError as refusal:
                if refusal.status != TOO_LARGE or size == 1:
                    raise
                self._limits = narrow_limits(self._limits, refusal, part)
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
        once = replace(self._retries, attempts=1)
        try:
            yield from self._send("GET", "/readyz", lambda _: None, retries=once)
        except (ConnectionFailedError, UnavailableError):
            return False
        return True

    def model(self) -> Exchange[ModelCard]:
        """Return the card of the model that answers. Needs the scope `read`."""
        return self._ask("GET", "/model", ModelCard)

    def metrics(self) -> Exchange[str]:
        """Return the metrics of all workers in the text format of Prometheus. Needs the scope `read`."""
        return self._send("GET", "/metrics", lambda reply: reply.body.decode())

    def reload(self, *, version: str = "", folder: str = "", uri: str = "") -> Exchange[Reloaded]:
        """Answer from another model in every worker: a version, a bundle folder, a URI, or what is in production.

        A reload that is under way is waited for. Needs the scope `admin` or, without keys, the token of the service.

        Raises InvalidRequestError for a model that cannot be opened, and ConflictError if the other reload does not
        end. Nothing is changed then.
        """
        return self._ask("POST", "/reload", Reloaded, _name_source(version, folder, uri))

    def start_canary(
        self, share: float, minutes: float, *, version: str = "", folder: str = "", uri: str = ""
    ) -> Exchange[CanaryStarted]:
        """Let another model answer a share (0 to 1) of the requests, for so many minutes at most.

        Needs and raises what `reload` does.
        """
        body = {**_name_source(version, folder, uri), "share": share, "minutes": minutes}
        return self._ask("POST", "/canary", CanaryStarted, body)

    def stop_canary(self) -> Exchange[CanaryStopped]:
        """Let the champion answer every request. It does no harm without a canary. Needs what `reload` does."""
        return self._ask("DELETE", "/canary", CanaryStopped)

    def _ask(
        self, method: str, path: str, shape: type[T], body: Mapping[str, Any] | None = None, **options: Any
    ) -> Exchange[T]:
        """Return an exchange with JSON in and an answer of a shape out."""
        content = None if body is None else _encode(body)
        return self._send(method, path, lambda reply: read_answer(shape, json.loads(reply.body)), content, **options)

    def _send(
        self,
        method: str,
        path: str,
        read: Callable[[Reply], T],
        body: bytes | None = None,
        *,
        request_id: str = "",
        subject: str = "",
        retries: Retries | None = None,
    ) -> Exchange[T]:
        return exchange(
            self._make_request(method, path, body, request_id or make_request_id(), subject),
            read,
            retries or self._retries,
            self._timeout_seconds,
        )

    def _make_request(self, method: str, path: str, body: bytes | None, request_id: str, subject: str) -> Request:
        if not REQUEST_ID.fullmatch(request_id):
            raise UsageError("the request id cannot be sent; wanted 1 to 128 letters, digits and _ . : -")
        if subject and not SUBJECT.fullmatch(subject):
            raise UsageError("the subject cannot be sent; wanted 1 to 256 visible ASCII characters.")
        headers = {
            "accept": "*/*",
            "accept-encoding": "identity",
            "user-agent": self._user_agent,
            "x-request-id": request_id,
        }
        if body is not None:
            headers["content-type"] = "application/json"
        if subject:
            headers["x-subject"] = subject
        if self.address.key:
            headers["authorization"] = f"Bearer {self.address.key}"
        return Request(method, f"{self.address.url}{path}", headers, body, self.address.key)


def make_request_id() -> str:
    """Return a new id. All attempts of a call have the same, so that one model answers each of them."""
    return uuid.uuid4().hex


def count_fitting(encoded: Sequence[bytes], start: int, limits: BatchLimits) -> int:
    """Return how many texts from `start` on fit in one request, at least one."""
    size, fitting = BODY_FRAME_BYTES, 0
    for text in encoded[start : start + limits.texts]:
        size += len(text) + 1
        if size > limits.bytes and fitting:
            break
        fitting += 1
    return fitting


def narrow_limits(limits: BatchLimits, refusal: InvalidRequestError, part: Sequence[bytes]) -> BatchLimits:
    """Return limits that the part exceeds: those that the refusal names, or else half of its bytes."""
    if refusal.code == "batch_too_large" and refusal.limit:
        return replace(limits, texts=min(refusal.limit, len(part) - 1))
    size = BODY_FRAME_BYTES + sum(map(len, part))
    named = refusal.limit or size
    return replace(limits, bytes=named if named < size else size // 2)


def _read_batch(size: int, reply: Reply) -> list[Prediction | Problem]:
    answer = json.loads(reply.body)
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


def _encode(value: object) -> bytes:
    # Half a character passes here as it is: the service refuses it with a sentence.
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
