"""Who may pass: a key with the scope of the path, not too often."""

from collections.abc import Callable
from datetime import UTC, date, datetime

import pytest
from pydantic import SecretStr

from sentiment.errors import ConfigError
from sentiment.hosts import is_loopback
from service.api.errors import ApiError
from service.api.routes import SCOPES, RouteTable, Scope
from service.security.access import Access, describe_exposure, open_access, read_presented
from service.security.key_ring import KeyRing
from service.security.keys import make_key, write_key
from service.security.rate_limit import RateLimiter
from service.settings import ServiceSettings

HERE, ELSEWHERE = "127.0.0.1", "192.0.2.7"
LAST_DAY = date(2027, 1, 31)
TOKEN = "t" * 43
TABLE = RouteTable(["base.css", "ask/main.js"])
ROWS = [(route.method, route.path) for methods in TABLE.paths.values() for route in methods.values()]
OPEN = [("GET", path) for path in ("/livez", "/readyz", "/", "/dashboard", "/static/base.css", "/static/ask/main.js")]
ANY_KEY = [("GET", path) for path in ("/health", "/docs.json", "/schema.json")]
BY_SCOPE = {
    "predict": [("POST", path) for path in ("/predict", "/batch_predict", "/explain")],
    "feedback": [("POST", "/feedback")],
    "read": [
        ("GET", path)
        for path in (
            "/model",
            "/metrics",
            *(
                f"/dashboard/{name}"
                for name in ("activity", "latencies", "feedback", "agreement", "predictions", "evaluations")
            ),
        )
    ],
    "admin": [("POST", "/reload"), ("POST", "/canary"), ("DELETE", "/canary")],
}
GUARDED = [*BY_SCOPE["read"][2:], *BY_SCOPE["admin"]]
MISSING = (401, "key_missing", "there is no API key; send it as the header `Authorization: Bearer KEY`.")
UNKNOWN = (401, "key_unknown", "this API key is not known here; ask the operator for one.")
EXPIRED = (401, "key_expired", "this API key has expired; ask the operator for another.")


class Desk:
    """Access with a key of each name, and what it says to them."""

    def __init__(
        self,
        limiter: RateLimiter | None = None,
        now: datetime = datetime(2027, 1, 1, tzinfo=UTC),
        **scopes: list[Scope],
    ) -> None:
        made = {name: make_key(name, wanted, LAST_DAY) for name, wanted in scopes.items()}
        self.keys = {name: key for name, (key, _) in made.items()}
        ring = KeyRing(None, ";".join(write_key(kept) for _, kept in made.values()) if made else None)
        self.access = Access(ring, limiter, token="" if made else TOKEN, clock=lambda: now)

    def ask(self, name: str = "", path: str = "/predict", method: str = "POST", client: str = ELSEWHERE) -> int:
        """Return the status that a key is refused with, or 0."""
        headers = [(b"authorization", f"Bearer {self.keys[name]}".encode())] if name else []
        return self.say(headers, path, method, client)[0]

    def say(self, headers=(), path="/predict", method="POST", client=ELSEWHERE, units=1) -> tuple[int, str, str]:
        """Return the status, the code and the sentence of a refusal; 0 and nothing where there is none."""
        refused = self.refuse(headers, path, method, client, units)
        return (refused.status, refused.problem.code, refused.problem.message) if refused else (0, "", "")

    def refuse(self, headers=(), path="/predict", method="POST", client=ELSEWHERE, units=1):
        """Return how a request is refused, or None."""
        try:
            route = TABLE.find(path, None)[method]
            caller = self.access.recognise(route, headers)
            self.access.require_scope(route, caller)
            self.access.limit(caller, client, units)
        except ApiError as error:
            return error
        return None


class Clock:
    """The time of the process, set by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    """The time that rates are kept by."""
    return Clock()


@pytest.fixture
def desk() -> Desk:
    """Access for one key of each scope, and for one of all."""
    return Desk(**{scope: [scope] for scope in SCOPES}, all=list(SCOPES))


@pytest.fixture
def limiter(tmp_path, clock) -> Callable[[str], RateLimiter]:
    """Makes a limiter for rates that goes by the clock."""
    return lambda rates: RateLimiter(tmp_path / "rates", rates, clock)


def count_passes(ask: Callable[[], int], tries: int) -> int:
    return [ask() for _ in range(tries)].count(0)


def test_every_route_has_its_place_here():
    """What is said below of who may ask what is said of every route."""
    said = {*OPEN, *ANY_KEY, *(row for rows in BY_SCOPE.values() for row in rows)}

    assert {row for row in ROWS if row[0] != "HEAD"} == said


@pytest.mark.parametrize(("method", "path"), ROWS)
def test_a_key_may_do_what_its_scopes_say(desk, method, path):
    """A key opens the routes of its scopes and no other; who may change the model may read, too."""
    wanted = next((scope for scope, rows in BY_SCOPE.items() if (method, path) in rows), None)
    may = {name for name in desk.keys if desk.ask(name, path, method) == 0}

    assert may == ({*SCOPES, "all"} if wanted is None else {wanted, "all", *(["admin"] if wanted == "read" else [])})
    assert all(desk.ask(name, path, method) == 403 for name in {*SCOPES} - may)


@pytest.mark.parametrize(("method", "path"), ROWS)
@pytest.mark.parametrize("client", [HERE, ELSEWHERE])
def test_without_a_key_only_probes_and_pages_open(desk, method, path, client):
    """Where there are keys a caller from this machine has no other rights than others."""
    assert desk.ask(path=path, method=method, client=client) == (0 if TABLE.find(path, None)[method].is_open else 401)


@pytest.mark.parametrize(
    ("name", "method", "path", "scope"),
    [("admin", "POST", "/predict", "predict"), ("predict", "DELETE", "/canary", "admin")],
)
def test_a_key_of_another_scope_is_told_so(desk, name, method, path, scope):
    """Who may not do something reads which scope that wants."""
    headers = [(b"authorization", f"Bearer {desk.keys[name]}".encode())]

    said = f"this key may not do that; {method} {path} wants the scope {scope}."
    assert desk.say(headers, path, method) == (403, "scope", said)


@pytest.mark.parametrize("headers", [[], [(b"cookie", b"a=b")], [(b"authorization", b"")]], ids=str)
def test_a_request_without_a_key_is_told_how_to_send_one(desk, headers):
    """Who forgot the key reads where it goes."""
    assert desk.say(headers) == MISSING


@pytest.mark.parametrize("value", [b"Basic YTpi", b"Bearer", b"Bearer ", b"Token x", b"sg_x", b"Bearerx"], ids=str)
def test_another_kind_of_authorization_is_no_key(desk, value):
    """Only a bearer presents a key."""
    assert desk.say([(b"authorization", value)]) == MISSING


@pytest.mark.parametrize("value", [b"x", b"\xff\xfe", b"\x00", b"sg_" + b"a" * 43, b"a" * 100_000], ids=len)
@pytest.mark.parametrize("path", ["/predict", "/reload"])
def test_an_unknown_key_is_refused(desk, value, path):
    """What is no key of this service opens nothing, and breaks nothing."""
    assert desk.say([(b"authorization", b"Bearer " + value)], path) == UNKNOWN


def test_the_digest_of_a_key_opens_nothing(desk):
    """Who has read the key file cannot get in with it."""
    (kept,) = (key for key in desk.access._keys.keys if key.name == "all")

    assert desk.say([(b"x-api-key", kept.digest.encode())]) == UNKNOWN


@pytest.mark.parametrize(
    ("now", "wanted"),
    [(datetime(2027, 1, 31, 23, 59, 59, tzinfo=UTC), (0, "", "")), (datetime(2027, 2, 1, tzinfo=UTC), EXPIRED)],
    ids=["the last second", "the day after"],
)
@pytest.mark.parametrize("path", ["/predict", "/reload"])
def test_a_key_opens_until_its_last_day_is_over(now, wanted, path):
    """A key that has expired is told so, whatever its scopes."""
    desk = Desk(now=now, both=["predict", "admin"])

    assert desk.say([(b"x-api-key", desk.keys["both"].encode())], path) == wanted


def test_an_expired_key_is_not_told_what_it_might_do():
    """A key that is over is over before its scopes count."""
    desk = Desk(now=datetime(2028, 1, 1, tzinfo=UTC), predict=["predict"])

    assert desk.say([(b"x-api-key", desk.keys["predict"].encode())], "/reload") == EXPIRED


def test_a_key_that_was_withdrawn_opens_nothing(tmp_path):
    """A key is asked for in the file as it is now."""
    file, (key, kept) = tmp_path / "keys.txt", make_key("a", ["predict"])
    file.write_text(write_key(kept))
    ticks = iter(range(0, 100, 2))
    desk = Desk()
    desk.access = Access(KeyRing(file, None, clock=lambda: float(next(ticks))))
    headers = [(b"x-api-key", key.encode())]
    before = desk.say(headers)
    file.write_text("")

    assert (before, desk.say(headers)) == ((0, "", ""), UNKNOWN)


@pytest.mark.parametrize(
    "form",
    ["Bearer {}", "bearer {}", "BEARER {}", "Bearer   {}", "Bearer {}  ", "bEaReR \t{}\t"],
    ids=repr,
)
def test_a_bearer_is_a_bearer_however_it_is_written(desk, form):
    """The scheme has no capitals, and space around the key is none of it."""
    assert desk.say([(b"authorization", form.format(desk.keys["predict"]).encode())]) == (0, "", "")


@pytest.mark.parametrize("form", ["{}", " {} ", "\t{}"], ids=repr)
def test_a_key_may_have_a_header_of_its_own(desk, form):
    """Who cannot set `Authorization` sends `X-API-Key`."""
    assert desk.say([(b"x-api-key", form.format(desk.keys["predict"]).encode())]) == (0, "", "")


@pytest.mark.parametrize("form", ["{}x", "x{}", "{} {}", '"{}"', "{},"], ids=repr)
def test_more_than_a_key_is_none(desk, form):
    """A key with something beside it is another."""
    key = desk.keys["predict"]

    assert desk.say([(b"x-api-key", form.format(key, key).encode())]) == UNKNOWN


@pytest.mark.parametrize(
    ("headers", "presented"),
    [
        ({}, ""),
        ({b"x-api-key": b"a"}, "a"),
        ({b"authorization": b"Bearer b"}, "b"),
        ({b"authorization": b"Bearer b", b"x-api-key": b"a"}, "a"),
        ({b"authorization": b"Bearer b", b"x-api-key": b" "}, "b"),
        ({b"authorization": b"Basic YTpi", b"x-api-key": b"a"}, "a"),
        ({b"authorization": b"Bearer", b"x-api-key": b"a"}, "a"),
        ({b"x-api-key": b"\xe9"}, "\u00e9"),
    ],
    ids=str,
)
def test_the_header_of_our_own_goes_before_the_standard_one(headers, presented):
    """Where both headers are there `X-API-Key` counts: a gateway before the service may want the other for itself."""
    assert read_presented(headers) == presented


@pytest.mark.parametrize("name", [b"authorization", b"x-api-key"])
@pytest.mark.parametrize("order", [1, -1], ids=["good last", "good first"])
def test_of_two_headers_of_one_name_one_counts(desk, name, order):
    """A second header of the same name takes the place of the first: two keys are never tried."""
    good, bad = f"Bearer {desk.keys['predict']}".encode(), b"Bearer x"
    values = [value.removeprefix(b"Bearer ") if name == b"x-api-key" else value for value in (bad, good)][::order]

    assert desk.say([(name, value) for value in values]) == ((0, "", "") if order == 1 else UNKNOWN)


@pytest.mark.parametrize(("method", "path"), sorted({*ROWS} - {*GUARDED} - {("HEAD", path) for _, path in GUARDED}))
def test_without_keys_everybody_may_ask(method, path):
    """A service that was given no keys asks for none, and passes over one that nobody asked for."""
    desk = Desk()

    assert (desk.access.is_open, desk.ask(path=path, method=method)) == (True, 0)
    assert desk.say([(b"x-api-key", b"anything")], path, method) == (0, "", "")


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_without_keys_the_token_guards_what_callers_wrote_and_the_model(method, path):
    """No address, no header and no page of a browser makes anybody the operator; the token does."""
    desk = Desk()
    tries = [
        [],
        [(b"authorization", b"Bearer " + TOKEN[:-1].encode())],
        [(b"authorization", b"Bearer")],
        [(b"x-forwarded-for", b"127.0.0.1"), (b"forwarded", b"for=127.0.0.1"), (b"host", b"localhost")],
        [(b"host", b"127.0.0.1:3000"), (b"origin", b"http://127.0.0.1:3000"), (b"sec-fetch-site", b"same-origin")],
    ]

    assert {desk.say(headers, path, method, client)[:2] for headers in tries for client in (HERE, ELSEWHERE)} == {
        (401, "token_wanted")
    }
    for client in (HERE, ELSEWHERE):
        assert desk.say([(b"authorization", f"Bearer {TOKEN}".encode())], path, method, client) == (0, "", "")


@pytest.mark.parametrize("presented", [b"", b"Bearer", b"Bearer "])
def test_without_keys_and_without_a_token_nobody_is_the_operator(presented):
    """Where the state folder takes no token, an empty one opens nothing."""
    access = Access(KeyRing(None, None), token="")
    with pytest.raises(ApiError):
        access.recognise(TABLE.find("/reload", None)["POST"], [(b"authorization", presented)])


def test_the_token_opens_nothing_where_there_are_keys(desk):
    """A service with keys has its operators among them."""
    assert desk.say([(b"authorization", f"Bearer {TOKEN}".encode())], "/reload") == UNKNOWN


def test_the_address_of_the_dashboard_carries_the_token():
    """Behind the #, which a browser sends to nobody; a service with keys has none to show."""
    assert Desk().access.find_dashboard("http://a:1") == f"http://a:1/dashboard#token={TOKEN}"
    assert Desk(a=["read"]).access.find_dashboard("http://a:1") == "http://a:1/dashboard"


@pytest.mark.parametrize(
    ("host", "is_local"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("0:0:0:0:0:0:0:1", True),
        ("localhost", True),
        ("::ffff:127.0.0.1", True),
        ("::ffff:192.0.2.7", False),
        ("0.0.0.0", False),
        ("::", False),
        ("192.0.2.7", False),
        ("128.0.0.1", False),
        ("2001:db8::1", False),
        ("", False),
        ("localhost.example.org", False),
        ("127.0.0.1.example.org", False),
        ("2130706433", False),
        ("/run/service.sock", False),
    ],
)
def test_an_address_is_of_this_machine_or_not(host, is_local):
    """Only addresses of the loopback, in either version of IP, are of this machine alone."""
    assert is_loopback(host) is is_local


def test_a_rate_is_kept(limiter):
    """A key may ask as often as the rate says, and then reads what it is and how long to wait."""
    desk = Desk(limiter("3/hour"), a=["predict"])
    headers = [(b"x-api-key", desk.keys["a"].encode())]
    assert count_passes(lambda: desk.ask("a"), 5) == 3
    refusal = desk.refuse(headers)

    wait = int(refusal.headers["retry-after"])
    assert (refusal.status, 3600 <= wait <= 3660) == (429, True)
    assert refusal.problem.model_dump() == {
        "code": "too_many_requests",
        "message": f"the limit is 3 per 1 hour; ask again in {wait} s.",
        "limit": 3,
    }


def test_each_key_has_a_rate_of_its_own(limiter):
    """Who asks too often keeps nobody else out."""
    desk = Desk(limiter("2/hour"), a=["predict"], b=["predict"])

    assert [count_passes(lambda name=name: desk.ask(name), 4) for name in ("a", "b")] == [2, 2]


def test_all_paths_and_methods_share_the_rate_of_a_key(limiter):
    """A limit cannot be gone round by another path."""
    desk = Desk(limiter("3/hour"), a=["predict", "admin"])
    tries = [("/predict", "POST"), ("/model", "GET"), ("/reload", "POST"), ("/health", "GET")]

    assert [desk.ask("a", path, method) for path, method in tries] == [0, 0, 0, 429]


def test_without_keys_addresses_are_told_apart(limiter):
    """Where nobody has a name each address has a rate, and a network of IPv6 that one caller has whole."""
    desk = Desk(limiter("1/hour"))
    clients = ["192.0.2.7", "192.0.2.8", "::ffff:192.0.2.7", "2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1", ""]

    assert [desk.ask(client=client) for client in clients] == [0, 0, 429, 0, 429, 0, 0]


def test_probes_and_pages_do_not_count(limiter):
    """What looks whether the service lives is never too often, and takes nothing from a key."""
    desk = Desk(limiter("1/hour"))
    probes = [desk.ask(path="/livez", method="GET") for _ in range(3)]

    assert (probes, desk.ask(), desk.ask(path="/readyz", method="GET")) == ([0, 0, 0], 0, 0)


def test_what_is_refused_does_not_count(limiter):
    """A key is not used up by requests that it may not make, nor by those without it."""
    desk = Desk(limiter("1/hour"), a=["predict"])
    refused = [desk.ask("a", "/reload"), desk.ask(), desk.ask("a", "/reload")]

    assert (refused, desk.ask("a"), desk.ask("a")) == ([403, 401, 403], 0, 429)


def test_work_that_is_done_counts(limiter):
    """What an explanation cost is known afterwards, and is owed."""
    desk = Desk(limiter("10/minute"))
    caller = desk.access.recognise(TABLE.find("/explain", None)["POST"], ())
    desk.access.charge(caller, HERE, 25)

    assert (desk.ask(client=HERE), desk.ask(client=ELSEWHERE)) == (429, 0)


def test_without_a_rate_there_is_none():
    """An empty setting is no limit."""
    desk = Desk(a=["predict"])

    assert count_passes(lambda: desk.ask("a"), 500) == 500


@pytest.mark.parametrize("begun", [600.0, 601.4, 630.0, 659.6], ids=str)
@pytest.mark.parametrize("rate", ["1/second", "2/minute", "10/minute", "600/minute;700/hour", "5/hour"])
def test_who_waits_as_long_as_was_said_may_ask(clock, limiter, rate, begun):
    """The seconds of `Retry-After` suffice: a client that keeps to them is not refused again."""
    desk = Desk(limiter(rate))
    clock.seconds = begun
    while (refusal := desk.refuse()) is None:
        pass
    clock.seconds += int(refusal.headers["retry-after"])

    assert desk.ask() == 0


def test_access_is_as_the_settings_say(tmp_path):
    """Keys and rate are those of the settings."""
    (key, kept), (other, also_kept) = make_key("a", ["predict"]), make_key("b", ["predict"])
    (tmp_path / "keys.txt").write_text(write_key(kept))
    access = open_access(
        ServiceSettings(
            api_key_file=tmp_path / "keys.txt", api_keys=SecretStr(write_key(also_kept)), rate_limit="1/hour"
        ),
        tmp_path / "rates",
    )
    desk = Desk()
    desk.access = access

    assert [desk.say([(b"x-api-key", one.encode())])[0] for one in (key, other, key, "sg_x")] == [0, 0, 429, 401]


def test_access_without_settings_is_open():
    """Without keys and a rate everybody may ask."""
    assert open_access(ServiceSettings(rate_limit="")).is_open is True


def test_access_with_a_key_that_cannot_be_read_is_none(tmp_path, refuses):
    """A mistake in a key is raised, and does not open the service."""
    with refuses(ConfigError):
        open_access(ServiceSettings(api_keys=SecretStr("marmalade"), api_key_file=None))


def test_an_exposed_service_is_warned_of_in_a_sentence(sentence):
    """The warning says what is open, to whom, and how to close it."""
    assert describe_exposure("0.0.0.0") == sentence
