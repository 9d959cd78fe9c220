"""Both clients over real connections: what they send, what they return, what they do when the other side misbehaves."""

import asyncio
import inspect
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from sentigate_client import AsyncSentigateClient, Retries, SentigateClient
from sentigate_client.answers import Prediction, Problem
from sentigate_client.client import KEY_VARIABLE, Client
from sentigate_client.errors import (
    ConnectionFailedError,
    InvalidRequestError,
    PlainHttpError,
    RateLimitedError,
    RequestRefusedError,
    TimedOutError,
    UnauthorizedError,
    UnreadableAnswerError,
    UsageError,
)
from tests.unit.client.server import PREDICTION, Asked, problem, serve

KEY = "sg_secret"
HURRY = Retries(attempts=3, deadline_seconds=5, first_pause_seconds=0.01)
FINE = (200, {}, PREDICTION)
OPERATIONS = [name for name, one in vars(SentigateClient).items() if not name.startswith("_") and name != "close"]


@pytest.fixture(params=["blocking", "asyncio"])
def ask(request) -> Callable[..., Any]:
    """Ask by one of the two clients: the operation by its name, then its arguments; options of the client in `by`."""

    def block(url: str, name: str, *args: Any, by: Any, **kwargs: Any) -> Any:
        with SentigateClient(url, **by) as client:
            return getattr(client, name)(*args, **kwargs)

    async def wait(url: str, name: str, *args: Any, by: Any, **kwargs: Any) -> Any:
        async with AsyncSentigateClient(url, **by) as client:
            return await getattr(client, name)(*args, **kwargs)

    def run(url: str, name: str, *args: Any, by: Any = None, **kwargs: Any) -> Any:
        by = {"retries": HURRY, **(by or {})}
        if request.param == "blocking":
            return block(url, name, *args, by=by, **kwargs)
        return asyncio.run(wait(url, name, *args, by=by, **kwargs))

    return run


def send(content: bytes, *, then_wait: float = 0.0) -> Callable[[BaseHTTPRequestHandler], None]:
    """Return what answers with these bytes, whatever they are, and closes the connection."""

    def reply(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(content)
        handler.wfile.flush()
        time.sleep(then_wait)

    return reply


def trickle(handler: BaseHTTPRequestHandler) -> None:
    """Answer a byte at a time, for longer than anybody waits."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
    for _ in range(1000):
        try:
            handler.wfile.write(b" ")
        except OSError:
            return
        time.sleep(0.02)


def test_a_text_is_sent_as_json_and_answered_with_a_prediction(ask):
    """Every character arrives as it is."""
    with serve([FINE]) as server:
        assert ask(server.url, "predict", "ein schöner Tag 🌞\n") == Prediction(**PREDICTION)
    (asked,) = server.seen
    assert (asked.method, asked.path, asked.body) == ("POST", "/predict", {"text": "ein schöner Tag 🌞\n"})
    assert asked.headers["content-type"] == "application/json"
    assert "authorization" not in asked.headers


def test_a_key_a_subject_and_a_request_id_are_headers(ask):
    """What names caller, person and request stands beside the text."""
    with serve([FINE]) as server:
        ask(f"{server.url}/", "predict", "hm", by={"api_key": KEY}, request_id="mine-1", subject="person:7")
    named = {name: server.seen[0].headers[name] for name in ("authorization", "x-request-id", "x-subject")}
    assert named == {"authorization": f"Bearer {KEY}", "x-request-id": "mine-1", "x-subject": "person:7"}


def test_the_key_comes_from_the_environment_unless_it_is_given(ask, monkeypatch):
    """An empty key is none."""
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    with serve([FINE]) as server:
        ask(server.url, "predict", "hm")
        ask(server.url, "predict", "hm", by={"api_key": "another"})
        ask(server.url, "predict", "hm", by={"api_key": ""})
    assert [asked.headers.get("authorization") for asked in server.seen] == [f"Bearer {KEY}", "Bearer another", None]


def test_all_attempts_of_a_call_have_one_request_id(ask):
    """A canary answers all attempts or none, and the log shows what belongs together."""
    busy = problem(503, "overloaded", headers={"retry-after": "0"})
    with serve([busy, busy, FINE, FINE]) as server:
        ask(server.url, "predict", "hm")
        ask(server.url, "predict", "hm")
    ids = [asked.headers["x-request-id"] for asked in server.seen]
    assert (len(ids), len(set(ids[:3])), len(set(ids))) == (4, 1, 2)


def test_retry_after_is_waited_for(ask):
    """A second that the service asks for passes before the next attempt."""
    with serve([problem(429, "too_many_requests", headers={"retry-after": "1"}), FINE]) as server:
        started = time.monotonic()
        ask(server.url, "predict", "hm")
        assert time.monotonic() - started >= 1


def test_a_retry_after_that_is_too_far_away_is_an_error(ask):
    """The caller learns at once when to come back."""
    answer = problem(429, "too_many_requests", "the limit is 5.", limit=5, headers={"retry-after": "3600"})
    with serve([answer]) as server, pytest.raises(RateLimitedError) as raised:
        ask(server.url, "predict", "hm")
    assert (raised.value.retry_after_seconds, raised.value.limit, len(server.seen)) == (3600, 5, 1)


def test_a_refusal_has_what_the_service_says(ask):
    """Status, code, sentence, limit, and the id under which the operator finds it."""
    answer = problem(413, "text_too_long", "it is too long.", limit=10, headers={"x-request-id": "theirs"})
    with serve([answer]) as server, pytest.raises(InvalidRequestError) as raised:
        ask(server.url, "predict", "hm")
    refusal = raised.value
    found = (refusal.status, refusal.code, refusal.message, refusal.limit, refusal.request_id)
    assert found == (413, "text_too_long", "it is too long.", 10, "theirs")


def test_the_key_is_in_no_error_and_no_text_of_the_client(ask):
    """Tracebacks and logs are read by others."""
    with serve([problem(401, "key_unknown", f"{KEY} is not known.")]) as server:
        with pytest.raises(UnauthorizedError) as raised:
            ask(server.url, "predict", "hm", by={"api_key": KEY})
        assert KEY not in f"{raised.value} {raised.value!r} {vars(raised.value)}"
        with SentigateClient(server.url, api_key=KEY) as client:
            assert repr(client) == f"SentigateClient('{server.url}')"


def test_a_redirect_is_not_followed(ask):
    """Neither text nor key goes where nobody sent them."""
    with serve([FINE]) as elsewhere, serve([(307, {"location": f"{elsewhere.url}/predict"}, b"")]) as server:
        with pytest.raises(RequestRefusedError, match="follows no redirects"):
            ask(server.url, "predict", "hm", by={"api_key": KEY})
        assert (len(server.seen), elsewhere.seen) == (1, [])


def test_no_proxy_of_the_environment_is_used(ask, monkeypatch):
    """A request goes to the service that was named, and to nobody else."""
    with serve([FINE]) as proxy, serve([FINE]) as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        ask(server.url, "predict", "hm", by={"api_key": KEY})
        assert (len(server.seen), proxy.seen) == (1, [])


@pytest.mark.parametrize(
    "content",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"",
    ],
)
def test_a_connection_that_ends_too_early_is_told_and_not_repeated(ask, content):
    """The service may have the text in its log by then."""
    with serve([send(content)]) as server, pytest.raises(ConnectionFailedError) as raised:
        ask(server.url, "predict", "hm")
    assert (raised.value.was_sent, len(server.seen)) == (True, 1)


def test_a_reading_is_repeated_when_the_connection_ends(ask):
    """Asking for the counters twice does no harm."""
    with serve([send(b""), send(b""), (200, {}, b"sentigate_requests 1\n")]) as server:
        assert ask(server.url, "metrics") == "sentigate_requests 1\n"


@pytest.mark.parametrize("body", [b"<html>login</html>", b"", b"{}", b"[]", b'{"label": 1}', b"\xff", b"1" * 5000])
def test_what_is_no_answer_is_told(ask, body):
    """A page of a gateway with status 200 is not taken for a prediction."""
    with serve([(200, {}, body)]) as server, pytest.raises(UnreadableAnswerError, match="it is no answer"):
        ask(server.url, "predict", "hm")
    assert len(server.seen) == 1


def test_a_body_that_is_not_compressed_as_it_says_is_told(ask):
    """A gateway that breaks the encoding gives no traceback."""
    with serve([(200, {"content-encoding": "gzip"}, b"no gzip")]) as server, pytest.raises(ConnectionFailedError):
        ask(server.url, "predict", "hm")


@pytest.mark.parametrize("slow", [send(b"", then_wait=2), trickle])
def test_a_slow_answer_is_given_up_in_time(ask, slow):
    """Silence and a body that trickles end alike."""
    with serve([slow]) as server:
        started = time.monotonic()
        with pytest.raises(TimedOutError, match=r"no answer within 0\.3 s"):
            ask(server.url, "predict", "hm", by={"timeout_seconds": 0.3})
        assert time.monotonic() - started < 1.5


def test_a_service_that_comes_late_is_reached(ask):
    """A connection that is refused has sent nothing, so the call tries again."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    patient = Retries(attempts=50, connect_attempts=50, first_pause_seconds=0.05, longest_pause_seconds=0.05)

    def come() -> None:
        time.sleep(0.3)
        with socket.create_server(("127.0.0.1", port)) as listening:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    late = threading.Thread(target=come)
    late.start()
    assert ask(f"http://127.0.0.1:{port}", "metrics", by={"retries": patient}) == "ok"
    late.join()


@pytest.mark.parametrize(("status", "is_ready"), [(200, True), (503, False), (502, False)])
def test_readiness_is_asked_for_once(ask, status, is_ready):
    """A probe says how it is now."""
    with serve([(status, {}, b"")]) as server:
        assert ask(server.url, "ready") is is_ready
    assert [asked.path for asked in server.seen] == ["/readyz"]


def test_nobody_there_is_not_ready(ask):
    """Whoever waits for a start needs no try."""
    assert ask("http://127.0.0.1:9", "ready") is False


def test_a_gateway_that_guards_the_probe_is_told(ask):
    """A key that is missing there does not pass by waiting."""
    with serve([(403, {}, b"")]) as server, pytest.raises(RequestRefusedError):
        ask(server.url, "ready")


def answer_batch(limit: int = 256, max_bytes: int = 1_000_000) -> Callable[[Asked, int], Any]:
    """Return a service that answers each text with itself as the label, and takes only so much."""

    def reply(asked: Asked, _: int) -> Any:
        texts = asked.body["texts"]
        if len(asked.content) > max_bytes:
            return problem(413, "body_too_large", limit=max_bytes)
        if len(texts) > limit:
            return problem(413, "batch_too_large", limit=limit)
        entries = [
            {**PREDICTION, "label": text} if text else {"error": problem(422, "empty_text")[2]} for text in texts
        ]
        return 200, {}, {"predictions": entries}

    return reply


def count_texts(seen: list[Asked]) -> list[int]:
    return [len(asked.body["texts"]) for asked in seen]


def test_a_large_batch_goes_in_parts_and_keeps_its_order(ask):
    """A list of any length is one call, under one request id; a text without an answer has its problem."""
    texts = [str(number) for number in range(600)]
    texts[300] = ""
    with serve(answer_batch()) as server:
        found = ask(server.url, "predict_batch", iter(texts))
    assert [one.label for one in found if isinstance(one, Prediction)] == [text for text in texts if text]
    assert found[300] == Problem("empty_text", "it is not.", None)
    assert count_texts(server.seen) == [256, 256, 88]
    assert len({asked.headers["x-request-id"] for asked in server.seen}) == 1


def test_a_service_that_takes_fewer_texts_is_given_fewer(ask):
    """The limit that a refusal names holds from then on."""
    with serve(answer_batch(limit=100)) as server:
        assert len(ask(server.url, "predict_batch", ["x"] * 250)) == 250
    assert count_texts(server.seen) == [250, 100, 100, 50]


def test_texts_that_are_too_long_together_go_in_smaller_parts(ask):
    """Each part is halved until the service takes it."""
    with serve(answer_batch(max_bytes=100_000)) as server:
        assert len(ask(server.url, "predict_batch", ["x" * 1000] * 250)) == 250
    assert count_texts(server.seen) == [250, 125, 62, 62, 62, 62, 2]


def test_long_texts_make_no_later_call_smaller():
    """Halving is for the texts at hand; a client that lives long goes back to whole parts."""
    with serve(answer_batch(max_bytes=100_000)) as server, SentigateClient(server.url) as client:
        client.predict_batch(["x" * 1000] * 250)
        before = len(server.seen)
        client.predict_batch(["x"] * 250)
    assert count_texts(server.seen[before:]) == [250]


@pytest.mark.parametrize("scheme", ["https", "HTTPS"])
def test_a_scheme_in_any_spelling_brings_the_authorities(scheme, monkeypatch):
    """A context without them would refuse each certificate."""
    made = []
    monkeypatch.setattr(SentigateClient, "_kind", lambda _, **options: made.append(options["verify"]))
    SentigateClient(f"{scheme}://sentiment.example.org")
    assert made == [True]


@pytest.mark.parametrize("limit", [0, -1, 1000, None])
def test_a_limit_that_makes_no_sense_ends(ask, limit):
    """A gateway that refuses everything is asked no more than a few times."""
    with serve([problem(413, "batch_too_large", limit=limit)]) as server, pytest.raises(InvalidRequestError):
        ask(server.url, "predict_batch", ["x"] * 64)
    assert count_texts(server.seen) == [64, 32, 16, 8, 4, 2, 1]


def test_an_empty_batch_asks_nobody(ask):
    """There is nothing to answer."""
    with serve([FINE]) as server:
        assert ask(server.url, "predict_batch", []) == []
    assert server.seen == []


def test_a_text_in_place_of_a_list_is_refused(ask):
    """Its characters would be texts."""
    with pytest.raises(UsageError, match="wanted a list of texts"):
        ask("http://127.0.0.1:9", "predict_batch", "a text")


@pytest.mark.parametrize("predictions", [[], [PREDICTION] * 3, "no list", [1, 2], None])
def test_another_number_of_answers_is_no_answer(ask, predictions):
    """No text gets the answer of another one."""
    with serve([(200, {}, {"predictions": predictions})]) as server, pytest.raises(UnreadableAnswerError):
        ask(server.url, "predict_batch", ["a", "b"])


@pytest.mark.parametrize(
    ("name", "arguments", "method", "path", "body"),
    [
        ("reload", {}, "POST", "/reload", {}),
        ("reload", {"version": "3"}, "POST", "/reload", {"version": "3"}),
        ("reload", {"uri": "s3://b/3"}, "POST", "/reload", {"uri": "s3://b/3"}),
        ("start_canary", {"share": 0.1, "minutes": 30, "folder": "/m"}, "POST", "/canary",
         {"share": 0.1, "minutes": 30, "folder": "/m"}),
        ("stop_canary", {}, "DELETE", "/canary", None),
        ("feedback", {"prediction_id": "p", "label": "positive"}, "POST", "/feedback",
         {"prediction_id": "p", "label": "positive"}),
        ("explain", {"text": "hm"}, "POST", "/explain", {"text": "hm"}),
        ("health", {}, "GET", "/health", None),
        ("model", {}, "GET", "/model", None),
    ],
)  # fmt: skip
def test_each_operation_asks_its_route(ask, name, arguments, method, path, body):
    """What the routes of the service want."""
    with serve([problem(418, "teapot")]) as server, pytest.raises(RequestRefusedError):
        ask(server.url, name, **arguments)
    (asked,) = server.seen
    assert (asked.method, asked.path, asked.body if asked.content else None) == (method, path, body)


@pytest.mark.parametrize(
    "ids", [{"request_id": "a b"}, {"request_id": "x" * 129}, {"subject": "é"}, {"subject": "a\nb"}]
)
def test_an_id_that_fits_in_no_header_is_refused_before_anything_is_sent(ask, ids):
    """It can smuggle no header in."""
    with pytest.raises(UsageError, match="an id cannot be sent"):
        ask("http://127.0.0.1:9", "predict", "hm", **ids)


@pytest.mark.parametrize("url", ["http://10.0.0.7:3000", "http://sentiment.example.org", "http://127.0.0.1.example.org",
                                 "http://[fd00::2]", "http://0.0.0.0:3000"])  # fmt: skip
def test_a_key_goes_to_another_machine_in_the_clear_only_when_told(url):
    """The refusal comes before any connection."""
    with pytest.raises(PlainHttpError, match="unencrypted") as raised:
        SentigateClient(url, api_key=KEY)
    assert KEY not in str(raised.value)
    SentigateClient(url, api_key=KEY, allow_plain_http=True).close()
    SentigateClient(url, api_key="").close()


@pytest.mark.parametrize("url", ["https://10.0.0.7", "http://127.0.0.1:1", "http://[::1]:1", "http://localhost"])
def test_a_key_goes_by_tls_and_to_this_machine(url):
    """What nobody can listen to needs no permission."""
    SentigateClient(url, api_key=KEY).close()


@pytest.mark.parametrize(
    "url",
    ["", "host:3000", "ftp://host", "http://", "http://a b", "http://host:x", "http://host:99999", "http://[::1",
     "http://a..b", "http://" + "a" * 70, "http://user:password@host", "http://user:password@host:x",
     "http://host:x/?key=password", "http://host/#a"],
)  # fmt: skip
def test_what_is_no_address_of_a_service_is_refused(url):
    """One sentence, and nothing of a password in it."""
    with pytest.raises(UsageError) as raised:
        SentigateClient(url)
    assert "password@" not in str(raised.value)
    assert "=password" not in str(raised.value)


@pytest.mark.parametrize("key", ["a b", "a\r\nx-admin: 1", "schlüssel", " "])
def test_a_key_that_fits_in_no_header_is_refused_unseen(key):
    """Neither the client nor what it is made of repeats it."""
    with pytest.raises(UsageError) as raised:
        SentigateClient("http://127.0.0.1:1", api_key=key)
    assert key.strip() == "" or key not in str(raised.value)


def test_both_clients_have_the_same_operations():
    """What one can, the other can, and `help` shows what comes of it."""
    assert len(OPERATIONS) == 11
    for name in OPERATIONS:
        blocking, awaiting = getattr(SentigateClient, name), getattr(AsyncSentigateClient, name)
        assert inspect.signature(blocking) == inspect.signature(awaiting)
        assert inspect.getdoc(blocking) == inspect.getdoc(awaiting)
        assert inspect.iscoroutinefunction(awaiting)
    assert inspect.signature(SentigateClient.predict).return_annotation is Prediction
    assert issubclass(SentigateClient, Client)


def test_threads_share_a_client():
    """Connections are handed out one to each."""
    with serve([FINE]) as server, SentigateClient(server.url) as client:
        threads = [threading.Thread(target=client.predict, args=("hm",)) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(server.seen) == 16


def test_tasks_share_a_client():
    """Many calls are under way at once in one loop."""

    async def ask_often(url: str) -> list[Prediction]:
        async with AsyncSentigateClient(url) as client:
            return await asyncio.gather(*(client.predict("hm") for _ in range(16)))

    with serve([FINE]) as server:
        assert len(asyncio.run(ask_often(server.url))) == 16
