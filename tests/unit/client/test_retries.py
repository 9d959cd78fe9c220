"""How long a client waits before it sends a request again."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from sentigate_client.retries import Retries, choose_pause, read_retry_after

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RETRIES = Retries(first_pause_seconds=1, longest_pause_seconds=8)


def test_pauses_double_up_to_the_longest():
    """An overloaded service gets more and more air, and a pause never overflows."""
    pauses = [choose_pause(RETRIES, attempt, None, chance=1.0) for attempt in (1, 2, 3, 4, 5, 10_000)]
    assert pauses == [1, 2, 4, 8, 8, 8]


def test_jitter_takes_away_at_most_half():
    """Callers that failed together come back at different times."""
    assert choose_pause(RETRIES, 3, None, chance=0.0) == 2
    assert choose_pause(RETRIES, 3, None, chance=0.5) == 3


def test_what_the_service_asks_for_is_never_undercut():
    """Jitter adds to a Retry-After."""
    assert choose_pause(RETRIES, 1, 30.0, chance=0.0) == 30
    assert choose_pause(RETRIES, 9, 30.0, chance=0.5) == 30.5


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("7", 7),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90),
        ("Fri, 02 Jan 2026 03:05:05 -0000", 60),
        ("Friday, 02-Jan-26 03:05:05 GMT", 60),
        (format_datetime(NOW - timedelta(hours=1)), 0),
        ("9" * 400, float("inf")),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("٣", None),
        ("Fri, 99 Jan 2026 99:99:99 GMT", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(value, seconds):
    """Both forms of RFC 9110 count; what is neither is as if it were not there."""
    assert read_retry_after(value, NOW) == seconds
