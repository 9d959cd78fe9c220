"""What the prediction log knows, in queries that stay fast with ten million rows: rollups, indexes, bounded scans."""

import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from math import ceil
from operator import itemgetter
from typing import Any

import sqlalchemy as sa

from sentiment.database.rollup import HOUR_SECONDS, LOWER_BOUNDS_MS, MINUTE_SECONDS, MINUTES_KEPT, SUMS, floor_time
from sentiment.database.schema import ACTIVITY, FEEDBACK, PREDICTIONS, SHADOW_PREDICTIONS

LONGEST_BY_MINUTE = timedelta(hours=6)
MAX_POINTS = 400
STEP_HOURS = (1, 2, 3, 6, 12, 24)
MAX_ROWS_SEARCHED = 100_000
MAX_FEEDBACK = 100_000
MAX_SHADOW_ANSWERS = 100_000


@dataclass(frozen=True)
class Activity:
    """What one version answered with one label in the `period_seconds` from `start` (UTC) on."""

    start: datetime
    period_seconds: int
    model_version: str
    label: str
    predictions: int
    uncertain: int
    truncated: int
    mean_confidence: float


@dataclass(frozen=True)
class LatencyPoint:
    """How long the answers of a period took; percentiles are interpolated within buckets that are 26% wide."""

    start: datetime
    period_seconds: int
    predictions: int
    p50_ms: float
    p95_ms: float


@dataclass(frozen=True)
class PredictionQuery:
    """Which predictions are wanted; all conditions hold together, and those left out hold for every row.

    `text` is part of a text in any case, `identifier` the id of a prediction or of a request, `before` the cursor
    of the page before.
    """

    text: str = ""
    label: str | None = None
    model_version: str | None = None
    uncertain: bool | None = None
    identifier: str | None = None
    before: str | None = None
    limit: int = 50


@dataclass(frozen=True)
class PredictionRow:
    """A row of `predictions`, and the labels that feedback says it should have had, oldest first."""

    id: str
    at: datetime
    request_id: str
    text: str | None
    text_digest: str | None
    characters: int
    tokens: int
    label: str
    confidence: float
    scores: Mapping[str, float]
    uncertain: bool
    truncated: bool
    model_version: str
    model_digest: str
    latency_ms: float
    feedback: tuple[str, ...]


@dataclass(frozen=True)
class PredictionPage:
    """The rows that were found, newest first, among the `looked_at` rows back to the time `reached`.

    `before` is the cursor to look further back with; None when there is nothing further back.
    """

    rows: tuple[PredictionRow, ...]
    looked_at: int
    reached: datetime | None
    before: str | None


@dataclass(frozen=True)
class FeedbackCount:
    """How often a prediction that said one label should have been another, or was right, as callers say."""

    said: str
    should_be: str
    count: int


@dataclass(frozen=True)
class AgreementCount:
    """How often a shadow model of this version said `label` where the champion said `champion_label`."""

    model_version: str
    champion_label: str
    label: str
    count: int


def read_activity(
    engine: sa.Engine, since: datetime, until: datetime, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> list[Activity]:
    """Return what was answered per period, version and label, oldest first; periods without answers are left out.

    A period is a minute in a window of up to 6 hours, as long as minutes are kept (2 days); else it is so many hours
    that there are at most 400.
    """
    seconds = _choose_period(since, until, clock())
    keys = (_point_of(seconds), ACTIVITY.c.model_version, ACTIVITY.c.label)
    sums = (sa.func.sum(ACTIVITY.c[name]) for name in SUMS)
    rows = _read_rollup(engine, since, until, seconds, keys, sums)
    return [
        Activity(_read_epoch(point), seconds, version, label, count, uncertain, truncated, confidence_sum / count)
        for point, version, label, count, uncertain, truncated, confidence_sum in rows
    ]


def read_latencies(
    engine: sa.Engine, since: datetime, until: datetime, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> list[LatencyPoint]:
    """Return how long answers took, by the periods of `read_activity`, oldest first."""
    seconds = _choose_period(since, until, clock())
    keys = (_point_of(seconds), ACTIVITY.c.latency_bucket_ms)
    rows = _read_rollup(engine, since, until, seconds, keys, [sa.func.sum(ACTIVITY.c.predictions)])
    points = []
    for point, group in groupby(rows, key=itemgetter(0)):
        buckets = [(bound, count) for _, bound, count in group]
        total = sum(count for _, count in buckets)
        p50_ms, p95_ms = (round(_interpolate(buckets, share * total), 3) for share in (0.5, 0.95))
        points.append(LatencyPoint(_read_epoch(point), seconds, total, p50_ms, p95_ms))
    return points


def search_predictions(engine: sa.Engine, query: PredictionQuery) -> PredictionPage:
    """Return up to `limit` predictions that fit, newest first, after a look at no more than 100,000 rows.

    Raises ValueError when `before` is no cursor.
    """
    if "\0" in f"{query.text}{query.label}{query.model_version}{query.identifier}{query.before}":
        return PredictionPage((), 0, None, None)  # no database keeps such a text
    with engine.connect() as connection:
        if query.identifier is not None:
            return _find_named(connection, query, query.identifier)
        return _scan(connection, query)


def read_feedback(engine: sa.Engine, since: datetime, until: datetime) -> list[FeedbackCount]:
    """Return how feedback of a time, at most the newest 100,000, compares with the predictions it is about."""
    newest = _take_newest(FEEDBACK, ("prediction_id", "label", "said"), since, until, MAX_FEEDBACK)
    known = sa.select(newest.c.said, newest.c.label, sa.func.count()).where(newest.c.said.is_not(None))
    # A look at the prediction is dear where it is not in memory, so it is for the few that came before theirs.
    late = (
        sa.select(PREDICTIONS.c.label, newest.c.label, sa.func.count())
        .join_from(newest, PREDICTIONS, PREDICTIONS.c.id == newest.c.prediction_id)
        .where(newest.c.said.is_(None))
    )
    counts: Counter[tuple[str, str]] = Counter()
    with engine.connect() as connection:
        for query in (
            known.group_by(newest.c.said, newest.c.label),
            late.group_by(PREDICTIONS.c.label, newest.c.label),
        ):
            for said, should_be, count in connection.execute(query):
                counts[said, should_be] += count
    return [FeedbackCount(said, should_be, count) for (said, should_be), count in sorted(counts.items())]


def read_agreement(engine: sa.Engine, since: datetime, until: datetime) -> list[AgreementCount]:
    """Return what shadow models said beside the champion in a time, over at most the newest 100,000 shadow answers."""
    names = ("model_version", "champion_label", "label")
    newest = _take_newest(SHADOW_PREDICTIONS, names, since, until, MAX_SHADOW_ANSWERS)
    keys = tuple(newest.c)
    query = sa.select(*keys, sa.func.count()).group_by(*keys).order_by(*keys)
    with engine.connect() as connection:
        return [AgreementCount(*row) for row in connection.execute(query)]


def _choose_period(since: datetime, until: datetime, now: datetime) -> int:
    if until - since <= LONGEST_BY_MINUTE and since >= now - MINUTES_KEPT:
        return MINUTE_SECONDS
    hours = (until - since) / timedelta(hours=1)
    days = ceil(hours / MAX_POINTS / 24)
    return HOUR_SECONDS * next((step for step in STEP_HOURS if hours / step <= MAX_POINTS), 24 * days)


def _point_of(seconds: int) -> sa.Label[int]:
    """Return the start of the period that a row of the rollup falls into, in seconds since 1970."""
    epoch = sa.cast(sa.extract("epoch", ACTIVITY.c.start), sa.BigInteger)
    return (epoch // seconds * seconds).label("point")


def _read_rollup(
    engine: sa.Engine,
    since: datetime,
    until: datetime,
    seconds: int,
    keys: Sequence[sa.ColumnElement[Any]],
    sums: Iterable[sa.ColumnElement[Any]],
) -> Sequence[sa.Row[Any]]:
    """Return sums by `keys`, of which the first is the point; whole periods, with the one that `since` is in."""
    names = [key.name for key in keys]
    query = sa.select(*keys, *sums).where(
        ACTIVITY.c.period_seconds == min(seconds, HOUR_SECONDS),
        ACTIVITY.c.start >= floor_time(since, seconds),
        ACTIVITY.c.start < until.astimezone(UTC),
    )
    with engine.connect() as connection:
        return connection.execute(query.group_by(*names).order_by(*names)).all()


def _interpolate(buckets: Sequence[tuple[float, int]], wanted: float) -> float:
    """Return the latency that `wanted` answers stay under, from counts by upper bound in rising order."""
    below = 0
    for bound, count in buckets:
        if below + count >= wanted:
            lower = LOWER_BOUNDS_MS.get(bound, bound)
            return lower + (bound - lower) * (wanted - below) / count
        below += count
    raise ValueError(f"{wanted} of {below} answers are wanted")


def _find_named(connection: sa.Connection, query: PredictionQuery, name: str) -> PredictionPage:
    """Return the prediction of this id, or else those of the request of this id."""
    found: list[PredictionRow] = []
    with suppress(ValueError):
        found = _select(connection, query, [PREDICTIONS.c.id == str(uuid.UUID(name))])
    found = found or _select(connection, query, [PREDICTIONS.c.request_id == name, *_follow(query.before)])
    rows = found[: query.limit]
    more = len(found) > query.limit
    return PredictionPage(tuple(rows), len(rows), rows[-1].at if rows else None, rows[-1].id if more else None)


def _scan(connection: sa.Connection, query: PredictionQuery) -> PredictionPage:
    """Return a page out of a stretch of rows, newest first; ids are in the order of time, and bound it."""
    above = _follow(query.before)
    ids = sa.select(PREDICTIONS.c.id).where(*above).order_by(PREDICTIONS.c.id.desc())
    lowest = connection.scalar(ids.offset(MAX_ROWS_SEARCHED - 1).limit(1))
    found = _select(connection, query, [*above, *_stop(lowest)])
    rows = found[: query.limit]
    cursor = rows[-1].id if len(found) > query.limit else lowest
    stretch = [*above, *_stop(cursor)]
    looked_at = connection.scalar(sa.select(sa.func.count()).select_from(PREDICTIONS).where(*stretch))
    reached = connection.scalar(sa.select(PREDICTIONS.c.at).where(*stretch).order_by(PREDICTIONS.c.id).limit(1))
    return PredictionPage(tuple(rows), looked_at or 0, reached and _to_utc(reached), cursor)


def _follow(before: str | None) -> list[sa.ColumnElement[bool]]:
    return [] if before is None else [PREDICTIONS.c.id < str(uuid.UUID(before))]


def _stop(lowest: str | None) -> list[sa.ColumnElement[bool]]:
    return [] if lowest is None else [PREDICTIONS.c.id >= lowest]


def _select(
    connection: sa.Connection, query: PredictionQuery, place: Sequence[sa.ColumnElement[bool]]
) -> list[PredictionRow]:
    """Return the predictions at a place that fit, newest first, with one more than the limit where there is one."""
    wanted = {
        PREDICTIONS.c.label: query.label,
        PREDICTIONS.c.model_version: query.model_version,
        PREDICTIONS.c.uncertain: query.uncertain,
    }
    conditions = [column == value for column, value in wanted.items() if value is not None]
    if query.text:
        conditions.append(_contain(query.text, connection.dialect.name))
    shown = [column for column in PREDICTIONS.columns if column.name != "subject"]
    statement = sa.select(*shown).where(*place, *conditions).order_by(PREDICTIONS.c.id.desc())
    rows = connection.execute(statement.limit(query.limit + 1)).mappings().all()
    said = _read_feedback_labels(connection, [row["id"] for row in rows])
    return [PredictionRow(**{**row, "at": _to_utc(row["at"])}, feedback=tuple(said.get(row["id"], ()))) for row in rows]


def _contain(text: str, dialect: str) -> sa.ColumnElement[bool]:
    """Return the condition that a text contains this one, in any case, with no sign of it taken for a pattern."""
    if text.isascii():
        escaped = re.sub(r"([\\%_])", r"\\\1", text)
        return PREDICTIONS.c.text.ilike(f"%{escaped}%", escape="\\")
    # Beyond ASCII a database may not know which letters are the same in both cases.
    if dialect == "sqlite":
        quoted = re.sub(r"([*?[])", r"[\1]", text)
        return PREDICTIONS.c.text.op("GLOB")(f"*{_spell(quoted)}*")
    return PREDICTIONS.c.text.op("~")(_spell(re.sub(r"([][.^$*+?(){}|\\])", r"\\\1", text)))


def _spell(pattern: str) -> str:
    """Return a pattern that takes each of its letters in both cases."""
    cases = ((sign, {case for case in (sign, sign.lower(), sign.upper()) if len(case) == 1}) for sign in pattern)
    return "".join(f"[{''.join(sorted(both))}]" if sign.isalpha() else sign for sign, both in cases)


def _read_feedback_labels(connection: sa.Connection, ids: Sequence[str]) -> dict[str, list[str]]:
    columns = (FEEDBACK.c.prediction_id, FEEDBACK.c.label)
    labels: dict[str, list[str]] = {}
    for prediction_id, label in connection.execute(
        sa.select(*columns).where(FEEDBACK.c.prediction_id.in_(ids)).order_by(FEEDBACK.c.at, FEEDBACK.c.id)
    ):
        labels.setdefault(prediction_id, []).append(label)
    return labels


def _take_newest(table: sa.Table, columns: Sequence[str], since: datetime, until: datetime, limit: int) -> sa.Subquery:
    inside = (table.c.at >= since.astimezone(UTC), table.c.at < until.astimezone(UTC))
    newest = sa.select(*(table.c[name] for name in columns)).where(*inside).order_by(table.c.at.desc())
    return newest.limit(limit).subquery()


def _read_epoch(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _to_utc(moment: datetime) -> datetime:
    """Return a moment as the database keeps it; SQLite does not say that it is in UTC."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
