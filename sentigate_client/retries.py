"""When a request is sent again, and after how long."""

from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

MOST_DOUBLINGS = 30


@dataclass(frozen=True)
class Retries:
    """How often one call is sent at most, and how long it may take with all its pauses.

    The pause doubles from attempt to attempt, with jitter. A `Retry-After` of the service takes its place. A pause
    that would end past the deadline is not made: the call fails at once. `connect_attempts` bounds the attempts to
    reach a service that does not answer at all.
    """

    attempts: int = 3
    connect_attempts: int = 3
    deadline_seconds: float = 60.0
    first_pause_seconds: float = 0.25
    longest_pause_seconds: float = 8.0


def choose_pause(retries: Retries, attempt: int, wanted_seconds: float | None, chance: float) -> float:
    """Return the seconds to wait after an attempt (1, 2, ...); `chance` is a random number in [0, 1).

    `wanted_seconds` is what the service asks for. The pause is never shorter; jitter spreads the callers after it.
    """
    if wanted_seconds is not None:
        return wanted_seconds + retries.first_pause_seconds * chance
    pause = retries.first_pause_seconds * 2.0 ** min(attempt - 1, MOST_DOUBLINGS)
    return min(pause, retries.longest_pause_seconds) * (1 + chance) / 2


def read_retry_after(value: str, now: datetime) -> float | None:
    """Return the seconds that a `Retry-After` asks for, as a number or a date; None if it cannot be read."""
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        until = parsedate_to_datetime(value)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return max(0.0, (until.replace(tzinfo=until.tzinfo or timezone.utc) - now).total_seconds())
