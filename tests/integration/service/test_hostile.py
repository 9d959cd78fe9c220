"""Ten thousand hostile texts and a few hundred hostile requests, against two workers."""

import gzip
import json
import random
import socket
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

import httpx
import pytest

from service.api.schemas import Answer, BatchAnswer, Explanation, FeedbackAnswer, Problem
from tests.integration.prediction_log.test_prediction_log import LoggingService
from tests.support import serving
from tests.support.serving import WORD, make_store, wait_until

pytestmark = pytest.mark.slow

SEED = 20_261_121
CALLERS = 4
IN_BATCHES, ALONE, EXPLAINED, AS_FEEDBACK = 7_000, 2_000, 300, 700
BATCH = 100
MEMORY_BYTES = 60_000_000
ANSWERS = {"/predict": Answer, "/batch_predict": BatchAnswer, "/explain": Explanation, "/feedback": FeedbackAnswer}
UNKNOWN = "00000000-0000-7000-8000-000000000000"
SPACES = " \t\n\r\x0b\x0c\x1c\x85\u00a0\u1680\u2003\u2028\u2029\u202f\u205f\u3000"
INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff\u00ad\u180e\u034f"
BIDI = "\u202a\u202b\u202d\u202e\u2066\u2067\u2068\u2069\u200f\u061c"
SURROGATES = ["\ud800", "\udbff", "\udc00", "\udfff", "\udc00\ud800"]
EMOJI = [
    "\U0001f600",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\U0001f1e9\U0001f1ea",
    "\u2764\ufe0f\u200d\U0001f525",
    "\U0010fffd",
]
TEMPLATES = [
    "'; DROP TABLE predictions; --",
    '" OR ""="',
    "<script>alert(1)</script>",
    "{{7*7}}${7*7}<%= 7 %>#{7}",
    "%s%n%x %(id)s {id} {0.__class__}",
    "${jndi:ldap://x/a}",
    "\\copy \\x00 \\u0000 \\",
    '"}\n{"kind": "feedback"}',
    "../../etc/passwd\0.txt",
    "=cmd|' /C calc'!A0",
    "a\r\nset-cookie: x=y\r\n\r\n",
]


def make_texts(seed: int, count: int) -> list[str]:
    """Return texts that are hostile in one way or several, the same for a seed."""
    chance = random.Random(seed)

    def pick(signs: Sequence[str], most: int) -> str:
        return "".join(chance.choices(signs, k=chance.randint(1, most)))

    kinds = [
        lambda: pick([chr(code) for code in range(32)], 20),
        lambda: pick([chr(code) for code in range(127, 160)], 20),
        lambda: pick(INVISIBLE, 30),
        lambda: pick(BIDI, 10) + "שלום مرحبا" + pick(BIDI, 10),
        lambda: pick(EMOJI, 12),
        lambda: "a" + pick([chr(code) for code in range(0x300, 0x36F)], 200),
        lambda: "\0" * chance.randint(1, 9),
        lambda: "\ufeff\ufffe\uffff",
        lambda: chance.choice("xé\u4e2d\U0001f600") * chance.randint(1, 9_000),
        lambda: chance.choice(TEMPLATES),
        lambda: pick(SPACES, 40),
        lambda: chr(chance.choice([chance.randrange(0xD800), chance.randrange(0xE000, 0x110000)])),
        lambda: "",
    ]
    return [
        "".join(chance.choice(kinds)() for _ in range(chance.randint(1, 3))) + chance.choice(["", f" {WORD}"])
        for _ in range(count)
    ]


@dataclass
class Told:
    """What callers were told: the texts of answers by their id, the ids of feedback, and what was no answer."""

    texts: dict[str, str] = field(default_factory=dict)
    feedback: set[str] = field(default_factory=set)
    problems: set[tuple[int, str]] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)


def tell(path: str, body: dict[str, object], status: int, content: bytes, told: Told) -> None:
    """Note an answer; fail where it is neither one nor a problem in the one shape."""
    with told.lock:
        if status != 200:
            problem = Problem.model_validate_json(content, extra="forbid", strict=True)
            told.problems.add((status, problem.code))
            return
        answer = ANSWERS[path].model_validate_json(content, extra="forbid", strict=True)
        if isinstance(answer, FeedbackAnswer):
            told.feedback.add(answer.feedback_id)
            return
        answers = answer.predictions if isinstance(answer, BatchAnswer) else [answer]
        texts = body["texts"] if isinstance(answer, BatchAnswer) else [body["text"]]
        for text, one in zip(texts, answers, strict=True):
            if one.prediction_id is None:
                told.problems.add((422, one.error.code))
            else:
                assert told.texts.setdefault(one.prediction_id, text) is text


@pytest.fixture(scope="module")
def service(tmp_path_factory) -> Iterator[LoggingService]:
    """Two workers that keep whole texts in their log."""
    variables = {
        "SENTIMENT_LOG_TEXT": "full",
        "SENTIMENT_TIMEOUT_SECONDS": "5",
        "BENTOML_CONFIG_OPTIONS": "services.sentigate.workers=2",
    }
    store = make_store(tmp_path_factory.mktemp("store"))
    with serving.run_service(store, tmp_path_factory.mktemp("service"), kind=LoggingService, **variables) as service:
        service.wait_for_workers(2)
        yield service


@pytest.fixture(scope="module")
def told() -> Told:
    """What all callers of the module were told."""
    return Told()


def ask_all(service: LoggingService, questions: Sequence[tuple[str, dict[str, object]]], told: Told) -> None:
    """Ask over a few connections at a time."""

    def ask(share: Sequence[tuple[str, dict[str, object]]]) -> None:
        with httpx.Client(base_url=service.url, timeout=30, trust_env=False) as client:
            for path, body in share:
                answer = client.post(path, content=json.dumps(body).encode())
                tell(path, body, answer.status_code, answer.content, told)

    with ThreadPoolExecutor(CALLERS) as callers:
        list(callers.map(ask, [questions[start::CALLERS] for start in range(CALLERS)]))


def make_questions() -> list[tuple[str, dict[str, object]]]:
    texts = iter(make_texts(SEED, IN_BATCHES + ALONE + EXPLAINED + AS_FEEDBACK))
    chance = random.Random(SEED)

    def take(count: int) -> list[str]:
        return [next(texts) for _ in range(count)]

    halves = [{"text": text + chance.choice(SURROGATES)} for text in take(ALONE // 10)]
    labels = [chance.choice(["positive", text]) for text in take(AS_FEEDBACK)]
    questions = [
        *(("/batch_predict", {"texts": take(BATCH)}) for _ in range(IN_BATCHES // BATCH)),
        *(("/predict", {"text": text}) for text in take(ALONE - len(halves))),
        *(("/predict", half) for half in halves),
        *(("/explain", {"text": text}) for text in take(EXPLAINED)),
        *(("/feedback", {"prediction_id": chance.choice([UNKNOWN, label]), "label": label}) for label in labels),
    ]
    chance.shuffle(questions)
    return questions


def test_ten_thousand_hostile_texts_are_answered(service, told, record_property):
    """Each text gets an answer or a problem, and the workers hold no more memory afterwards."""
    questions = make_questions()
    tenth = len(questions) // 10
    ask_all(service, questions[:tenth], told)
    before = count_bytes(service)

    ask_all(service, questions[tenth:], told)

    grown = count_bytes(service) - before
    record_property("grown", grown)
    assert told.problems == {
        (400, "malformed"),
        (422, "empty_text"),
        (422, "text_too_long"),
        (413, "text_too_long"),
        (422, "unknown_label"),
        (422, "wrong_type"),
    }
    assert grown < MEMORY_BYTES


def count_bytes(service: LoggingService) -> int:
    return sum(worker.memory_info().rss for worker in service.find_workers())


NO_HTTP = b"Invalid HTTP request received."
JSON = b"content-type: application/json\r\n"
SMALL = b'{"text": "' + WORD.encode() + b'"}'
DEEP = b"[" * 100_000
DIGITS = b"9" * 10_000
BODIES = {
    "nothing": (b"", {400}),
    "a megabyte": (b'{"text": "' + b"x" * 1_000_000 + b'"}', {413}),
    "deep lists": (DEEP, {400}),
    "deep lists in a text": (b'{"text": ' + DEEP + b"]" * 100_000 + b"}", {400, 422}),
    "deep objects": (b'{"text":' * 100_000, {400, 422}),
    "NaN": (b'{"text": NaN}', {422}),
    "Infinity": (b'{"texts": [Infinity, -Infinity]}', {422}),
    "the same key twice": (b'{"text": "%b", "text": "good"}' % WORD.encode(), {200}),
    "UTF-16": (f'{{"text": "{WORD}"}}'.encode("utf-16"), {400}),
    "latin-1": (f'{{"text": "é {WORD}"}}'.encode("latin-1"), {400}),
    "half a sign": (f'{{"text": "{WORD} €'.encode()[:-1] + b'"}', {400}),
    "overlong NUL": (b'{"text": "\xc0\x80"}', {400}),
    "a surrogate in UTF-8": (b'{"text": "\xed\xa0\x80"}', {400}),
    "BOM": (b"\xef\xbb\xbf" + SMALL, {400}),
    "gzip": (gzip.compress(SMALL), {400}),
    "many digits": (b'{"text": ' + DIGITS + b"}", {400, 422}),
    "many digits of a float": (b'{"text": 0.' + DIGITS + b"e" + DIGITS + b"}", {400, 422}),
    "many digits outside": (DIGITS, {400, 422}),
    "many keys": (b"{" + b",".join(b'"%b%d": 1' % (WORD.encode(), n) for n in range(20_000)) + b"}", {422}),
    "a long key": (b'{"%b": 1}' % (WORD.encode() * 50_000), {422}),
    "a list": (b'["%b"]' % WORD.encode(), {422}),
    "a form": (b"text=" + WORD.encode(), {400}),
    "two documents": (SMALL + SMALL, {400}),
    "a comment": (b"/* " + WORD.encode() + b" */" + SMALL, {400}),
    "binary": (bytes(range(256)) * 100, {400}),
}
HEADS = {
    "a content type": (b"content-type: text/%b\r\n" % WORD.encode(), {200}),
    "a content type that is no text": (b"content-type: \xff\xfe\r\n", {200}),
    "pickle": (b"content-type: application/vnd.bentoml+pickle\r\n", {200}),
    "gzip that is none": (b"content-encoding: gzip\r\n", {200}),
    "a long name": (b"x-request-id: %b\r\n" % (WORD.encode() * 1_000), {200}),
    "a name with a header": (b"x-request-id: a\r\nset-cookie: %b=1\r\n" % WORD.encode(), {200}),
    "a name with a bare new line": (b"x-request-id: a\nset-cookie: %b=1\r\n" % WORD.encode(), {200, 400}),
    "a name with a bare return": (b"x-request-id: a\rset-cookie: %b=1\r\n" % WORD.encode(), {400}),
    "a name that is no text": (b"x-request-id: \xff\xfe\r\n", {200}),
    "a name with NUL": (b"x-request-id: a\0b\r\n", {400}),
    "baggage": (b"baggage: %b\xff=1\r\ntraceparent: %b\r\n" % (WORD.encode(), WORD.encode()), {200}),
    "a key": (b"authorization: Bearer %b\xff\r\n" % WORD.encode(), {200}),
    "a folded header": (b"x-a: %b\r\n b\r\n" % WORD.encode(), {200, 400}),
    "two lengths": (b"content-length: 1\r\n", {400}),
    "a length and chunks": (b"transfer-encoding: chunked\r\n", {400}),
    "many headers": (b"".join(b"x-%d: y\r\n" % number for number in range(2_000)), {200}),
    "a head of a megabyte": (b"x-a: %b\r\n" % (b"y" * 1_000_000), {0}),
}
TARGETS = {
    b"POST /": {405},
    b"POST /\xff": {400},
    b"POST /predict?%ff=%00": {200},
    b"POST /%ff%0aforged%20line": {404},
    b"POST /predict/": {404},
    b"POST //predict": {404},
    b"POST /../predict": {404},
    b"GET /static_content/..%2f..%2fetc/passwd": {404},
    b"GET /static_content/%00": {404},
    b"GET /model": {200},
    b"DELETE /predict": {405},
    b"BREW /predict": {400},
    b"OPTIONS *": {404},
    b"CONNECT x:1": {400},
    b"POST http://[::1": {400},
    b"POST " + b"/" * 60_000: {404},
}


def send_raw(service: LoggingService, request: bytes) -> bytes:
    """Return what comes back until the connection ends."""
    said = b""
    with socket.create_connection(("127.0.0.1", service.port), timeout=15) as connection, suppress(OSError):
        with suppress(OSError):
            connection.sendall(request)
        while chunk := connection.recv(65_536):
            said += chunk
    return said


def write_request(body: bytes, head: bytes = JSON, target: bytes = b"POST /predict") -> bytes:
    length = b"content-length: %d\r\n" % len(body)
    return target + b" HTTP/1.1\r\nhost: x\r\nconnection: close\r\n" + length + head + b"\r\n" + body


def write_chunks(body: bytes) -> bytes:
    pieces = [body[start : start + 50_000] for start in range(0, len(body), 50_000)]
    head = b"POST /predict HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def read_answer(said: bytes) -> tuple[int, bytes, bytes]:
    """Return the status, the head and the body of one answer, and status 0 where there is none."""
    head, _, body = said.partition(b"\r\n\r\n")
    return int(head.split()[1]) if head else 0, head, body


def check_raw(service: LoggingService, request: bytes, wanted: set[int], told: Told) -> None:
    status, head, content = read_answer(send_raw(service, request))
    assert status in wanted, content
    assert WORD.encode() not in head + content
    assert b"set-cookie" not in head
    if content in {b"", NO_HTTP}:
        assert status in {0, 307, 400}
    elif b"prediction_id" in content or status != 200:
        tell("/predict", {"text": "good"}, status, content, told)


@pytest.mark.parametrize("name", BODIES)
def test_a_hostile_body_is_answered(service, told, name):
    """Whatever a body is made of, its caller gets an answer or a problem, whole or in pieces."""
    body, wanted = BODIES[name]

    check_raw(service, write_request(body), wanted, told)
    check_raw(service, write_chunks(body), wanted, told)


@pytest.mark.parametrize("name", HEADS)
def test_a_hostile_head_is_answered(service, told, name):
    """No header of a caller fails the service, comes back, or makes a header of the answer."""
    head, wanted = HEADS[name]

    check_raw(service, write_request(b'{"text": "good"}', head), wanted, told)


@pytest.mark.parametrize("target", TARGETS)
def test_a_hostile_target_is_answered(service, told, target):
    """Whatever path or method is asked for, there is an answer."""
    check_raw(service, write_request(b'{"text": "good"}', JSON, target), TARGETS[target], told)


@pytest.mark.parametrize(
    ("length", "status"), [(5, 400), (1_000, 408), (-1, 400), (10**30, 400), ("0x10", 400), ("", 400)]
)
def test_a_length_that_lies_is_answered(service, told, length, status):
    """A caller whose length is not that of the body gets a problem, and is not waited for beyond the timeout."""
    request = write_request(b'{"text": "good"}').replace(b"content-length: 16", f"content-length: {length}".encode())

    check_raw(service, request, {status}, told)


@pytest.mark.parametrize("path", ["/", "/predict", "/reload", "/nowhere"])
def test_a_websocket_is_refused(service, path):
    """No path takes a websocket, with a key or without."""
    kind = "upgrade: websocket\r\nconnection: upgrade"
    key = "sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA=="
    said = send_raw(service, f"GET {path} HTTP/1.1\r\nhost: x\r\n{kind}\r\n{key}\r\n\r\n".encode())

    assert read_answer(said)[0] == 403


def test_the_service_is_well_and_nothing_was_said(service, told):
    """After all that every acknowledged answer is in the log, once, with its text, and no text is anywhere else."""
    metrics = service.get("/metrics").raise_for_status().text

    wait_until(lambda: service.read_rows().keys() >= told.texts.keys())
    rows = service.read_rows()
    assert {one: row["text"] for one, row in rows.items()} == {
        one: text.replace("\0", "\ufffd") for one, text in told.texts.items()
    }
    assert not list(service.spool.glob("rejected*"))
    assert service.read_health() == "ok"
    assert len(service.find_workers()) == 2
    assert service.log.count(serving.STARTED) == 2
    assert "Traceback" not in service.log
    assert "\nforged" not in service.log
    assert WORD not in service.log
    assert WORD not in metrics
