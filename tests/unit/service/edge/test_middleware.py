import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from pydantic import SecretStr

from sentiment.admin_token import read_admin_token
from sentiment.errors import ConfigError
from sentiment.paths import locate_state
from service.api.checks import find_problem
from service.api.context import RequestContext
from service.api.errors import ApiError
from service.api.ids import make_id
from service.api.routes import ROUTES, RouteTable
from service.api.schemas import FeedbackRequest, PredictRequest, Problem, ReloadRequest, Window
from service.edge.middleware import Edge
from service.security.access import describe_exposure, open_access
from service.security.keys import make_key, write_key
from service.settings import ServiceSettings

WORD = "marmalade"
ID = "01890a5d-ac96-774b-bcce-b302099a8057"
FEEDBACK = {"prediction_id": ID, "label": "positive"}
NAMED = [(b"x-request-id", b"r-1")]
LIMITS = ServiceSettings(max_text_chars=20, max_batch_texts=3, max_body_bytes=200)
NOT_JSON = 'the body is not JSON in UTF-8; wanted {"text": "..."}.'

MALFORMED = {
    "nothing": b"",
    "broken": b'{"text": "marmalade',
    "words after it": b'{"text": "marmalade"} marmalade',
    "single quotes": b"{'text': 'marmalade'}",
    "a form": b"text=marmalade",
    "not UTF-8": b'{"text": "marmalade \xff\xfe"}',
    "UTF-16": '{"text": "marmalade"}'.encode("utf-16"),
    "byte order mark": b'\xef\xbb\xbf{"text": "marmalade"}',
    "lone surrogate": b'{"text": "marmalade \\ud83d"}',
    "swapped surrogates": b'{"text": "marmalade \\ude00\\ud83d"}',
    "bare control character": b'{"text": "marmalade \x00"}',
}
WRONG_TYPE = {
    "number": b'{"text": 1}',
    "NaN": b'{"text": NaN}',
    "infinity": b'{"text": -Infinity}',
    "true": b'{"text": true}',
    "null": b'{"text": null}',
    "list": b'{"text": ["marmalade"]}',
    "object": b'{"text": {"marmalade": "marmalade"}}',
}
NO_OBJECT = {"list": b'["marmalade"]', "string": b'"marmalade"', "number": b"1", "null": b"null", "NaN": b"NaN"}
NO_TEXTS = {
    "string": b'{"texts": "marmalade"}',
    "object": b'{"texts": {"marmalade": 1}}',
    "null": b'{"texts": null}',
}


SOUND_IDS = {
    "one sign": b"7",
    "a UUID": ID.encode(),
    "all signs": b"Az09_.:-",
    "a trace": b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "the longest": b"a" * 128,
}
HOSTILE_IDS = {
    "nothing": b"",
    "too long": b"a" * 129,
    "very long": b"a" * 100_000,
    "a space": b"a b",
    "a new line": b"a\n",
    "a header": b"a\r\nset-cookie: x=y",
    "markup": b"<script>alert(1)</script>",
    "quotes": b"a'; drop table predictions; --",
    "a log escape": b"\x1b[31mred",
    "NUL": b"a\x00",
    "letters beyond ASCII": "é".encode(),
    "no UTF-8": b"\xff\xfe",
    "digits of another script": "\u0667".encode(),
    "a path": b"../../etc/passwd",
    "a percent sign": b"%s%n",
}


@dataclass
class Reply:
    """What left the service for one request."""

    messages: list[dict[str, Any]] = field(default_factory=list)

    async def send(self, message: dict[str, Any]) -> None:
        self.messages.append(message)

    @property
    def status(self) -> int:
        return self.messages[0]["status"]

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.messages[0]["headers"])

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.messages[1:])

    @property
    def problem(self) -> dict[str, Any]:
        return json.loads(self.body)


TABLE = RouteTable(["base.css"])


OF_BENTOML = {"livez", "readyz", "schema"}


def make_edge(app: Any, settings: ServiceSettings) -> Edge:
    """Return an edge whose handlers and whose BentoML are one app."""
    names = ({route.name for route in ROUTES} | {"file"}) - OF_BENTOML
    handlers = dict.fromkeys(names, app.answer) if hasattr(app, "answer") else {}
    return Edge(app, settings, TABLE, handlers, lambda: None, partial(open_access, settings, Path(mkdtemp())))


class InnerApp:
    """Notes what reaches it, and answers with one status in two messages, as a handler and as BentoML."""

    def __init__(self, status: int = 200) -> None:
        self.scopes: list[dict[str, Any]] = []
        self.asked: list[Any] = []
        self.requests: list[RequestContext] = []
        self._status = status

    async def answer(self, worker, asked, request):
        self.asked.append(asked)
        self.requests.append(request)
        return self.respond

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http":
            self.scopes.append(scope)
            await send(await receive())
            return
        assert (await receive())["body"] == b""
        await self.respond(scope, receive, send)

    async def respond(self, scope, receive, send) -> None:
        self.scopes.append(scope)
        await send({"type": "http.response.start", "status": self._status, "headers": [(b"x-inner", b"kept")]})
        await send({"type": "http.response.body", "body": b"inner ", "more_body": True})
        await send({"type": "http.response.body", "body": WORD.encode()})


class Caller:
    """Sends a body in chunks and then leaves; counts what was read of it."""

    def __init__(self, chunks: Sequence[bytes]) -> None:
        self.read = 0
        self._chunks = chunks

    async def receive(self) -> dict[str, Any]:
        if self.read == len(self._chunks):
            return {"type": "http.disconnect"}
        self.read += 1
        more = self.read < len(self._chunks)
        return {"type": "http.request", "body": self._chunks[self.read - 1], "more_body": more}


def ask(
    *chunks: bytes,
    path: str = "/predict",
    method: str = "POST",
    app: Any = None,
    headers: Sequence = NAMED,
    settings=LIMITS,
) -> Reply:
    """Send one request through the edge."""
    reply = Reply()
    scope = {"type": "http", "method": method, "path": path, "headers": list(headers)}
    asyncio.run(make_edge(app or InnerApp(), settings)(scope, Caller(chunks or (b"",)).receive, reply.send))
    return reply


def pack(content: object) -> bytes:
    return json.dumps(content).encode()


def rows(cases: dict[str, bytes]) -> Any:
    return pytest.mark.parametrize("body", list(cases.values()), ids=list(cases))


@rows(MALFORMED)
def test_what_is_not_json_is_malformed(body):
    """A body that cannot be read is answered 400 with the shape that is wanted."""
    reply = ask(body)

    assert reply.status == 400
    assert reply.problem == {"code": "malformed", "message": NOT_JSON}


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"text": ' + b"[" * 50_000 + b"]" * 50_000 + b"}"])
def test_deep_json_is_malformed(body):
    """JSON that is nested thousands deep is refused like any that cannot be read."""
    reply = ask(body, settings=ServiceSettings())

    assert (reply.status, reply.problem["code"]) == (400, "malformed")


@rows(WRONG_TYPE)
def test_a_text_that_is_no_string_has_the_wrong_type(body, sentence):
    """A text that is not a string is answered 422."""
    reply = ask(body)

    assert reply.status == 422
    assert reply.problem == {"code": "wrong_type", "message": sentence}


@rows(NO_OBJECT)
def test_a_body_that_is_no_object_has_the_wrong_type(body, sentence):
    """JSON that is not an object is answered 422."""
    reply = ask(body)

    assert reply.status == 422
    assert reply.problem == {"code": "wrong_type", "message": sentence}


@rows(NO_TEXTS)
def test_texts_that_are_no_list_have_the_wrong_type(body, sentence):
    """Texts that are not a list are answered 422 with the shape of a batch."""
    reply = ask(body, path="/batch_predict")

    assert reply.status == 422
    assert reply.problem["message"] == sentence


def test_a_batch_names_the_place_of_what_is_no_string(sentence):
    """The entry of a batch that is not a string is named by its place."""
    reply = ask(pack({"texts": [WORD, 1]}), path="/batch_predict")

    assert reply.status == 422
    assert reply.problem["message"] == sentence


@pytest.mark.parametrize(
    ("path", "body", "missing"), [("/predict", {"texts": [WORD]}, "text"), ("/batch_predict", {"text": WORD}, "texts")]
)
def test_a_missing_key_is_named(path, body, missing):
    """A body without its key is answered 422 with the key that is missing."""
    reply = ask(pack(body), path=path)

    assert (reply.status, reply.problem["code"]) == (422, "wrong_type")
    assert reply.problem["message"].startswith(f"{missing} is missing; wanted ")


def test_an_unknown_key_is_refused():
    """A body with a key that the service does not know is answered 422 and does not reach the model."""
    app = InnerApp()

    reply = ask(pack({"text": WORD, "lang": "en"}), app=app)

    assert (reply.status, reply.problem["code"], app.asked) == (422, "wrong_type", [])
    assert reply.problem["message"].endswith(' is not known here; wanted {"text": "..."}.')


@pytest.mark.parametrize("text", ["", " ", "\t\r\n", "\u00a0\u3000\u2003", "\u200b\ufeff"])
def test_a_text_without_a_word_is_empty(text, sentence):
    """A text of nothing, of any kind of space or of what cannot be seen, is answered 422."""
    reply = ask(pack({"text": text}))

    assert reply.status == 422
    assert reply.problem == {
        "code": "empty_text",
        "message": sentence,
    }


def test_a_batch_without_texts_is_empty(sentence):
    """A batch of nothing is answered 422."""
    reply = ask(pack({"texts": []}), path="/batch_predict")

    assert reply.status == 422
    assert reply.problem == {"code": "empty_batch", "message": sentence}


def test_a_text_over_the_limit_is_too_large(sentence):
    """A text of one character too many is answered 413 with its length and the limit."""
    reply = ask(pack({"text": "é" * 21}))

    assert reply.status == 413
    assert reply.problem == {
        "code": "text_too_long",
        "message": sentence,
        "limit": 20,
    }


@pytest.mark.parametrize("character", ["a", "é", "\U0001f600"])
def test_a_text_at_the_limit_passes(character):
    """The limit of a text counts characters, not bytes, and is within."""
    text = json.dumps({"text": character * 20}, ensure_ascii=False).encode()

    assert ask(text).status == 200


def test_long_lengths_are_written_with_separators(sentence):
    """Lengths over a thousand are readable."""
    reply = ask(pack({"text": "a" * 10_001}), settings=ServiceSettings())

    assert reply.problem["message"] == sentence


def test_a_batch_over_the_limit_is_too_large(sentence):
    """A batch of one text too many is answered 413 with its size and the limit."""
    reply = ask(pack({"texts": ["a"] * 4}), path="/batch_predict")

    assert reply.status == 413
    assert reply.problem == {
        "code": "batch_too_large",
        "message": sentence,
        "limit": 3,
    }


@pytest.mark.parametrize("texts", [["a"], ["a"] * 3, ["a", "", "b"], ["a", "b" * 21]])
def test_a_batch_passes_whatever_is_wrong_with_one_text(texts):
    """A batch within its limit reaches the service, which answers each text on its own."""
    assert ask(pack({"texts": texts}), path="/batch_predict").status == 200


@pytest.mark.parametrize("path", ["/predict", "/batch_predict"])
def test_a_body_over_the_limit_is_too_large(path, sentence):
    """A body of one byte too many is answered 413 with the limit, whatever it says."""
    reply = ask(b" " * 201, path=path)

    assert reply.status == 413
    assert reply.problem == {
        "code": "body_too_large",
        "message": sentence,
        "limit": 200,
    }


def test_a_body_at_the_limit_passes():
    """The limit of a body is within."""
    assert ask(b'{"text": "a"}'.ljust(200)).status == 200


def test_a_megabyte_of_text_is_too_large():
    """A text of a megabyte is answered 413."""
    reply = ask(pack({"text": "a" * 1_000_000}), settings=ServiceSettings())

    assert (reply.status, reply.problem["code"], reply.problem["limit"]) == (413, "body_too_large", 1_000_000)


def test_a_body_in_chunks_is_not_read_past_the_limit():
    """A body of unknown length is read no further than the chunk that passes the limit."""
    caller, reply, scope = Caller([b"a" * 150] * 9), Reply(), {"type": "http", "method": "POST", "headers": []}

    asyncio.run(make_edge(InnerApp(), LIMITS)({**scope, "path": "/predict"}, caller.receive, reply.send))

    assert (reply.status, caller.read) == (413, 2)


def test_a_small_declared_length_does_not_help_a_large_body():
    """What counts is what was sent, not what `content-length` said of it."""
    assert ask(b" " * 201, headers=[(b"content-length", b"13")]).status == 413


@pytest.mark.parametrize("chunks", [[b'{"te', b'xt": "\xc3', b'\xa9"}'], [b"", b'{"text": "\xc3\xa9"}', b""]])
def test_a_body_in_chunks_arrives_whole(chunks):
    """A request that came in pieces reaches the service in one, also when a letter was torn apart."""
    app = InnerApp()

    assert ask(*chunks, app=app).status == 200
    assert app.asked == [PredictRequest(text="é")]


@rows(MALFORMED | WRONG_TYPE | NO_OBJECT | {"too long": pack({"text": WORD * 9}), "large": pack({"text": WORD * 99})})
def test_a_refusal_never_repeats_the_text(body):
    """No word of the caller comes back in an error, and nothing that was refused goes further in."""
    app = InnerApp()

    reply = ask(body, app=app)

    assert WORD.encode() not in reply.body
    assert app.scopes == []


@pytest.mark.parametrize("path", ["/predict", "/batch_predict"])
def test_a_refusal_never_repeats_an_unknown_key(path):
    """A text that was sent as a key by mistake does not come back in an error."""
    good = {"text": "a"} if path == "/predict" else {"texts": ["a"]}

    assert WORD.encode() not in ask(pack({**good, f"I hate {WORD}": 1}), path=path).body


@rows({"malformed": b"{", "wrong type": b"1", "empty": pack({"text": ""}), "large": b" " * 201})
def test_a_refusal_is_a_whole_json_answer(body):
    """A refusal says that it is JSON and how long it is."""
    reply = ask(body)

    assert reply.headers == {
        b"content-type": b"application/json",
        b"content-length": str(len(reply.body)).encode(),
        b"x-request-id": b"r-1",
    }
    assert set(reply.problem) <= {"code", "message", "limit"}


def test_a_good_request_passes_checked():
    """The service gets what the caller asks and none of its bytes, and the caller the bytes of the service."""
    app, body = InnerApp(), b'  {"text" : "caf\\u00e9 \xf0\x9f\x98\x80 \\u0000"} '

    reply = ask(body, app=app)

    assert app.asked == [PredictRequest(text="café \U0001f600 \0")]
    assert (reply.status, reply.headers, reply.body) == (
        200,
        {b"x-inner": b"kept", b"x-request-id": b"r-1"},
        b"inner marmalade",
    )


@pytest.mark.parametrize(
    "sent",
    [
        [],
        [(b"content-type", b"text/plain")],
        [(b"content-type", b"application/vnd.bentoml+pickle")],
        [(b"content-type", b"text/plain"), (b"content-type", b"multipart/form-data; boundary=x")],
    ],
    ids=["none", "text", "pickle", "two"],
)
def test_a_good_request_is_json_whatever_the_caller_called_it(sent):
    """The content type of a caller decides nothing: the edge reads JSON."""
    app = InnerApp()

    assert ask(pack({"text": "good"}), app=app, headers=sent).status == 200
    assert app.asked == [PredictRequest(text="good")]


def test_after_the_body_the_service_hears_the_caller_leave():
    """A service that listens on after the body learns that the caller went away."""

    async def listen(scope, receive, send):
        await receive()
        await send({"type": "heard", "status": 0, "what": (await receive())["type"]})

    assert ask(b"{}", method="GET", path="/schema.json", app=listen).messages[0]["what"] == "http.disconnect"


@pytest.mark.parametrize(("method", "path"), [("GET", "/model"), ("HEAD", "/model"), ("GET", "/static/base.css")])
def test_a_path_without_a_body_gets_none(method, path):
    """A body that nobody asked for goes no further, however long it is."""
    app, caller, reply = InnerApp(), Caller([b"x" * 10_000] * 3), Reply()
    scope = {"type": "http", "method": method, "path": path, "headers": NAMED, "query_string": b"a=b"}
    asyncio.run(make_edge(app, LIMITS)(scope, caller.receive, reply.send))

    assert (reply.status, caller.read, app.asked) == (200, 0, [None])


def test_bentoml_gets_neither_a_body_nor_parameters():
    """Of a request to one of its own routes BentoML learns the path, and who sent it."""
    app, caller, reply = InnerApp(), Caller([b"x" * 10_000] * 3), Reply()
    scope = {"type": "http", "method": "GET", "path": "/schema.json", "headers": NAMED, "query_string": b"a=b"}
    asyncio.run(make_edge(app, LIMITS)(scope, caller.receive, reply.send))

    assert (reply.status, caller.read, app.scopes[0]["query_string"]) == (200, 0, b"")


def test_parameters_reach_the_routes_that_take_some():
    """What a search says after the question mark is passed on."""
    app, reply = InnerApp(), Reply()
    scope = {"type": "http", "method": "GET", "path": "/dashboard/activity", "headers": WITH_ADMIN_KEY}
    asyncio.run(make_edge(app, LOCKED)({**scope, "query_string": b"hours=2"}, Caller([b""]).receive, reply.send))

    assert (reply.status, app.asked) == (200, [Window(hours=2)])


def test_parameters_that_cannot_be_read_go_no_further():
    """A request with a wrong parameter ends with one sentence, before the database is asked."""
    app, reply = InnerApp(), Reply()
    scope = {"type": "http", "method": "GET", "path": "/dashboard/activity", "headers": WITH_ADMIN_KEY}
    asyncio.run(make_edge(app, LOCKED)({**scope, "query_string": b"hours=0"}, Caller([b""]).receive, reply.send))

    assert (reply.status, reply.problem["code"], app.asked) == (422, "bad_query", [])


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/predict", b"POST"),
        ("PUT", "/predict", b"POST"),
        ("OPTIONS", "/predict", b"POST"),
        ("post", "/predict", b"POST"),
        ("POST", "/model", b"GET, HEAD"),
        ("GET", "/canary", b"DELETE, POST"),
    ],
)
def test_another_method_goes_no_further(method, path, allow):
    """A method that the table does not have is answered with those that it has."""
    app = InnerApp()

    reply = ask(pack({"text": "good"}), method=method, path=path, app=app)

    assert (reply.status, reply.problem["code"], reply.headers[b"allow"], app.scopes) == (
        *(405, "method_not_allowed"),
        allow,
        [],
    )


def test_a_websocket_is_closed_unheard():
    """No path takes a websocket, so that none passes without a key."""
    app, reply = InnerApp(), Reply()

    asyncio.run(make_edge(app, LIMITS)({"type": "websocket", "path": "/"}, Caller([b"hello"]).receive, reply.send))

    assert (app.scopes, reply.messages) == ([], [{"type": "websocket.close"}])


class Silent(Caller):
    """Begins a body and then neither goes on nor leaves."""

    async def receive(self) -> dict[str, Any]:
        return {**await super().receive(), "more_body": True} if self.read < len(self._chunks) else await sleep_on()


async def sleep_on() -> dict[str, Any]:
    await asyncio.sleep(60)
    return {"type": "http.disconnect"}


def hear(caller: Caller, settings: ServiceSettings = LIMITS) -> tuple[Reply, InnerApp]:
    """Send the request of a caller through the edge."""
    app, reply = InnerApp(), Reply()
    scope = {"type": "http", "method": "POST", "path": "/predict", "headers": NAMED}
    asyncio.run(make_edge(app, settings)(scope, caller.receive, reply.send))
    return reply, app


def test_a_body_that_does_not_come_in_time_is_given_up():
    """Who sends half a body and waits is told so, and the connection is closed."""
    reply, app = hear(Silent([b'{"text": "good"}']), ServiceSettings(timeout_seconds=1))

    assert (reply.status, reply.problem["code"], reply.headers[b"connection"]) == (408, "late_body", b"close")
    assert app.scopes == []


def test_a_body_that_ends_with_its_connection_is_no_request():
    """What a caller sent who left in the middle is not answered, even where it could be read."""

    class Leaving(Caller):
        async def receive(self) -> dict[str, Any]:
            return {**await super().receive(), "more_body": True}

    reply, app = hear(Leaving([b'{"text": "good"}']))

    assert (reply.status, reply.problem["code"], app.scopes) == (400, "cut_off", [])


def test_the_life_of_the_server_passes():
    """The start and the end of the server reach the service as they are."""
    app, reply = InnerApp(), Reply()

    asyncio.run(make_edge(app, LIMITS)({"type": "lifespan"}, Caller([b"hello"]).receive, reply.send))

    assert app.scopes == [{"type": "lifespan"}]
    assert reply.messages == [{"type": "http.request", "body": b"hello", "more_body": False}]


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (418, "refused", "the request was refused."),
        (500, "internal", "the service failed to answer; the error is in its log."),
        (503, "overloaded", "too many texts wait for the model; try again in a moment."),
    ],
)
@pytest.mark.parametrize("path", ["/livez", "/schema.json"])
def test_an_error_of_bentoml_leaves_in_the_one_shape(path, status, code, message):
    """What failed inside is said in the words of the edge, whatever BentoML said."""
    reply = ask(method="GET", path=path, app=InnerApp(status))

    assert reply.status == status
    assert reply.problem == {"code": code, "message": message}


def test_an_overloaded_service_says_when_to_come_back():
    """A 503 carries `Retry-After` in seconds."""
    assert ask(method="GET", path="/livez", app=InnerApp(503)).headers[b"retry-after"] == b"1"


@pytest.mark.parametrize("status", [404, 405, 500])
def test_other_errors_do_not_ask_to_come_back(status):
    """Only a service that is overloaded answers `Retry-After`."""
    assert b"retry-after" not in ask(method="GET", path="/livez", app=InnerApp(status)).headers


@pytest.mark.parametrize("status", [200, 204, 307, 399])
def test_what_is_no_error_leaves_as_it_is(status):
    """An answer below 400 is the service's own."""
    reply = ask(method="GET", path="/model", app=InnerApp(status))

    assert (reply.status, reply.headers, reply.body) == (
        status,
        {b"x-inner": b"kept", b"x-request-id": b"r-1"},
        b"inner marmalade",
    )


class RefusingApp:
    """Raises a refusal, as the service does."""

    def __init__(self, status: int, problem: Problem) -> None:
        self._error = ApiError(status, problem)

    async def answer(self, worker, asked, request):
        raise self._error


@pytest.mark.parametrize("name", SOUND_IDS.values(), ids=SOUND_IDS)
def test_a_request_keeps_its_name(name):
    """A short and plain id that the caller sent is the one that the service knows and that comes back."""
    app = InnerApp()

    reply = ask(pack({"text": "good"}), app=app, headers=[(b"x-request-id", name)])

    assert (reply.headers[b"x-request-id"], [request.id for request in app.requests]) == (name, [name.decode()])


@pytest.mark.parametrize("name", HOSTILE_IDS.values(), ids=HOSTILE_IDS)
def test_a_hostile_name_is_replaced(name):
    """An id that could do harm in a log, a header or a page goes no further, and the request is answered."""
    app = InnerApp()

    reply = ask(pack({"text": "good"}), app=app, headers=[(b"x-request-id", name)])

    given = reply.headers[b"x-request-id"].decode()
    assert (reply.status, [request.id for request in app.requests]) == (200, [given])
    assert FeedbackRequest(prediction_id=given, label="an id like any other").prediction_id == given


OF_PERSONS = {
    "/predict": {"text": "good"},
    "/batch_predict": {"texts": ["good", ""]},
    "/explain": {"text": "good"},
    "/feedback": {"prediction_id": make_id(), "label": "positive"},
}


@pytest.mark.parametrize(("path", "body"), OF_PERSONS.items(), ids=OF_PERSONS)
def test_whom_a_text_is_from_reaches_the_service(path, body):
    """`X-Subject` is what the service knows its text by, on every route that keeps one."""
    app = InnerApp()
    statuses = [ask(pack(body), path=path, app=app, headers=sent).status for sent in ([(b"x-subject", b"ann")], [])]

    assert (statuses, [request.subject for request in app.requests]) == ([200, 200], ["ann", ""])


@pytest.mark.parametrize(("path", "body"), OF_PERSONS.items(), ids=OF_PERSONS)
def test_a_subject_that_could_not_be_found_again_is_refused(path, body):
    """A header that is no id is not dropped in silence: the request ends with one sentence, without what was sent."""
    app = InnerApp()
    reply = ask(pack(body), path=path, app=app, headers=[(b"x-subject", WORD.encode() * 40)])

    assert (reply.status, reply.problem["code"], app.scopes) == (400, "bad_subject", [])
    assert WORD.encode() not in reply.body


def test_requests_without_a_name_get_different_ones():
    """Each request that has no id gets one of its own."""
    names = {ask(pack({"text": "good"}), headers=[]).headers[b"x-request-id"] for _ in range(10)}

    assert len(names) == 10


@pytest.mark.parametrize(
    ("body", "method", "path", "inner"),
    [
        (b"{", "POST", "/predict", 200),
        (b" " * 201, "POST", "/batch_predict", 200),
        (b"", "GET", "/model", 200),
        (b"", "GET", "/nowhere", 404),
        (b"", "GET", "/livez", 500),
        (b"", "GET", "/readyz", 503),
    ],
    ids=["malformed", "too large", "a page", "not found", "failed", "overloaded"],
)
def test_every_answer_names_its_request(body, method, path, inner):
    """Whatever becomes of a request, its id is in the header of the answer, once."""
    reply = ask(body, method=method, path=path, app=InnerApp(inner))

    assert [value for name, value in reply.messages[0]["headers"] if name == b"x-request-id"] == [b"r-1"]


def test_the_name_of_one_request_is_not_that_of_the_next():
    """Requests that are answered side by side keep their own ids."""
    seen: dict[str, str] = {}
    both = asyncio.Barrier(2)

    class Waiting(InnerApp):
        async def answer(self, worker, asked, request):
            await both.wait()
            seen[request.route.path] = request.id
            return await super().answer(worker, asked, request)

    async def ask_both():
        scopes = [
            {"type": "http", "method": "GET", "path": f"/{name}", "headers": [(b"x-request-id", name.encode())]}
            for name in ("model", "health")
        ]
        await asyncio.gather(
            *[make_edge(Waiting(), LIMITS)(scope, Caller([b""]).receive, Reply().send) for scope in scopes]
        )

    asyncio.run(asyncio.wait_for(ask_both(), 10))
    assert seen == {"/model": "model", "/health": "health"}


@pytest.mark.parametrize("status", [409, 422, 503, 507])
def test_a_refusal_from_within_leaves_as_it_was_said(status):
    """The service's own refusal is answered with its problem, and with nothing that the framework says."""
    problem = Problem(code="odd", message="this is odd; ask for something even.", limit=2)

    reply = ask(pack({"text": "good"}), app=RefusingApp(status, problem))

    assert (reply.status, reply.problem) == (status, problem.model_dump())


def test_a_handler_that_fails_is_logged_and_says_nothing(caplog):
    """A failure is a traceback in the log, and one sentence to the caller."""

    class Failing:
        async def answer(self, worker, asked, request):
            raise KeyError(WORD)

    reply = ask(pack({"text": "good"}), app=Failing())

    assert (reply.status, reply.problem["code"], WORD.encode() in reply.body) == (500, "internal", False)
    assert [record.getMessage() for record in caplog.records if record.exc_info] == ["a request to /predict failed"]


def test_feedback_passes_checked():
    """Feedback of the right shape reaches the service."""
    app = InnerApp()

    assert ask(pack(FEEDBACK), path="/feedback", app=app).status == 200
    assert app.asked == [FeedbackRequest(**FEEDBACK)]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"label": "positive"}, "prediction_id is missing"),
        ({"prediction_id": ID}, "label is missing"),
        ({**FEEDBACK, "label": 1}, "label has the wrong type"),
        ({**FEEDBACK, "label": None}, "label has the wrong type"),
        ({**FEEDBACK, "prediction_id": 7}, "prediction_id has the wrong type"),
        ({**FEEDBACK, "prediction_id": WORD}, "prediction_id is not an id that a prediction answered with"),
        ({**FEEDBACK, "prediction_id": ID.upper()}, "prediction_id is not an id that a prediction answered with"),
        ({**FEEDBACK, "prediction_id": ID + "\n"}, "prediction_id is not an id that a prediction answered with"),
        ({**FEEDBACK, WORD: 1}, "the body has a key that is not known here"),
        ([FEEDBACK], "the body has the wrong type"),
    ],
    ids=["no id", "no label", "number", "null", "id number", "word", "capitals", "new line", "key", "list"],
)
def test_feedback_of_the_wrong_shape_is_refused(body, reason):
    """Feedback that names no prediction or no label is answered 422 with what is wrong, and goes no further."""
    app = InnerApp()

    reply = ask(pack(body), path="/feedback", app=app)

    assert (reply.status, app.scopes) == (422, [])
    assert reply.problem == {
        "code": "wrong_type",
        "message": f'{reason}; wanted {{"prediction_id": "...", "label": "..."}}.',
    }


def test_feedback_that_is_not_json_is_malformed(sentence):
    """A body that cannot be read is answered with the shape of feedback."""
    reply = ask(b"label=positive", path="/feedback")

    assert reply.status == 400
    assert reply.problem == {
        "code": "malformed",
        "message": sentence,
    }


def test_feedback_over_the_limit_is_too_large():
    """The limit of a body holds for feedback too."""
    reply = ask(pack({**FEEDBACK, "label": "a" * 200}), path="/feedback")

    assert (reply.status, reply.problem["code"]) == (413, "body_too_large")


@pytest.mark.parametrize("text", ["a", " a ", "a" * 20, "?!", "\U0001f600"])
def test_a_sound_text_has_no_problem(text):
    """A text of one to the limit of characters can be answered."""
    assert find_problem(text, LIMITS) is None


@pytest.mark.parametrize(("text", "code"), [("", "empty_text"), (" " * 21, "empty_text"), ("a" * 21, "text_too_long")])
def test_a_text_that_cannot_be_answered_has_a_problem(text, code):
    """A text of a batch is held to the same rules as a text alone."""
    assert find_problem(text, LIMITS).code == code


GOOD_KEY, GOOD_LINE = make_key("dashboard", ["predict"])
OPERATORS_KEY, OPERATORS_LINE = make_key("operator", ["admin"])
LOCKED = LIMITS.model_copy(update={"api_keys": SecretStr(f"{write_key(GOOD_LINE)};{write_key(OPERATORS_LINE)}")})
WITH_ADMIN_KEY = [*NAMED, (b"authorization", f"Bearer {OPERATORS_KEY}".encode())]
WITH_KEY = [*NAMED, (b"authorization", f"Bearer {GOOD_KEY}".encode())]
RELOAD_WANTED = '{"alias": "production"}, or a version, a folder or a uri'


class Server:
    """One edge that is asked several times, from one address or from another."""

    def __init__(self, settings: ServiceSettings = LIMITS) -> None:
        self.app = InnerApp()
        self._edge = make_edge(self.app, settings)

    def ask(self, path: str = "/predict", headers: Sequence = NAMED, **scope: Any) -> Reply:
        reply, caller = Reply(), Caller([pack({"text": "good"})])
        scope = {"type": "http", "method": "POST", "path": path, "headers": list(headers), **scope}
        asyncio.run(self._edge(scope, caller.receive, reply.send))
        return reply


def refuse_unread(path: str, headers: Sequence, settings: ServiceSettings) -> Reply:
    """Return the answer to a request that is refused before its body is read and before the service sees it."""
    reply, app, caller = Reply(), InnerApp(), Caller([b"x" * 10_000] * 3)
    scope = {"type": "http", "method": "POST", "path": path, "headers": list(headers)}
    asyncio.run(make_edge(app, settings)(scope, caller.receive, reply.send))
    assert (caller.read, app.scopes) == (0, [])
    return reply


@pytest.mark.parametrize(
    ("sent", "code"),
    [([], "key_missing"), ([(b"authorization", b"Bearer x")], "key_unknown"), ([(b"x-api-key", b"x")], "key_unknown")],
    ids=["none", "a bearer", "a header of its own"],
)
@pytest.mark.parametrize("path", ["/predict", "/explain", "/reload"])
def test_a_request_without_a_key_is_refused_unread(path, sent, code):
    """A stranger cannot make the service read a body; the answer says which scheme it wants."""
    reply = refuse_unread(path, [*NAMED, *sent], LOCKED)

    assert (reply.status, reply.problem["code"]) == (401, code)
    assert reply.headers[b"www-authenticate"] == b"Bearer"
    assert (reply.headers[b"x-request-id"], reply.headers[b"content-type"]) == (b"r-1", b"application/json")
    assert b"retry-after" not in reply.headers


def test_a_key_without_the_scope_is_refused_unread(sentence):
    """A key for predictions does not change the model, and the answer does not ask for another scheme."""
    reply = refuse_unread("/reload", WITH_KEY, LOCKED)

    assert (reply.status, reply.problem) == (
        403,
        {"code": "scope", "message": sentence},
    )
    assert not reply.headers.keys() & {b"www-authenticate", b"retry-after"}


@pytest.mark.parametrize("client", [("127.0.0.1", 5), ("192.0.2.7", 5), None], ids=str)
def test_a_reload_without_keys_wants_the_token(client):
    """A service without keys lets nobody change its model but who holds its token, from this machine either."""
    reply = refuse_unread("/reload", NAMED, LIMITS)
    token = read_admin_token(locate_state().admin_token)
    holder = Server().ask("/reload", [*NAMED, (b"authorization", f"Bearer {token}".encode())], client=client)

    assert (reply.status, reply.problem["code"]) == (401, "token_wanted")
    assert holder.status == 422


def test_a_request_over_the_rate_is_refused_with_a_time():
    """Who asks too often reads in a header when to come back, and the service is not troubled."""
    server = Server(LOCKED.model_copy(update={"rate_limit": "1/hour"}))
    first, second = server.ask(headers=WITH_KEY), server.ask(headers=WITH_KEY)
    wait = int(second.headers[b"retry-after"])

    assert (first.status, second.status, len(server.app.scopes)) == (200, 429, 1)
    assert second.problem == {
        "code": "too_many_requests",
        "message": f"the limit is 1 per 1 hour; ask again in {wait} s.",
        "limit": 1,
    }
    assert b"www-authenticate" not in second.headers


def test_a_request_with_a_key_passes_unchanged():
    """A key opens the service, which hears the request as it was sent."""
    app = InnerApp()
    body = pack({"text": "good"})

    assert ask(body, app=app, headers=WITH_KEY, settings=LOCKED).status == 200
    assert app.asked == [PredictRequest(text="good")]


@pytest.mark.parametrize(("method", "path"), [("GET", "/livez"), ("HEAD", "/readyz"), ("GET", "/static/base.css")])
def test_probes_and_pages_pass_without_a_key(method, path):
    """What looks whether the service lives, and what a browser opens first, needs no key."""
    app = InnerApp()

    assert (ask(method=method, path=path, app=app, settings=LOCKED).status, len(app.scopes)) == (200, 1)


def test_a_key_is_not_repeated():
    """No answer holds a key that was sent."""
    for headers in ([(b"x-api-key", WORD.encode())], [(b"authorization", b"Bearer " + WORD.encode())]):
        reply = ask(headers=headers, settings=LOCKED)
        assert WORD.encode() not in reply.body + b"".join(reply.headers.values())


def test_settings_with_a_damaged_key_make_no_service(refuses):
    """A service whose keys cannot be read does not start open."""
    with refuses(ConfigError):
        make_edge(InnerApp(), LIMITS.model_copy(update={"api_keys": SecretStr("marmalade")}))


def test_an_exposed_service_is_warned_of_once(caplog):
    """The first request that comes over another address than this machine's is warned of, and no other."""
    server = Server()
    for address in ("127.0.0.1", "192.0.2.7", "192.0.2.7", "198.51.100.1"):
        server.ask(server=(address, 3000))

    assert caplog.messages == [describe_exposure("192.0.2.7")]


@pytest.mark.parametrize("server", [("127.0.0.1", 3000), ("::1", 3000), None], ids=str)
def test_a_service_on_this_machine_is_not_warned_of(server, caplog):
    """Who works alone is left alone."""
    Server().ask(server=server)

    assert caplog.messages == []


def test_a_service_with_keys_is_not_warned_of(caplog):
    """A service that asks for keys may be reached from anywhere."""
    Server(LOCKED).ask(server=("192.0.2.7", 3000), headers=WITH_KEY)

    assert caplog.messages == []


RELOADS = {
    "nothing": (b"", ReloadRequest()),
    "an empty object": (b"{}", ReloadRequest()),
    "production": (b'{"alias": "production"}', ReloadRequest(alias="production")),
    "a version": (b'{"version": "3"}', ReloadRequest(version="3")),
}
BAD_RELOADS = {
    "two sources": (b'{"version": "3", "folder": "marmalade"}', "the body names more than one model"),
    "another alias": (b'{"alias": "marmalade"}', "alias has the wrong type"),
    "a number": (b'{"version": 3}', "version has the wrong type"),
    "an unknown key": (b'{"marmalade": "3"}', "the body has a key that is not known here"),
    "a list": (b"[]", "the body has the wrong type"),
}


def ask_reload(body: bytes, app: InnerApp) -> Reply:
    reply = Reply()
    scope = {"type": "http", "method": "POST", "path": "/reload", "headers": WITH_ADMIN_KEY}
    asyncio.run(make_edge(app, LOCKED)(scope, Caller([body]).receive, reply.send))
    return reply


@pytest.mark.parametrize(("body", "wanted"), RELOADS.values(), ids=RELOADS)
def test_a_good_reload_passes(body, wanted):
    """A reload without a body is one of what is in production."""
    app = InnerApp()

    assert (ask_reload(body, app).status, app.asked) == (200, [wanted])


@pytest.mark.parametrize(("body", "reason"), BAD_RELOADS.values(), ids=BAD_RELOADS)
def test_a_reload_of_the_wrong_shape_is_refused(body, reason):
    """What does not name one model changes nothing, and nothing of it is repeated."""
    reply = ask_reload(body, InnerApp())

    assert reply.status == 422
    assert reply.problem == {"code": "wrong_type", "message": f"{reason}; wanted {RELOAD_WANTED}."}


def test_an_explanation_is_asked_for_as_a_prediction():
    """A text that is not predicted is not explained either."""
    bodies = [pack({"text": "good"}), pack({"text": ""}), pack({"text": "a" * 21}), b"{", pack({"text": 1})]

    assert [ask(body, path="/explain").status for body in bodies] == [200, 422, 413, 400, 422]
