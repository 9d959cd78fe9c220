"""API keys: who may ask what. `python -m service.keys` makes one; only its digest is kept.

A line of the key file: name, scopes, SHA-256 of the key and, where it has one, its last day:
`dashboard predict,admin 9f86d081884c7d65... 2027-01-31`. Keys are random and long, so that a plain digest hides them.
"""

import hmac
import logging
import re
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from hashlib import sha256
from pathlib import Path
from typing import Literal, get_args

import click

from sentiment.errors import ConfigError

Scope = Literal["predict", "admin"]

SCOPES: tuple[Scope, ...] = get_args(Scope)
PREFIX = "sg_"
KEY_BYTES = 32
DIGEST_LENGTH = 64
FIELDS = (3, 4)
SECONDS_BETWEEN_LOOKS = 1.0
WORD = re.compile(r"[^\s#;][^\s;]*")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ApiKey:
    """A key by its digest; it holds until the end of `last_day`, UTC."""

    name: str
    scopes: frozenset[Scope]
    digest: str
    last_day: date | None = None

    def is_expired(self, now: datetime) -> bool:
        """Return whether its last day is over."""
        return self.last_day is not None and now.astimezone(UTC).date() > self.last_day


def make_key(name: str, scopes: Iterable[Scope], last_day: date | None = None) -> tuple[str, ApiKey]:
    """Return a new key, which is shown once, and what is kept of it."""
    key = PREFIX + secrets.token_urlsafe(KEY_BYTES)
    return key, ApiKey(name, frozenset(scopes), digest_key(key), last_day)


def digest_key(key: str) -> str:
    """Return the SHA-256 of a key."""
    return sha256(key.encode("utf-8", "replace")).hexdigest()


def find_key(keys: Iterable[ApiKey], presented: str) -> ApiKey | None:
    """Return the key that was presented; every key is compared, each in constant time."""
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
    """Return the keys in lines; empty ones and those that start with # are passed over.

    Raises ConfigError that names the line, but says nothing of what it holds.
    """
    keys = []
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if not fields or fields[0].startswith("#"):
            continue
        try:
            keys.append(_read_fields(fields))
        except ValueError:
            raise ConfigError(
                f"line {number} of {origin} is not an API key; wanted name, scopes ({', '.join(SCOPES)}), SHA-256 and,"
                " if it ends, its last day, as `python -m service.keys` writes them."
            ) from None
    return tuple(keys)


class KeyRing:
    """The keys of a file and of a variable; the file is read again when it changes, so that a key can be withdrawn.

    A file that cannot be read any more leaves the keys as they were.
    """

    def __init__(self, file: Path | None, given: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._file = file
        self._given = read_keys(given.split(";"), "SENTIMENT_API_KEYS")
        self._clock = clock
        self._looked = clock()
        self._stamp, self._from_file = _read_file(file) if file else ((0, 0), ())
        self._complaint: tuple[tuple[int, int] | None, str] | None = None

    @property
    def keys(self) -> tuple[ApiKey, ...]:
        """The keys that hold now."""
        if self._file and self._clock() - self._looked >= SECONDS_BETWEEN_LOOKS:
            self._looked = self._clock()
            self._look(self._file)
        return (*self._given, *self._from_file)

    @property
    def is_open(self) -> bool:
        """Whether everybody may ask, because no keys were set up."""
        return self._file is None and not self._given

    def _look(self, file: Path) -> None:
        """Read the file where it is not as it was, and say once what is wrong with it."""
        stamp: tuple[int, int] | None = None
        try:
            stamp = _stamp(file)
            if stamp != self._stamp:
                self._stamp, self._from_file = _read_file(file)
                logger.info("%d API keys read from %s", len(self._from_file), file)
            self._complaint = None
        except (OSError, ConfigError) as error:
            if self._complaint != (complaint := (stamp, str(error))):
                logger.warning("the API keys stay as they were: %s", error)
            self._complaint = complaint


def _read_fields(fields: Sequence[str]) -> ApiKey:
    """Return the key of a line. Raises ValueError when it is none."""
    if len(fields) not in FIELDS:
        raise ValueError("fields")
    scopes = frozenset(scope for scope in SCOPES if scope in fields[1].split(","))
    if len(scopes) != len(fields[1].split(",")):
        raise ValueError("scopes")
    if len(fields[2]) != DIGEST_LENGTH:
        raise ValueError("digest")
    last_day = date.fromisoformat(fields[3]) if len(fields) == max(FIELDS) else None
    return ApiKey(fields[0], scopes, bytes.fromhex(fields[2]).hex(), last_day)


def _stamp(file: Path) -> tuple[int, int]:
    found = file.stat()
    return found.st_mtime_ns, found.st_size


def _read_file(file: Path) -> tuple[tuple[int, int], tuple[ApiKey, ...]]:
    try:
        stamp = _stamp(file)
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"the key file {file} cannot be read ({type(error).__name__}); make one with"
            " `python -m service.keys NAME --file FILE`, or unset SENTIMENT_API_KEY_FILE."
        ) from error
    return stamp, read_keys(lines, str(file))


@click.command()
@click.argument("name")
@click.option("--file", type=click.Path(dir_okay=False, path_type=Path), required=True, help="Key file to add it to.")
@click.option("--scope", "scopes", type=click.Choice(SCOPES), multiple=True, default=("predict",), show_default=True)
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), help="Last day on which it holds, UTC.")
def main(name: str, file: Path, scopes: tuple[Scope, ...], until: datetime | None) -> None:
    """Make an API key called NAME: it is shown once, its digest is added to the file."""
    if not WORD.fullmatch(name):
        raise click.BadParameter(f"{name!r} is not one word.", param_hint="NAME")
    try:
        before = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        before = ""
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(str(error)) from error
    try:
        taken = {key.name for key in read_keys(before.splitlines(), str(file))}
    except ConfigError as error:
        raise click.ClickException(str(error)) from error
    if name in taken:
        raise click.ClickException(f"{file} has a key called {name} already; remove its line, or take another name.")
    key, kept = make_key(name, scopes, until.date() if until else None)
    try:
        file.touch(mode=0o600, exist_ok=True)
        with file.open("a", encoding="utf-8") as lines:
            lines.write(("\n" if before and not before.endswith("\n") else "") + write_key(kept) + "\n")
    except OSError as error:
        raise click.ClickException(f"{file} cannot be written ({error.strerror}); name another file.") from error
    click.echo(key)


if __name__ == "__main__":
    main()
