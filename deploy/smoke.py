"""Asks a running service what its callers ask, wherever it runs: `python deploy/smoke.py http://127.0.0.1:3000`.

One line per check and exit 0, or one sentence and exit 1. It needs Python 3.9 and nothing else, changes nothing, and
leaves a few predictions in the log, whose request ids begin with `smoke-`.
"""

from __future__ import annotations

import argparse
import http.client
import ipaddress
import json
import math
import re
import secrets
import socket
import ssl
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

CLEAR_TEXTS = {
    "positive": "I love this, thank you so much!",
    "negative": "This is terrible, I hate it and want my money back.",
}
ADMIN_PATHS = (
    # A body that is refused wherever the caller may pass: the model is never changed by asking.
    ("POST", "/reload", {"version": "smoke", "folder": "smoke"}),
    ("GET", "/dashboard/predictions", None),
)
NOT_YET = (HTTPStatus.NOT_FOUND, HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT)
NO_KEY = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
CLOSED = (*NO_KEY, HTTPStatus.NOT_FOUND)
PAGE_HEADERS = {"content-security-policy": "default-src 'none'", "x-content-type-options": "nosniff"}
ANSWERS_OF_ONE_MODEL = 8
SECONDS_BETWEEN_TRIES = 0.5
SECONDS_BETWEEN_WORDS = 5
SECONDS_FOR_THE_LOG = 10
LONGEST_ANSWER = 4_000_000
LONGEST_QUOTE = 200
SHORTEST_DIGEST = 12
KEY = re.compile(r"[!-~]{8,}")
DIGEST = re.compile(r"[0-9a-f]{12,64}")


class SmokeError(Exception):
    """The service does not do what it should: what was asked, what came, what was wanted."""


class NotYetError(SmokeError):
    """Nothing answers there, which may change while a service starts."""


@dataclass(frozen=True)
class Answer:
    """What came back for one request; `asked` is its method and URL."""

    asked: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    def read_object(self) -> dict[str, Any]:
        """Return the JSON object that the body is. Raises SmokeError when it is none."""
        try:
            found = json.loads(self.body)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise self.fail("wanted a JSON object")
        return found

    def fail(self, wanted: str) -> SmokeError:
        """Return the error that quotes this answer."""
        quote = " ".join(self.text.split())
        quote = quote[:LONGEST_QUOTE] + ("..." if len(quote) > LONGEST_QUOTE else "")
        return SmokeError(f"{self.asked} answered {self.status} {quote or 'without a body'}; {wanted}.")


@dataclass(frozen=True)
class Caller:
    """Asks one service; redirects are not followed, so that a key goes to no other host."""

    url: str
    key: str = field(default="", repr=False)
    timeout: float = 10
    tls: ssl.SSLContext | None = None
    is_local: bool = False

    def ask(
        self, method: str, path: str, body: object = None, *, key: str | None = None, request_id: str = ""
    ) -> Answer:
        """Return the answer, whatever its status; `key` takes the place of the caller's.

        Raises NotYetError when there is none that could come yet, SmokeError when there never will be.
        """
        asked = f"{method} {self.url}{path}"
        headers = {"accept": "*/*", "user-agent": "sentigate-smoke", "connection": "close"}
        if presented := self.key if key is None else key:
            headers["authorization"] = f"Bearer {presented}"
        if request_id:
            headers["x-request-id"] = request_id
        content = None if body is None else json.dumps(body).encode()
        if content is not None:
            headers["content-type"] = "application/json"
        started = time.monotonic()
        try:
            request = urllib.request.Request(  # noqa: S310 - parse_url takes http and https alone
                self.url + path, data=content, headers=headers, method=method
            )
            with self._open(request) as response:
                read = _read_body(response, started + self.timeout)
                named = {name.lower(): value for name, value in response.headers.items()}
                return Answer(asked, int(response.status), named, read, time.monotonic() - started)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise _explain(error, asked, self.timeout) from error

    def _open(self, request: urllib.request.Request) -> Any:
        """Return the response; past any proxy of the environment where the service is on this machine."""
        handlers: list[urllib.request.BaseHandler] = [_NoRedirects()]
        if self.is_local:
            handlers.append(urllib.request.ProxyHandler({}))
        if self.tls is not None:
            handlers.append(urllib.request.HTTPSHandler(context=self.tls))
        try:
            return urllib.request.build_opener(*handlers).open(request, timeout=self.timeout)
        except urllib.error.HTTPError as answered:
            return answered


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def _read_body(response: Any, deadline: float) -> bytes:
    """Return the body, or raise TimeoutError when it trickles and ValueError when it does not end."""
    chunks: list[bytes] = []
    size = 0
    while chunk := response.read1(65_536) if hasattr(response, "read1") else response.read(65_536):
        chunks.append(chunk)
        size += len(chunk)
        if size > LONGEST_ANSWER:
            raise ValueError(f"the answer is over {LONGEST_ANSWER:,} bytes")
        if time.monotonic() > deadline:
            raise socket.timeout
    return b"".join(chunks)


def _explain(error: Exception, asked: str, timeout: float) -> SmokeError:
    """Return what a failed request means, in words of the person who runs this."""
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, ssl.SSLCertVerificationError):
        return SmokeError(
            f"{asked}: the certificate is not trusted ({reason.verify_message}); name the authority that signed it with"
            " --ca-file, or ask by the name that it was made for."
        )
    if isinstance(reason, ssl.SSLError):
        return SmokeError(f"{asked}: no TLS could be agreed on ({reason.reason}); is it a port for plain http?")
    for kind, said in _NOT_YET.items():
        if isinstance(reason, kind):
            return NotYetError(f"{asked}: {said.format(timeout=timeout)}.")
    if isinstance(reason, http.client.BadStatusLine):
        return SmokeError(f"{asked}: what listens there does not speak HTTP.")
    return SmokeError(f"{asked}: {type(reason).__name__}: {str(reason).rstrip('.')}.")


_NOT_YET: dict[type[Exception], str] = {
    ConnectionRefusedError: "nothing listens there (connection refused)",
    socket.gaierror: "the name of the host is not known",
    socket.timeout: "no whole answer within {timeout:g} s",
    ConnectionError: "the connection was closed without a whole answer",
    http.client.IncompleteRead: "the connection was closed without a whole answer",
}


@dataclass(frozen=True)
class Wanted:
    """What the service must be, beyond working."""

    version: str = ""
    digest: str = ""
    keys: bool = False
    metrics_hidden: bool = False


class Smoke:
    """The checks, in order; each returns what is said of it. Raises SmokeError at the first that fails."""

    def __init__(self, caller: Caller, wanted: Wanted) -> None:
        self.caller = caller
        self.wanted = wanted
        self.card: dict[str, Any] = {}
        self.key_for_probes: str | None = ""

    def list_checks(self) -> Iterator[tuple[str, Callable[[], str]]]:
        """Yield the checks by name; the ones that ask for predictions come after those that cost nothing."""
        yield "GET /livez", self.check_liveness
        yield "keys", self.check_keys
        yield "GET /model", self.check_model
        for label, text in CLEAR_TEXTS.items():
            yield f"POST /predict, {label}", partial(self.check_predict, label, text)
        yield "POST /predict, empty", self.check_empty_text
        yield "POST /batch_predict", self.check_batch
        if self.wanted.version or self.wanted.digest:
            yield "which model answers", self.check_answering_model
        yield "GET /health", self.check_health
        yield "GET /metrics", self.check_metrics
        yield "GET /", self.check_page
        yield "admin paths", self.check_admin_paths

    def wait_until_ready(self, seconds: float) -> str:
        """Return when `/readyz` answers 200; says on stderr what it waits for."""
        started = time.monotonic()
        spoken = started
        while True:
            try:
                answer = self.caller.ask("GET", "/readyz", key=self.key_for_probes)
                if answer.status in NO_KEY and self.caller.key and self.key_for_probes == "":
                    self.key_for_probes = None
                    continue
                if answer.status == HTTPStatus.OK:
                    gated = "" if self.key_for_probes == "" else ", with the key: a gateway before it wants one"
                    return f"200 after {time.monotonic() - started:.1f} s{gated}"
                _raise_redirect(answer)
                if answer.status not in NOT_YET:
                    raise answer.fail("wanted 200; a probe needs no key, so something before the service refuses it")
                reason = f"{answer.asked} answers {answer.status}"
            except NotYetError as error:
                reason = str(error).rstrip(".")
            now = time.monotonic()
            if now - started + SECONDS_BETWEEN_TRIES > seconds:
                raise SmokeError(f"not ready after {seconds:g} s: {reason}; wanted 200.")
            if now - spoken >= SECONDS_BETWEEN_WORDS:
                spoken = now
                sys.stderr.write(f"waiting, {now - started:.0f} s of {seconds:g}: {reason}\n")
            time.sleep(SECONDS_BETWEEN_TRIES)

    def check_liveness(self) -> str:
        """The process answers, and wants no key for it."""
        return _say_time(self._ask("GET", "/livez", key=self.key_for_probes))

    def check_keys(self) -> str:
        """A stranger is let in only where everybody may be, and the key that was given is known."""
        answer = self.caller.ask("GET", "/model", key="")
        if answer.status == HTTPStatus.UNAUTHORIZED:
            if self.key_for_probes == "":
                _read_problem(answer, HTTPStatus.UNAUTHORIZED, "key_missing")
            if not self.caller.key:
                raise answer.fail("the service asks for a key; name a file that holds one with --key-file")
            self._ask("GET", "/model")
            return "a key is asked for, and this one is known"
        if answer.status != HTTPStatus.OK:
            raise answer.fail("wanted 200, or 401 where keys are set")
        if self.wanted.keys:
            raise answer.fail("wanted 401, because --require-keys was given; set SENTIMENT_API_KEY_FILE")
        return "open to everybody, no key is asked for"

    def check_model(self) -> str:
        """The card names the model that is wanted."""
        answer = self._ask("GET", "/model")
        card = answer.read_object()
        labels = card.get("labels")
        if not isinstance(labels, list) or not labels or not isinstance(card.get("version"), str):
            raise answer.fail("wanted a card with labels and a version")
        self.card = card
        self._compare(answer, card.get("version"), card.get("digest"))
        return f"version {card['version']}, {card.get('candidate')}, labels {', '.join(map(str, labels))}"

    def check_predict(self, label: str, text: str) -> str:
        """A clear text gets its label, scores that sum to 1, and the id that it was sent with."""
        request_id = f"smoke-{secrets.token_hex(8)}"
        answer = self._ask("POST", "/predict", {"text": text}, request_id=request_id)
        found = answer.read_object()
        self._check_entry(answer, found, label)
        if answer.headers.get("x-request-id") != request_id or found.get("request_id") != request_id:
            raise answer.fail(f"wanted the request id {request_id} in the header x-request-id and in the answer")
        if not answer.headers.get("content-type", "").startswith("application/json"):
            raise answer.fail(f"wanted content-type application/json, not {answer.headers.get('content-type')!r}")
        return f"{found['label']} {found['confidence']:.2f}, {_say_time(answer)}"

    def check_empty_text(self) -> str:
        """What cannot be answered gets the one shape of an error."""
        answer = self.caller.ask("POST", "/predict", {"text": " "})
        return _read_problem(answer, HTTPStatus.UNPROCESSABLE_ENTITY, "empty_text")

    def check_batch(self) -> str:
        """A bad text of a batch carries its own error, and the others their answers, in order."""
        texts = [CLEAR_TEXTS["positive"], " ", CLEAR_TEXTS["negative"]]
        answer = self._ask("POST", "/batch_predict", {"texts": texts})
        entries = answer.read_object().get("predictions")
        if not isinstance(entries, list) or len(entries) != len(texts):
            raise answer.fail(f"wanted {len(texts)} predictions")
        first, bad, last = entries
        self._check_entry(answer, first, "positive")
        self._check_entry(answer, last, "negative")
        error = bad.get("error") if isinstance(bad, dict) else None
        if not isinstance(error, dict) or error.get("code") != "empty_text" or "label" in bad:
            raise answer.fail("wanted the error empty_text in the second prediction, and no label")
        return f"{first['label']}, {error['code']}, {last['label']}, {_say_time(answer)}"

    def check_answering_model(self) -> str:
        """Every answer comes from the model that is wanted, whichever replica or worker gives it."""
        found: dict[str, Any] = {}
        for _ in range(ANSWERS_OF_ONE_MODEL):
            answer = self._ask("POST", "/predict", {"text": CLEAR_TEXTS["positive"]})
            found = answer.read_object()
            self._compare(answer, found.get("model_version"), found.get("model_digest"))
        return f"{ANSWERS_OF_ONE_MODEL} of {ANSWERS_OF_ONE_MODEL} answers from {found['model_version']}"

    def check_health(self) -> str:
        """Nothing is degraded: the prediction log takes entries and its database answers."""
        deadline = time.monotonic() + SECONDS_FOR_THE_LOG
        while True:
            answer = self._ask("GET", "/health")
            found = answer.read_object()
            log = found.get("prediction_log")
            is_known = not isinstance(log, dict) or log.get("database") != "unknown"
            if found.get("status") == "ok" and is_known:
                break
            if time.monotonic() > deadline:
                raise answer.fail(f"wanted status ok, and a database that answers, within {SECONDS_FOR_THE_LOG} s")
            time.sleep(SECONDS_BETWEEN_TRIES)
        if not isinstance(log, dict):
            return f"ok, prediction log {log}"
        return f"ok, prediction log: database {log.get('database')}, {log.get('shipped')} shipped"

    def check_metrics(self) -> str:
        """The counters are there for Prometheus, or hidden where they must be."""
        if self.wanted.metrics_hidden:
            answer = self.caller.ask("GET", "/metrics")
            if answer.status not in CLOSED:
                raise answer.fail("wanted 401, 403 or 404, because --metrics-hidden was given")
            return f"hidden, {answer.status}"
        answer = self.caller.ask("GET", "/metrics")
        if answer.status == HTTPStatus.NOT_FOUND:
            return "hidden by what stands before the service, 404"
        if answer.status != HTTPStatus.OK:
            raise answer.fail("wanted 200, or 404 where they are hidden")
        names = {line.split("{")[0].split(" ")[0] for line in answer.text.splitlines() if line.startswith("sentigate_")}
        if "sentigate_model_info" not in names:
            raise answer.fail("wanted counters, sentigate_model_info among them")
        return f"{len(names)} counters"

    def check_page(self) -> str:
        """The page to try it is there, and its headers keep other sites out."""
        answer = self._ask("GET", "/", key=self.key_for_probes)
        for name, wanted in PAGE_HEADERS.items():
            if wanted not in answer.headers.get(name, ""):
                raise answer.fail(f"wanted the header {name} with {wanted}, not {answer.headers.get(name)!r}")
        return f"{', '.join(PAGE_HEADERS)}"

    def check_admin_paths(self) -> str:
        """No stranger changes the model or reads what others wrote, on that machine either."""
        for method, path, body in ADMIN_PATHS:
            answer = self.caller.ask(method, path, body, key="")
            if answer.status not in CLOSED:
                raise answer.fail("wanted 401, 403 or 404 for a caller without a key")
        return "closed to strangers"

    def _ask(self, method: str, path: str, body: object = None, **options: Any) -> Answer:
        answer = self.caller.ask(method, path, body, **options)
        if answer.status == HTTPStatus.OK:
            return answer
        _raise_redirect(answer)
        advice = {
            HTTPStatus.UNAUTHORIZED: "wanted 200; the key is missing, unknown or expired there",
            HTTPStatus.FORBIDDEN: "wanted 200; the key needs the scopes predict and read",
            HTTPStatus.TOO_MANY_REQUESTS: "wanted 200; the rate limit of this key is too low for a smoke test",
        }
        raise answer.fail(next((said for status, said in advice.items() if status == answer.status), "wanted 200"))

    def _check_entry(self, answer: Answer, entry: object, label: str) -> None:
        """Raise SmokeError unless the entry is a sound answer, with the label where the model knows such a one."""
        labels = self.card["labels"]
        if not isinstance(entry, dict) or entry.get("label") not in labels:
            raise answer.fail(f"wanted a label of the card: {', '.join(map(str, labels))}")
        scores = entry.get("scores")
        if not isinstance(scores, dict) or sorted(scores) != sorted(labels):
            raise answer.fail("wanted a score for each label of the card")
        if not all(isinstance(score, (int, float)) for score in scores.values()) or not math.isclose(
            sum(scores.values()), 1, abs_tol=1e-3
        ):
            raise answer.fail("wanted scores that sum to 1")
        if not math.isclose(entry.get("confidence") or 0, max(scores.values()), abs_tol=1e-6):
            raise answer.fail("wanted the highest score as the confidence")
        if label in labels and entry["label"] != label:
            raise answer.fail(f"wanted {label} for {CLEAR_TEXTS[label]!r}")

    def _compare(self, answer: Answer, version: object, digest: object) -> None:
        wanted = self.wanted
        if wanted.version and wanted.version not in (version, str(version).split("-")[0]):
            raise answer.fail(f"came version {version}, wanted {wanted.version}")
        if wanted.digest and not str(digest).startswith(wanted.digest):
            raise answer.fail(f"came the model with digest {str(digest)[:SHORTEST_DIGEST]}, wanted {wanted.digest}")


def _raise_redirect(answer: Answer) -> None:
    if target := answer.headers.get("location"):
        raise answer.fail(f"it points to {target}; ask there, a smoke test follows no redirects")


def _read_problem(answer: Answer, status: HTTPStatus, code: str) -> str:
    """Return the status and code of an error in the one shape. Raises SmokeError when it is another."""
    wanted = f'wanted {status.value} with {{"code": "{code}", "message": "..."}}'
    if answer.status != status:
        raise answer.fail(wanted)
    problem = answer.read_object()
    if problem.get("code") != code or not problem.get("message"):
        raise answer.fail(wanted)
    return f"{status.value} {code}"


def _say_time(answer: Answer) -> str:
    return f"{answer.seconds * 1000:.0f} ms"


def parse_url(text: str) -> tuple[str, bool]:
    """Return the URL without a slash at its end, and whether it leads to this machine. Raises SmokeError."""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        host = ""
    if not host or parts.scheme not in ("http", "https") or not re.fullmatch(r"[!-~]+", text):
        raise SmokeError(f"{text!r} is not the address of a service; wanted for example http://127.0.0.1:3000.")
    if parts.username is not None or parts.query or parts.fragment:
        raise SmokeError("the address holds a password, a query or a fragment; a key goes into a file, --key-file.")
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    return text.rstrip("/"), local


def read_key(path: str) -> str:
    """Return the one key that a file holds. Raises SmokeError that says nothing of what the file holds."""
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 - /dev/stdin is no path that can be read twice
            key = file.read().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SmokeError(f"the key file {path} cannot be read ({type(error).__name__}).") from error
    if not KEY.fullmatch(key):
        raise SmokeError(
            f"the key file {path} does not hold one key on one line; wanted the key as"
            " `sentigate keys add` showed it, not the file of digests that the service reads."
        )
    return key


def open_tls(ca_file: str) -> ssl.SSLContext:
    """Return what checks certificates: against one authority, or all that this machine trusts. Raises SmokeError."""
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ValueError) as error:
        raise SmokeError(f"the CA file {ca_file} cannot be read ({type(error).__name__}); wanted PEM.") from error


def read_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(prog="smoke.py", description="Ask a running Sentigate what its callers ask.")
    parser.add_argument("url", help="for example http://127.0.0.1:3000 or https://sentiment.example.org")
    parser.add_argument("--key-file", default="", help="file with one API key; /dev/stdin works, too")
    parser.add_argument("--version", default="", help="model version that must answer, as 5 or 5-0a1b2c3d4e5f")
    parser.add_argument("--digest", default="", help="digest of the model that must answer, 12 characters or more")
    parser.add_argument("--ca-file", default="", help="PEM of the authority to trust, instead of this machine's")
    parser.add_argument("--wait", type=float, default=60, help="seconds to wait until it is ready (60)")
    parser.add_argument("--timeout", type=float, default=10, help="seconds for one answer (10)")
    parser.add_argument("--require-keys", action="store_true", help="fail where no key is asked for")
    parser.add_argument("--metrics-hidden", action="store_true", help="fail where /metrics can be read")
    parser.add_argument("--plain-http", action="store_true", help="send the key over http to another machine")
    return parser.parse_args(arguments)


def prepare(options: argparse.Namespace) -> Smoke:
    """Return the smoke test that the options describe. Raises SmokeError when they make no sense."""
    url, local = parse_url(options.url)
    key = read_key(options.key_file) if options.key_file else ""
    if key and url.startswith("http:") and not (local or options.plain_http):
        raise SmokeError(
            f"the key would go to {url} in the clear; ask by https, or give --plain-http where the network is yours."
        )
    digest = options.digest.lower()
    if digest and not DIGEST.fullmatch(digest):
        raise SmokeError(
            f"{options.digest!r} is not the digest of a model; wanted 12 to 64 hexadecimal characters, as GET /model"
            " shows them (an image has another digest)."
        )
    if not (options.timeout > 0 and options.wait >= 0):
        raise SmokeError("--timeout wants more than 0 seconds, --wait 0 or more.")
    if options.ca_file and url.startswith("http:"):
        raise SmokeError(f"--ca-file is for https, and {url} is asked by http; leave one of them out.")
    tls = open_tls(options.ca_file) if url.startswith("https:") else None
    caller = Caller(url, key, options.timeout, tls, local)
    wanted = Wanted(options.version, digest, options.require_keys, options.metrics_hidden)
    return Smoke(caller, wanted)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the checks; return the exit code."""
    options = read_arguments(arguments)
    key = ""
    try:
        smoke = prepare(options)
        key = smoke.caller.key
        _say_check("GET /readyz", smoke.wait_until_ready(options.wait))
        for name, check in smoke.list_checks():
            _say_check(name, check())
    except SmokeError as error:
        said = str(error)
        sys.stderr.write(f"smoke test failed: {said.replace(key, '***') if key else said}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("stopped.\n")
        return 130
    return 0


def _say_check(name: str, said: str) -> None:
    sys.stdout.write(f"ok  {name:<24} {said}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
