"""When a request is sent again, and after how long."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

MOST_DOUBLINGS = 30


@dataclass(frozen=True)
class Retries:
    """How often one call is sent, at most, and how long it may take with all its pauses.

    The pause doubles from attempt to attempt, with jitter. A `Retry-After` of the service takes its place. A pause
    that would end past the deadline is not made: the call fails at once.
    """

    attempts: int = 3
    deadline_seconds: float = 60.0
    first_pause_seconds: float = 0.25
    longest_pause_seconds: float = 8.0


def choose_pause(retries: Retries, attempt: int, wanted_seconds: float | None, chance: float) -> float:
    """Return the seconds to wait after an attempt (1, 2, ...); `chance` is a random number in [0, 1).

    `wanted_seconds` is what the service asks for. It is never undercut, and jitter spreads the callers after it.
    """
    if wanted_seconds is not None:
        return wanted_seconds + retries.first_pause_seconds * chance
    pause = retries.first_pause_seconds * 2.0 ** min(attempt - 1, MOST_DOUBLINGS)
    return min(pause, retries.longest_pause_seconds) * (1 + chance) / 2


def read_retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return the seconds that a `Retry-After` asks for, in seconds or as a date; None without one that can be read.

    A date is compared with the `Date` of the same answer, so that a clock that is wrong here does no harm.
    """
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    until = _read_date(value)
    if until is None:
        return None
    return max(0.0, (until - (_read_date(headers.get("date", "")) or now)).total_seconds())


def _read_date(value: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(value)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=timezone.utc)
