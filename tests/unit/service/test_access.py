"""Who may pass: a key with the scope of the path, not too often."""

import time
from collections.abc import Callable
from datetime import UTC, date, datetime

import pytest
from pydantic import SecretStr

from sentiment.errors import ConfigError
from sentiment.hosts import is_loopback
from service.access import Access, open_access, read_presented, say_exposed
from service.keys import KeyRing, Scope, make_key, write_key
from service.settings import ServiceSettings

HERE, ELSEWHERE = "127.0.0.1", "192.0.2.7"
LAST_DAY = date(2027, 1, 31)
PREDICTIONS = ["/predict", "/batch_predict", "/explain", "/feedback", "/model", "/health", "/docs.json", "/no"]
PAGES = ["/", "/dashboard", "/static/base.css", "/static/ask/main.js"]
ADMIN = ["/reload", "/dashboard/predictions", "/dashboard/activity", "/dashboard/"]
OUT_OF_SCOPE = "this key may not do that; {} wants the scope {}."
MISSING = (401, "key_missing", "there is no API key; send it as the header `Authorization: Bearer KEY`.")
UNKNOWN = (401, "key_unknown", "this API key is not known here; ask the operator for one.")
EXPIRED = (401, "key_expired", "this API key has expired; ask the operator for another.")
WANTED = (403, "key_required", "from elsewhere this wants an API key, and the operator has set up none.")


class Desk:
    """Access with a key of each name, and what it says to them."""

    def __init__(
        self,
        rate: str = "",
        now: datetime = datetime(2027, 1, 1, tzinfo=UTC),
        elapsed: Callable[[], float] = time.monotonic,
        **scopes: list[Scope],
    ) -> None:
        made = {name: make_key(name, wanted, LAST_DAY) for name, wanted in scopes.items()}
        self.keys = {name: key for name, (key, _) in made.items()}
        ring = KeyRing(None, ";".join(write_key(kept) for _, kept in made.values()))
        self.access = Access(ring, rate, clock=lambda: now, elapsed=elapsed)

    def ask(self, name: str = "", path: str = "/predict", method: str = "POST", client: str = ELSEWHERE) -> int:
        """Return the status that a key is refused with, or 0."""
        headers = [(b"authorization", f"Bearer {self.keys[name]}".encode())] if name else []
        return self.say(headers, path, method, client)[0]

    def say(self, headers=(), path="/predict", method="POST", client=ELSEWHERE) -> tuple[int, str, str]:
        """Return the status, the code and the sentence of a refusal; 0 and nothing where there is none."""
        refusal = self.access.find_refusal(method, path, headers, client)
        return (refusal.status, refusal.problem.code, refusal.problem.message) if refusal else (0, "", "")


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
    """Access for one key of each scope, and for one of both."""
    return Desk(predict=["predict"], admin=["admin"], both=["predict", "admin"])


def count_passes(ask: Callable[[], int], tries: int) -> int:
    return [ask() for _ in range(tries)].count(0)


@pytest.mark.parametrize("path", PREDICTIONS)
@pytest.mark.parametrize(("name", "status"), [("predict", 0), ("both", 0), ("admin", 403)])
def test_all_but_reload_wants_the_scope_predict(desk, path, name, status):
    """A key for predictions opens every page but that of the operator, and no other key does."""
    assert desk.ask(name, path) == status


@pytest.mark.parametrize(("name", "status"), [("predict", 403), ("both", 0), ("admin", 0)])
@pytest.mark.parametrize("client", [HERE, ELSEWHERE])
def test_a_reload_wants_the_scope_admin(desk, name, status, client):
    """Only the key of an operator changes the model, wherever it comes from."""
    assert desk.ask(name, "/reload", client=client) == status


@pytest.mark.parametrize(("name", "path", "scope"), [("admin", "/model", "predict"), ("predict", "/reload", "admin")])
def test_a_key_of_another_scope_is_told_so(desk, name, path, scope):
    """Who may not do something reads which scope that wants."""
    headers = [(b"authorization", f"Bearer {desk.keys[name]}".encode())]

    assert desk.say(headers, path) == (403, "scope", OUT_OF_SCOPE.format(path, scope))


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "HEAD"])
def test_a_key_is_wanted_whatever_the_method(desk, method):
    """No method goes round the keys."""
    assert desk.say(method=method) == MISSING


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_a_probe_needs_no_key(desk, path, method):
    """What looks whether the service lives has no key."""
    assert desk.ask(path=path, method=method) == 0


@pytest.mark.parametrize("path", ["/livez/", "/livez/../predict", "/readyz2", "//livez", "/LIVEZ", "livez", "/health"])
def test_what_is_like_a_probe_needs_a_key(desk, path):
    """Only the probes themselves are open."""
    assert desk.ask(path=path, method="GET") == 401


@pytest.mark.parametrize("path", ["/predict", "/reload", "/model"])
def test_a_preflight_needs_no_key(desk, path):
    """A browser asks whether it may ask, without the headers of the page."""
    assert desk.ask(path=path, method="OPTIONS") == 0


@pytest.mark.parametrize("method", ["options", "Options", "OPTION", ""])
def test_what_is_like_a_preflight_needs_a_key(desk, method):
    """A method is written in capitals."""
    assert desk.ask(method=method) == 401


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
    (kept,) = (key for key in desk.access._keys.keys if key.name == "both")

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
    access = Access(KeyRing(file, "", clock=lambda: float(next(ticks))), "")
    headers = [(b"x-api-key", key.encode())]
    before = access.find_refusal("POST", "/predict", headers, HERE)
    file.write_text("")

    assert (before, access.find_refusal("POST", "/predict", headers, HERE).problem.code) == (None, "key_unknown")


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


@pytest.mark.parametrize("path", PREDICTIONS)
@pytest.mark.parametrize("client", [HERE, ELSEWHERE, ""])
def test_without_keys_everybody_may_predict(path, client):
    """A service that was given no keys asks for none."""
    desk = Desk()

    assert (desk.access.is_open, desk.ask(path=path, client=client)) == (True, 0)


def test_without_keys_a_key_is_passed_over():
    """A key that nobody asked for does no harm."""
    assert Desk().say([(b"x-api-key", b"anything")]) == (0, "", "")


@pytest.mark.parametrize("client", ["127.0.0.1", "127.255.255.254", "::1"])
def test_without_keys_this_machine_may_reload(client):
    """A caller on the machine of the service is its operator."""
    assert Desk().say(path="/reload", client=client) == (0, "", "")


@pytest.mark.parametrize("client", [ELSEWHERE, "10.0.0.1", "2001:db8::1", "fe80::1%eth0", "", "testclient", "0.0.0.0"])
def test_without_keys_nobody_else_may_reload(client):
    """What changes the model is not open to everybody; a caller whose address is not known is somebody else."""
    assert Desk().say(path="/reload", client=client) == WANTED


def test_without_keys_a_header_does_not_make_a_caller_local():
    """Who says where a request comes from is the connection, and no header."""
    headers = [(b"x-forwarded-for", b"127.0.0.1"), (b"forwarded", b"for=127.0.0.1"), (b"host", b"localhost")]

    assert Desk().say(headers, path="/reload") == WANTED


def test_with_keys_this_machine_needs_one_too(desk):
    """Where there are keys a caller from here has no other rights than others."""
    assert desk.say(path="/reload", client=HERE) == MISSING


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


def test_a_rate_is_kept():
    """A key may ask as often as the rate says, and then reads what it is and how long to wait."""
    desk = Desk("3/hour", a=["predict"])
    headers = [(b"x-api-key", desk.keys["a"].encode())]
    assert count_passes(lambda: desk.ask("a"), 5) == 3
    refusal = desk.access.find_refusal("POST", "/predict", headers, HERE)

    wait = refusal.retry_after_seconds
    assert (refusal.status, 1 <= wait <= 3601) == (429, True)
    assert refusal.problem.model_dump() == {
        "code": "too_many_requests",
        "message": f"the limit is 3 per 1 hour; ask again in {wait} s.",
        "limit": 3,
    }


def test_each_key_has_a_rate_of_its_own():
    """Who asks too often keeps nobody else out."""
    desk = Desk("2/hour", a=["predict"], b=["predict"])

    assert [count_passes(lambda name=name: desk.ask(name), 4) for name in ("a", "b")] == [2, 2]


def test_all_paths_and_methods_share_the_rate_of_a_key():
    """A limit cannot be gone round by another path."""
    desk = Desk("3/hour", a=["predict", "admin"])
    tries = [("/predict", "POST"), ("/model", "GET"), ("/reload", "POST"), ("/health", "GET")]

    assert [desk.ask("a", path, method) for path, method in tries] == [0, 0, 0, 429]


def test_without_keys_all_callers_share_one_rate():
    """Where nobody has a name the limit is that of the service."""
    desk = Desk("2/hour")

    assert [desk.ask(client=client) for client in (HERE, ELSEWHERE, "::1")] == [0, 0, 429]


def test_probes_and_preflights_do_not_count():
    """What looks whether the service lives is never too often, and takes nothing from a key."""
    desk = Desk("1/hour")
    probes = [desk.ask(path="/livez", method="GET") for _ in range(3)] + [desk.ask(method="OPTIONS")]

    assert (probes, desk.ask(), desk.ask(path="/readyz", method="GET")) == ([0, 0, 0, 0], 0, 0)


def test_what_is_refused_does_not_count():
    """A key is not used up by requests that it may not make, nor by those without it."""
    desk = Desk("1/hour", a=["predict"])
    refused = [desk.ask("a", "/reload"), desk.ask(), desk.ask("a", "/reload")]

    assert (refused, desk.ask("a"), desk.ask("a")) == ([403, 401, 403], 0, 429)


def test_without_a_rate_there_is_none():
    """An empty setting is no limit."""
    desk = Desk("", a=["predict"])

    assert count_passes(lambda: desk.ask("a"), 500) == 500


def test_a_rate_is_over_when_its_time_is(clock):
    """A key that was refused may ask again after a while."""
    desk = Desk("2/minute", elapsed=clock)
    clock.seconds = 600.0
    first = count_passes(desk.ask, 3)
    clock.seconds += 121

    assert (first, count_passes(desk.ask, 3)) == (2, 2)


@pytest.mark.parametrize("begun", [600.0, 601.4, 630.0, 659.6], ids=str)
@pytest.mark.parametrize("rate", ["1/second", "2/minute", "10/minute", "600/minute", "5/hour"])
def test_who_waits_as_long_as_was_said_may_ask(clock, rate, begun):
    """The seconds of `Retry-After` suffice: a client that keeps to them is not refused again."""
    desk = Desk(rate, elapsed=clock)
    clock.seconds = begun
    while (refusal := desk.access.find_refusal("POST", "/predict", (), HERE)) is None:
        pass
    clock.seconds += refusal.retry_after_seconds

    assert desk.ask() == 0


def test_access_is_as_the_settings_say(tmp_path):
    """Keys and rate are those of the settings."""
    (key, kept), (other, also_kept) = make_key("a", ["predict"]), make_key("b", ["predict"])
    (tmp_path / "keys.txt").write_text(write_key(kept))
    access = open_access(
        ServiceSettings(
            api_key_file=tmp_path / "keys.txt", api_keys=SecretStr(write_key(also_kept)), rate_limit="1/hour"
        )
    )
    headers = [[(b"x-api-key", presented.encode())] for presented in (key, other, key, "sg_x")]
    refusals = [access.find_refusal("POST", "/predict", header, HERE) for header in headers]

    assert [refusal and refusal.status for refusal in refusals] == [None, None, 429, 401]


def test_access_without_settings_is_open():
    """Without keys and a rate everybody may ask."""
    assert open_access(ServiceSettings(api_keys=SecretStr(""), api_key_file=None, rate_limit="")).is_open is True


def test_access_with_a_key_that_cannot_be_read_is_none(tmp_path):
    """A mistake in a key is raised, and does not open the service."""
    with pytest.raises(ConfigError, match=r"^line 1 of SENTIMENT_API_KEYS is not an API key; "):
        open_access(ServiceSettings(api_keys=SecretStr("marmalade"), api_key_file=None))


def test_an_exposed_service_is_warned_of_in_a_sentence():
    """The warning says what is open, to whom, and how to close it."""
    assert say_exposed("0.0.0.0") == (
        "this service answers on 0.0.0.0, beyond this machine, and asks for no key: whoever reaches it may use it;"
        " make a key with `python -m service.keys NAME --file keys.txt` and set SENTIMENT_API_KEY_FILE=keys.txt."
    )


@pytest.mark.parametrize("path", PAGES)
def test_the_pages_want_no_key(desk, path):
    """Whoever opens a page gets it, and is asked for a key by the page."""
    assert desk.ask(path=path, method="GET") == 0


@pytest.mark.parametrize("path", ADMIN)
@pytest.mark.parametrize(("name", "status"), [("", 401), ("predict", 403), ("both", 0), ("admin", 0)])
def test_what_callers_wrote_wants_the_scope_admin(desk, path, name, status):
    """The dashboard shows the texts of all callers, so that only an operator's key opens what is behind it."""
    assert desk.ask(name, path, "GET") == status


@pytest.mark.parametrize("path", ADMIN)
@pytest.mark.parametrize(("client", "status"), [(HERE, 0), (ELSEWHERE, 403)])
def test_without_keys_the_dashboard_is_for_this_machine(path, client, status):
    """A service without keys shows what callers wrote to nobody elsewhere."""
    assert Desk().ask(path=path, method="GET", client=client) == status


@pytest.mark.parametrize(
    "headers",
    [
        {b"host": b"evil.example"},
        {b"host": b"["},
        {b"host": b"127.0.0.1:3000", b"origin": b"https://evil.example"},
        {b"host": b"127.0.0.1:3000", b"origin": b"null"},
        {b"host": b"127.0.0.1:3000", b"sec-fetch-site": b"cross-site"},
        {b"host": b"localhost:3000", b"sec-fetch-site": b"same-site"},
    ],
)
def test_without_keys_the_page_of_another_site_gets_nothing(headers):
    """A site that is open in a browser on this machine can neither read the dashboard nor change the model."""
    assert [Desk().say(list(headers.items()), path, client=HERE) for path in ADMIN] == [WANTED] * len(ADMIN)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {b"host": b"localhost:3000"},
        {b"host": b"[::1]:3000", b"origin": b"http://[::1]:3000", b"sec-fetch-site": b"same-origin"},
        {b"host": b"127.0.0.1:3000", b"sec-fetch-site": b"none"},
    ],
)
def test_without_keys_the_own_page_and_a_terminal_pass(headers):
    """The dashboard and curl on this machine need no key."""
    assert Desk().say(list(headers.items()), "/dashboard/predictions", client=HERE) == (0, "", "")
