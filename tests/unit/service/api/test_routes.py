"""The table of routes, and that nothing goes around it."""

import asyncio
import re
from collections.abc import Iterator
from functools import partial
from itertools import product

import pytest
from pydantic import SecretStr
from starlette.responses import Response

from sentiment.paths import CHECKOUT
from service.api.routes import ROUTES, RouteTable
from service.edge.endpoints import HANDLERS
from service.edge.middleware import Edge
from service.pages.files import list_names
from service.security.access import open_access
from service.security.keys import make_key, write_key
from service.settings import ServiceSettings

TABLE = RouteTable(list_names())
KEY, KEPT = make_key("client", ["predict"])
BYTES = range(256)
PATHS = sorted({route.path for route in ROUTES} | {"/static/base.css"})
OTHER_SPELLINGS = ("//{}", "/./{}", "/x/../{}", "/{}/", "/{}/.", "/{}//", "/%2e/{}", "/{}%2f", "/{};x", "/{}%23")


def list_neighbours(path: str) -> Iterator[tuple[str, bytes]]:
    """Yield what is sent in the place of a path, decoded as uvicorn does, and as it was sent."""
    from urllib.parse import unquote

    raws: set[bytes] = set()
    sent = path.encode()
    pairs = [bytes(pair) for pair in product(BYTES, BYTES)]
    singles = [bytes([byte]) for byte in BYTES]
    for added in (*singles, *(pairs if path in ("/reload", "/batch_predict") else pairs[:: len(ROUTES)])):
        encoded = b"".join(b"%%%02x" % byte for byte in added)
        raws |= {sent + added, added + sent, sent + encoded, encoded + sent, b"/" + encoded + sent[1:]}
    for place, byte in product(range(1, len(sent)), BYTES):
        encoded = b"%%%02x" % byte
        raws |= {sent[:place] + encoded + sent[place:], sent[:place] + encoded + sent[place + 1 :]}
        raws |= {sent[:place] + bytes([byte]) + sent[place:], sent[:place] + encoded.upper() + sent[place + 1 :]}
    raws |= {spelling.format(path[1:]).encode() for spelling in OTHER_SPELLINGS}
    raws |= {path.upper().encode(), path.title().encode(), path.replace("e", "\u0435").encode(), b"", b"*"}
    for raw in raws:
        yield unquote(raw.decode("latin-1")), raw


class Inside:
    """Notes which route a request came in by, and with which path."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, bytes]] = []

    async def __call__(self, scope, receive, send) -> None:
        self.seen.append((scope["path"], scope["path"], scope["raw_path"]))
        await Response()(scope, receive, send)

    async def answer(self, worker, asked, request):
        async def respond(scope, receive, send) -> None:
            self.seen.append((request.route.path, scope["path"], scope["raw_path"]))
            await Response()(scope, receive, send)

        return respond


async def receive() -> dict[str, object]:
    return {"type": "http.request", "body": b"{}", "more_body": False}


@pytest.mark.slow
def test_no_spelling_of_a_path_goes_around_the_table(tmp_path, record_property):
    """What is not in the table letter by letter never gets in: 200,000 neighbours of the routes, tried each.

    A key that may only predict is sent along: what does get in is a route that this key opens, by its own path.
    """
    settings = ServiceSettings(api_keys=SecretStr(write_key(KEPT)))
    app = Inside()
    edge = Edge(
        app,
        settings,
        TABLE,
        dict.fromkeys(HANDLERS, app.answer),
        lambda: None,
        partial(open_access, settings, tmp_path),
    )
    statuses: dict[int, int] = {}
    headers = [(b"x-api-key", KEY.encode())]

    async def send(message) -> None:
        if message["type"] == "http.response.start":
            statuses[message["status"]] = statuses.get(message["status"], 0) + 1

    async def try_all() -> int:
        tried = 0
        for target in PATHS:
            method = next(iter(TABLE.find(target, None)))
            for path, raw in list_neighbours(target):
                scope = {"type": "http", "method": method, "path": path, "raw_path": raw, "headers": headers}
                await edge(scope, receive, send)
                tried += 1
        return tried

    tried = asyncio.run(try_all())
    record_property("paths tried", tried)

    assert tried >= 200_000
    assert {inner for inner in app.seen if inner[0] != inner[1] or inner[0].encode() != inner[2]} == set()
    may = {route.path for route in ROUTES if route.scope in (None, "predict")} | {"/static/base.css"}
    assert {inner[0] for inner in app.seen} <= may
    assert set(statuses) <= {200, 403, 404, 405, 422}
    assert statuses[404] > 0.99 * tried


@pytest.mark.parametrize(
    "raw", [b"/reload%0a", b"/batch_predict%0a", b"/%72eload", b"/reload%00", b"/reload/", b"//reload"]
)
def test_a_path_that_decodes_to_a_route_is_another(raw):
    """The two requests that went around scope and limits once, and their like, are not found."""
    from urllib.parse import unquote

    assert TABLE.find(unquote(raw.decode()), raw) == {}


def test_every_route_is_answered_by_one_handler():
    """A route without a handler would be a promise, a handler without a route would never be asked."""
    of_bentoml = {"livez", "readyz", "schema"}

    assert {*HANDLERS, *of_bentoml} == {*(route.name for route in ROUTES), "file"}
    assert of_bentoml & HANDLERS.keys() == set()


def test_a_route_that_changes_the_service_is_guarded():
    """What wants the scope admin is never open to everybody, whatever the settings."""
    assert {
        route.is_guarded and not route.is_open and not route.is_public for route in ROUTES if route.scope == "admin"
    } == {True}


def test_the_docs_list_every_route():
    """`docs/service.md` has a row for each method and path that is described."""
    text = (CHECKOUT / "docs" / "service.md").read_text(encoding="utf-8")
    rows = "\n".join(line for line in text.splitlines() if line.startswith("| `"))
    missing = [
        (route.method, route.path)
        for route in ROUTES
        if route.summary and not re.search(rf"`{route.method} [^|]*{re.escape(route.path)}`", rows)
    ]

    assert missing == []


def read_nginx() -> list[re.Pattern[str]]:
    """Return the patterns of the paths that nginx passes on."""
    text = (CHECKOUT / "deploy" / "compose" / "nginx" / "nginx.conf.template").read_text(encoding="utf-8")
    found = re.findall(r"location ~ (\S+) \{(?:(?!location).)*?proxy_pass", text, re.DOTALL)
    return [re.compile(pattern.replace("\\z", "\\Z")) for pattern in found]


def test_nginx_passes_on_the_public_paths_alone():
    """Every public route and file, no other route, and nothing with a new line behind it."""
    patterns = read_nginx()
    public = {path for path, methods in TABLE.paths.items() if next(iter(methods.values())).is_public}
    passed = {path for path in TABLE.paths if any(pattern.search(path) for pattern in patterns)}

    assert passed == public
    assert [path for path in public for pattern in patterns if pattern.search(f"{path}\n")] == []


def test_the_ingress_publishes_the_public_paths_alone():
    """Each by its exact path, and the folder of files."""
    import yaml

    file = CHECKOUT / "deploy" / "kubernetes" / "overlays" / "production" / "ingress.yaml"
    (rule,) = yaml.safe_load(file.read_text(encoding="utf-8"))["spec"]["rules"]
    published = {(one["path"], one["pathType"]) for one in rule["http"]["paths"]}

    assert published == {(route.path, "Exact") for route in ROUTES if route.is_public} | {("/static", "Prefix")}


def test_the_load_balancer_publishes_the_public_paths_alone():
    """Each by its exact path, and the folder of files; a rule takes five at most, and all else is answered 404."""
    text = (CHECKOUT / "deploy" / "aws" / "terraform" / "balancer.tf").read_text(encoding="utf-8")
    rules = re.findall(r"^    \d = \[(.*)\]$", text, re.MULTILINE)
    published = [re.findall(r'"([^"]+)"', rule) for rule in rules]

    assert max(map(len, published)) <= 5
    assert {path for rule in published for path in rule} == {
        *(route.path for route in ROUTES if route.is_public),
        "/static/*",
    }
    assert re.search(r'default_action \{\s+type = "fixed-response"', text)
