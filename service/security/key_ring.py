"""The ring of API keys that are valid now: it reads its file again while the service runs, so keys come and go."""

import logging
import time
from collections.abc import Callable
from pathlib import Path

from sentiment.errors import ConfigError
from service.security.keys import ApiKey, describe_mistake, parse_lines, read_keys

SECONDS_BETWEEN_LOOKS = 0.5
VARIABLE = "SENTIMENT_API_KEYS"
WAY_OUT = "make one with `sentigate keys add NAME --file FILE`, or unset the variable to ask for no keys."

logger = logging.getLogger(__name__)


class KeyRing:
    """The keys of a file and of a variable.

    A damaged line is no key, and a file that cannot be read has none: keys that were there are withdrawn.
    """

    def __init__(self, file: Path | None, given: str | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`given` is the content of the variable. Raises ConfigError if a file or variable is set and has no key."""
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
        """The keys that are valid now."""
        if self._file and self._clock() - self._looked >= SECONDS_BETWEEN_LOOKS:
            self._looked = self._clock()
            self._look(self._file)
        return (*self._given, *self._from_file)

    @property
    def is_open(self) -> bool:
        """Whether every caller is let in, because no keys were set up."""
        return self._file is None and not self._given

    def _look(self, file: Path) -> None:
        """Read the file again, and log once what is wrong with it."""
        try:
            content = _read_file(file)
        except ConfigError as error:
            self._content, self._from_file = "", ()
            self._complain(f"no key of the file counts: {error}")
            return
        if content == self._content and not self._complaint:
            return
        self._from_file, mistakes = parse_lines(content.splitlines())
        if content != self._content:
            logger.info("%d API keys read from %s", len(self._from_file), file)
        self._content = content
        first = [describe_mistake(number, str(file)) for number in mistakes[:1]]
        self._complain("".join(f"a key does not count: {mistake}" for mistake in first))

    def _complain(self, complaint: str) -> None:
        if complaint and complaint != self._complaint:
            logger.warning("%s", complaint)
        self._complaint = complaint


def _read_file(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the key file {file} cannot be read ({type(error).__name__}); {WAY_OUT}") from error
