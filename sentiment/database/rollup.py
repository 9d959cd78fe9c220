"""The rollup of predictions by minute and hour, which keeps charts fast however many rows there are."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import isfinite
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from sentiment.database.schema import ACTIVITY

MINUTE_SECONDS, HOUR_SECONDS = 60, 3600
MINUTES_KEPT = timedelta(days=2)
BUCKETS_PER_DOUBLING = 3
LATENCY_BOUNDS_MS = tuple(round(2 ** (step / BUCKETS_PER_DOUBLING), 3) for step in range(49))  # 1 ms to 65 s
LOWER_BOUNDS_MS = {LATENCY_BOUNDS_MS[0]: 0.0, **{upper: lower for lower, upper in pairwise(LATENCY_BOUNDS_MS)}}
SUMS = ("predictions", "uncertain", "truncated", "confidence_sum")


def find_latency_bucket(latency_ms: float) -> float:
    """Return the upper bound of the bucket of a latency; the last one holds whatever is longer."""
    return LATENCY_BOUNDS_MS[min(bisect_left(LATENCY_BOUNDS_MS, latency_ms), len(LATENCY_BOUNDS_MS) - 1)]


def roll_up(predictions: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of `activity` that rows of `predictions` add, in the order of their keys.

    Raises ValueError or TypeError for a row whose confidence or latency is no number.
    """
    sums: dict[tuple[Any, ...], list[float]] = {}
    for row in predictions:
        confidence, latency_ms = row["confidence"], row["latency_ms"]
        if not (isfinite(confidence) and isfinite(latency_ms)):
            raise ValueError("a confidence or a latency is not finite")
        added = (1, bool(row["uncertain"]), bool(row["truncated"]), confidence)
        place = (row["model_version"], row["label"], find_latency_bucket(latency_ms))
        for period in (MINUTE_SECONDS, HOUR_SECONDS):
            found = sums.setdefault((period, floor_time(row["at"], period), *place), [0, 0, 0, 0.0])
            found[:] = [total + value for total, value in zip(found, added, strict=True)]
    keys = [column.name for column in ACTIVITY.primary_key]
    return [
        {**dict(zip(keys, key, strict=True)), **dict(zip(SUMS, found, strict=True))}
        for key, found in sorted(sums.items())
    ]


def add_activity(connection: sa.Connection, predictions: Iterable[Mapping[str, Any]]) -> None:
    """Add rows of `predictions` to the rollup, in the transaction of the connection; each must be added once.

    Keys are taken in one order, so that two services that ship to one database do not lock each other out.
    """
    rows = roll_up(predictions)
    if not rows:
        return
    insert = (postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert)(ACTIVITY)
    added = {name: ACTIVITY.c[name] + insert.excluded[name] for name in SUMS}
    connection.execute(insert.on_conflict_do_update(index_elements=list(ACTIVITY.primary_key), set_=added), rows)


def remove_activity(connection: sa.Connection, before: datetime, now: datetime) -> None:
    """Remove hours that ended `before` a time, and minutes that are two days old by `now`."""
    hours = (ACTIVITY.c.period_seconds == HOUR_SECONDS, ACTIVITY.c.start <= before - timedelta(seconds=HOUR_SECONDS))
    minutes = (ACTIVITY.c.period_seconds == MINUTE_SECONDS, ACTIVITY.c.start < now - MINUTES_KEPT)
    for old in (hours, minutes):
        connection.execute(sa.delete(ACTIVITY).where(*old))


def floor_time(moment: datetime, seconds: int) -> datetime:
    """Return the start, in UTC, of the period of so many seconds that a moment is in."""
    whole = int(moment.timestamp())
    return datetime.fromtimestamp(whole - whole % seconds, UTC)
