"""Access: which caller may send a request, by key, scope and rate."""

import hmac
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from ipaddress import IPv6Address, IPv6Network, ip_address
from pathlib import Path

from sentiment.admin_token import make_admin_token
from sentiment.paths import locate_state
from service.api.context import STRANGER, Caller
from service.api.errors import ApiError
from service.api.routes import SCOPES, Route
from service.api.schemas import Problem
from service.security.key_ring import KeyRing
from service.security.keys import find_key
from service.security.rate_limit import RateLimiter
from service.settings import ServiceSettings

BEARER = b"bearer "
NETWORK_BITS = 64  # of IPv6, which one household or machine has to itself
ANYBODY = Caller("anybody", frozenset({"predict", "feedback", "read"}))
OPERATOR = Caller("operator", frozenset(SCOPES))


class Access:
    """Recognises callers, and refuses those without the scope or over their rate.

    Without keys every caller is let in, except on guarded routes: they need the token of the installation, and are
    closed if that is empty. Rates count per key or, without keys, per address of the caller.
    """

    def __init__(
        self,
        keys: KeyRing,
        limiter: RateLimiter | None = None,
        *,
        token: str = "",
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._keys = keys
        self._token = token.encode()
        self._limiter = limiter
        self._clock = clock

    @property
    def is_open(self) -> bool:
        """Whether every caller is let in, because no keys were set up."""
        return self._keys.is_open

    def find_dashboard(self, address: str) -> str:
        """Return the address of the dashboard, with the token if it needs one; the page keeps the token."""
        return f"{address}/dashboard" + (f"#token={self._token.decode()}" if self._token else "")

    def recognise(self, route: Route, headers: Sequence[tuple[bytes, bytes]]) -> Caller:
        """Return the caller of a route. Raises ApiError if the key is missing, unknown or expired."""
        if route.is_open:
            return STRANGER
        presented = read_presented(dict(headers))
        return self._recognise_anybody(route, presented) if self._keys.is_open else self._recognise_key(presented)

    def require_scope(self, route: Route, caller: Caller) -> None:
        """Raise ApiError if the key of a caller lacks the scope of a route."""
        if not route.is_open and route.scope is not None and route.scope not in caller.scopes:
            said = f"this key may not do that; {route.method} {route.path} wants the scope {route.scope}."
            raise ApiError(HTTPStatus.FORBIDDEN, Problem(code="scope", message=said))

    def _recognise_anybody(self, route: Route, presented: str) -> Caller:
        if self._token and hmac.compare_digest(presented.encode("utf-8", "replace"), self._token):
            return OPERATOR
        if route.is_guarded:
            raise ApiError(HTTPStatus.UNAUTHORIZED, TOKEN_WANTED)
        return ANYBODY

    def _recognise_key(self, presented: str) -> Caller:
        key = find_key(self._keys.keys, presented) if presented else None
        if key is None:
            raise ApiError(HTTPStatus.UNAUTHORIZED, UNKNOWN if presented else MISSING)
        if key.is_expired(self._clock()):
            raise ApiError(HTTPStatus.UNAUTHORIZED, EXPIRED)
        return Caller(key.name, key.granted)

    def limit(self, caller: Caller, client: str, units: int) -> None:
        """Count the work of a request. Raises ApiError if it is more than the rates allow."""
        if self._limiter is None or caller is STRANGER or not units:
            return
        if excess := self._limiter.find_excess(_name_payer(caller, client), units):
            said = f"the limit is {excess.rate}; ask again in {excess.wait_seconds} s."
            problem = Problem(code="too_many_requests", message=said, limit=excess.rate.amount)
            raise ApiError(HTTPStatus.TOO_MANY_REQUESTS, problem, {"retry-after": str(excess.wait_seconds)})

    def charge(self, caller: Caller, client: str, units: int) -> None:
        """Count work that was known only after it was done."""
        if self._limiter is not None and units:
            self._limiter.charge(_name_payer(caller, client), units)


def _name_payer(caller: Caller, client: str) -> str:
    """Return the name that work counts for: a key or, without keys, an address or a network of IPv6."""
    if caller is not ANYBODY:
        return f"key {caller.name}"
    try:
        address = ip_address(client)
    except ValueError:
        return "address unknown"
    if isinstance(address, IPv6Address) and address.ipv4_mapped is None:
        return f"address {IPv6Network((int(address), NETWORK_BITS), strict=False)}"
    return f"address {getattr(address, 'ipv4_mapped', None) or address}"


def open_access(settings: ServiceSettings, rates: Path | None = None) -> Access:
    """Return the access that the settings describe; with a folder for rates it limits them. Raises ConfigError."""
    given = settings.api_keys
    ring = KeyRing(settings.api_key_file, None if given is None else given.get_secret_value())
    limiter = RateLimiter(rates, settings.rate_limit) if rates and settings.rate_limit else None
    return Access(ring, limiter, token=make_admin_token(locate_state().admin_token) if ring.is_open else "")


def describe_exposure(host: str) -> str:
    """Return the warning about a service that other machines reach without a key."""
    return (
        f"this service answers on {host}, beyond this machine, and asks for no key: whoever reaches it may use it;"
        " make a key with `sentigate keys add NAME --file keys.txt` and set"
        " SENTIMENT_API_KEY_FILE=keys.txt."
    )


def read_presented(headers: Mapping[bytes, bytes]) -> str:
    """Return the key of a request, from `X-API-Key: KEY` or `Authorization: Bearer KEY`; empty without one.

    The header of our own goes first: the standard one may carry what a gateway before us asks for.
    """
    if own := headers.get(b"x-api-key", b"").strip():
        return own.decode("latin-1")
    authorization = headers.get(b"authorization", b"")
    has_bearer = authorization[: len(BEARER)].lower() == BEARER
    return authorization[len(BEARER) :].strip().decode("latin-1") if has_bearer else ""


MISSING = Problem(code="key_missing", message="there is no API key; send it as the header `Authorization: Bearer KEY`.")
TOKEN_WANTED = Problem(
    code="token_wanted",
    message="this wants the token of the service, which is in its state folder; send it as the header `Authorization:"
    " Bearer TOKEN`, or open the address of the dashboard that `make serve` shows.",
)
UNKNOWN = Problem(code="key_unknown", message="this API key is not known here; ask the operator for one.")
EXPIRED = Problem(code="key_expired", message="this API key has expired; ask the operator for another.")
