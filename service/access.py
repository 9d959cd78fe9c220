"""Who may pass: a key with the scope of the path, not too often."""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from urllib.parse import urlsplit

from limits import parse

from sentiment.hosts import is_loopback
from service.keys import KeyRing, Scope, find_key
from service.rates import RateCounter
from service.refusals import Refusal
from service.schemas import Problem
from service.settings import ServiceSettings

OPEN_PATHS = ("/livez", "/readyz", "/healthz", "/", "/dashboard")
OPEN_FOLDER = "/static/"
ADMIN_PATHS = ("/reload", "/canary")
ADMIN_FOLDER = "/dashboard/"
BEARER = b"bearer "
SAME_ORIGIN = b"same-origin"
ANYBODY = "anybody"


class Access:
    """Says whether a request may pass; without keys everybody may, at the rate that is set for all together."""

    def __init__(
        self,
        keys: KeyRing,
        rate: str,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keys = keys
        self._counter = RateCounter(parse(rate), elapsed) if rate else None
        self._clock = clock

    @property
    def is_open(self) -> bool:
        """Whether everybody may ask, because no keys were set up."""
        return self._keys.is_open

    def find_refusal(
        self, method: str, path: str, headers: Sequence[tuple[bytes, bytes]], client: str
    ) -> Refusal | None:
        """Return why a request may not pass, or None; probes, preflights and the files of the pages always may.

        Without keys, what wants the scope admin is for callers on this machine.
        """
        if method == "OPTIONS" or path in OPEN_PATHS or path.startswith(OPEN_FOLDER):
            return None
        name = ANYBODY
        scope = find_scope(path)
        if self._keys.is_open and scope == "admin" and not is_from_here(client, dict(headers)):
            return ADMIN_WANTS_KEYS
        if not self._keys.is_open:
            presented = read_presented(dict(headers))
            key = find_key(self._keys.keys, presented) if presented else None
            if key is None:
                return UNKNOWN if presented else MISSING
            if key.is_expired(self._clock()):
                return EXPIRED
            if scope not in key.scopes:
                return Refusal(
                    HTTPStatus.FORBIDDEN,
                    Problem(code="scope", message=f"this key may not do that; {path} wants the scope {scope}."),
                )
            name = key.name
        return self._find_excess(name)

    def _find_excess(self, name: str) -> Refusal | None:
        if self._counter is None or not (wait := self._counter.find_wait(name)):
            return None
        rate = self._counter.rate
        return Refusal(
            HTTPStatus.TOO_MANY_REQUESTS,
            Problem(
                code="too_many_requests",
                message=f"the limit is {rate}; ask again in {wait} s.",
                limit=rate.amount,
            ),
            retry_after_seconds=wait,
        )


def open_access(settings: ServiceSettings) -> Access:
    """Return the access that the settings describe. Raises ConfigError when a key cannot be read."""
    ring = KeyRing(settings.api_key_file, settings.api_keys.get_secret_value())
    return Access(ring, settings.rate_limit)


def find_scope(path: str) -> Scope:
    """Return what a key must be good for: admin where other callers' texts can be read, or the model changed."""
    return "admin" if path in ADMIN_PATHS or path.startswith(ADMIN_FOLDER) else "predict"


def is_from_here(client: str, headers: Mapping[bytes, bytes]) -> bool:
    """Return whether a request was made on this machine, and by no page of another site in a browser on it.

    Browsers name the site of the page in `Sec-Fetch-Site` and `Origin`, and the name that led them here in `Host`.
    """
    host = headers.get(b"host", b"localhost")
    try:
        name = urlsplit(b"//" + host).hostname or b""
    except ValueError:
        return False
    origin = headers.get(b"origin", b"http://" + host)
    return (
        is_loopback(client)
        and is_loopback(name.decode("latin-1"))
        and headers.get(b"sec-fetch-site", SAME_ORIGIN) in (SAME_ORIGIN, b"none")
        and origin.partition(b"//")[2] == host
    )


def say_exposed(host: str) -> str:
    """Return the warning about a service that others can reach and that asks for no key."""
    return (
        f"this service answers on {host}, beyond this machine, and asks for no key: whoever reaches it may use it;"
        " make a key with `python -m service.keys NAME --file keys.txt` and set SENTIMENT_API_KEY_FILE=keys.txt."
    )


def read_presented(headers: Mapping[bytes, bytes]) -> str:
    """Return the key that a request presents, as `X-API-Key: KEY` or `Authorization: Bearer KEY`; empty without one.

    The header of our own goes first: the standard one may carry what a gateway before us asks for.
    """
    if own := headers.get(b"x-api-key", b"").strip():
        return own.decode("latin-1")
    authorization = headers.get(b"authorization", b"")
    has_bearer = authorization[: len(BEARER)].lower() == BEARER
    return authorization[len(BEARER) :].strip().decode("latin-1") if has_bearer else ""


MISSING = Refusal(
    HTTPStatus.UNAUTHORIZED,
    Problem(code="key_missing", message="there is no API key; send it as the header `Authorization: Bearer KEY`."),
)
ADMIN_WANTS_KEYS = Refusal(
    HTTPStatus.FORBIDDEN,
    Problem(code="key_required", message="from elsewhere this wants an API key, and the operator has set up none."),
)
UNKNOWN = Refusal(
    HTTPStatus.UNAUTHORIZED,
    Problem(code="key_unknown", message="this API key is not known here; ask the operator for one."),
)
EXPIRED = Refusal(
    HTTPStatus.UNAUTHORIZED,
    Problem(code="key_expired", message="this API key has expired; ask the operator for another."),
)
