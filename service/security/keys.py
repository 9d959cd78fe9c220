"""The format of API keys: a line of the key file says what one key may do, until when, and its digest.

A line has the name, the scopes, the SHA-256 of the key and perhaps its last day:
`dashboard predict,admin 9f86d081884c7d65... 2027-01-31`. Keys are random and long, so a plain digest hides them.
"""

import hmac
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from hashlib import sha256

from sentiment.errors import ConfigError
from service.api.routes import SCOPES, Scope

PREFIX = "sg_"
KEY_BYTES = 32
DIGEST_LENGTH = 64
FIELDS = (3, 4)


@dataclass(frozen=True)
class ApiKey:
    """A key by its digest; it is valid until the end of `last_day`, UTC."""

    name: str
    scopes: frozenset[Scope]
    digest: str
    last_day: date | None = None

    @property
    def granted(self) -> frozenset[Scope]:
        """Its scopes; with `admin` comes `read`."""
        return self.scopes | {"read"} if "admin" in self.scopes else self.scopes

    def is_expired(self, now: datetime) -> bool:
        """Return whether its last day is over."""
        return self.last_day is not None and now.astimezone(UTC).date() > self.last_day


def make_key(name: str, scopes: Iterable[Scope], last_day: date | None = None) -> tuple[str, ApiKey]:
    """Return a new key, which is shown once, and its digest with name, scopes and last day."""
    key = PREFIX + secrets.token_urlsafe(KEY_BYTES)
    return key, ApiKey(name, frozenset(scopes), digest_key(key), last_day)


def digest_key(key: str) -> str:
    """Return the SHA-256 of a key."""
    return sha256(key.encode("utf-8", "replace")).hexdigest()


def find_key(keys: Iterable[ApiKey], presented: str) -> ApiKey | None:
    """Return the key that a caller presents; every key is compared, each in constant time."""
    digest, found = digest_key(presented), None
    for key in keys:
        if hmac.compare_digest(key.digest, digest):
            found = key
    return found


def write_key(key: ApiKey) -> str:
    """Return the line of a key."""
    scopes = ",".join(scope for scope in SCOPES if scope in key.scopes)
    return " ".join([key.name, scopes, key.digest, *([key.last_day.isoformat()] if key.last_day else [])])


def read_keys(lines: Iterable[str], origin: str) -> tuple[ApiKey, ...]:
    """Return the keys in lines. Raises ConfigError with the number of the first damaged line, and not its content."""
    keys, mistakes = parse_lines(lines)
    if mistakes:
        raise ConfigError(describe_mistake(mistakes[0], origin))
    return keys


def parse_lines(lines: Iterable[str]) -> tuple[tuple[ApiKey, ...], list[int]]:
    """Return the keys in lines, and the numbers of damaged lines; empty lines and comments are skipped."""
    keys, mistakes = [], []
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if fields and not fields[0].startswith("#"):
            try:
                keys.append(_read_fields(fields))
            except ValueError:
                mistakes.append(number)
    return tuple(keys), mistakes


def describe_mistake(number: int, origin: str) -> str:
    """Return a sentence on a damaged line, without its content."""
    return (
        f"line {number} of {origin} is not an API key; wanted name, scopes ({', '.join(SCOPES)}), SHA-256 and,"
        " if it ends, its last day, as `sentigate keys add` writes them."
    )


def _read_fields(fields: Sequence[str]) -> ApiKey:
    """Return the key of a line. Raises ValueError if the line is damaged."""
    if len(fields) not in FIELDS:
        raise ValueError("fields")
    scopes = frozenset(scope for scope in SCOPES if scope in fields[1].split(","))
    if len(scopes) != len(fields[1].split(",")):
        raise ValueError("scopes")
    if len(fields[2]) != DIGEST_LENGTH:
        raise ValueError("digest")
    last_day = date.fromisoformat(fields[3]) if len(fields) == max(FIELDS) else None
    return ApiKey(fields[0], scopes, bytes.fromhex(fields[2]).hex(), last_day)
