"""API keys: who may ask what. `python -m service.security.keys` makes one; only its digest is kept.

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

import click

from sentiment.errors import ConfigError
from service.api.routes import SCOPES, Scope

PREFIX = "sg_"
KEY_BYTES = 32
DIGEST_LENGTH = 64
FIELDS = (3, 4)
SECONDS_BETWEEN_LOOKS = 0.5
VARIABLE = "SENTIMENT_API_KEYS"
CALLER: tuple[Scope, ...] = ("predict", "feedback")
WAY_OUT = "make one with `python -m service.security.keys NAME --file FILE`, or unset the variable to ask for no keys."
WORD = re.compile(r"[^\s#;][^\s;]*")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ApiKey:
    """A key by its digest; it holds until the end of `last_day`, UTC."""

    name: str
    scopes: frozenset[Scope]
    digest: str
    last_day: date | None = None

    @property
    def granted(self) -> frozenset[Scope]:
        """What it is good for; who may change the model may read what it does."""
        return self.scopes | {"read"} if "admin" in self.scopes else self.scopes

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
    """Return the keys in lines. Raises ConfigError that names the first line that is none, and not what it holds."""
    keys, mistakes = _read_lines(lines)
    if mistakes:
        raise ConfigError(_say_mistake(mistakes[0], origin))
    return keys


class KeyRing:
    """The keys of a file and of a variable; the file is read again while the service runs, so that keys come and go.

    A line that is no key counts for nothing, nor does a file that cannot be read: what was in them is withdrawn.
    """

    def __init__(self, file: Path | None, given: str | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`given` is what the variable holds. Raises ConfigError where a setting that is there holds no key."""
        self._file = file
        self._given = () if given is None else read_keys(given.split(";"), VARIABLE)
        self._clock = clock
        self._looked = clock()
        self._content = _read_file(file) if file else ""
        self._from_file = read_keys(self._content.splitlines(), str(file))
        self._complaint = ""
        for origin, keys in ((VARIABLE if given is not None else None, self._given), (file, self._from_file)):
            if origin and not keys:
                raise ConfigError(f"{origin} holds no API key; {WAY_OUT}")

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
        """Take the keys of the file as it is now, and say once what is wrong with it."""
        try:
            content = _read_file(file)
        except ConfigError as error:
            self._content, self._from_file = "", ()
            self._complain(f"no key of the file counts: {error}")
            return
        if content == self._content and not self._complaint:
            return
        self._from_file, mistakes = _read_lines(content.splitlines())
        if content != self._content:
            logger.info("%d API keys read from %s", len(self._from_file), file)
        self._content = content
        self._complain("".join(f"a key does not count: {_say_mistake(number, str(file))}" for number in mistakes[:1]))

    def _complain(self, complaint: str) -> None:
        if complaint and complaint != self._complaint:
            logger.warning("%s", complaint)
        self._complaint = complaint


def _read_lines(lines: Iterable[str]) -> tuple[tuple[ApiKey, ...], list[int]]:
    """Return the keys in lines, and the numbers of lines that are none; empty ones and comments are passed over."""
    keys, mistakes = [], []
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if fields and not fields[0].startswith("#"):
            try:
                keys.append(_read_fields(fields))
            except ValueError:
                mistakes.append(number)
    return tuple(keys), mistakes


def _say_mistake(number: int, origin: str) -> str:
    return (
        f"line {number} of {origin} is not an API key; wanted name, scopes ({', '.join(SCOPES)}), SHA-256 and,"
        " if it ends, its last day, as `python -m service.security.keys` writes them."
    )


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


def _read_file(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the key file {file} cannot be read ({type(error).__name__}); {WAY_OUT}") from error


@click.command()
@click.argument("name")
@click.option("--file", type=click.Path(dir_okay=False, path_type=Path), required=True, help="Key file to add it to.")
@click.option("--scope", "scopes", type=click.Choice(SCOPES), multiple=True, default=CALLER, show_default=True)
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
