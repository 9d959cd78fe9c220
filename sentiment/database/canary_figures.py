"""What champion and canary answered in a window, from rows of the prediction log, bounded by the index on the time."""

from datetime import UTC, datetime
from math import ceil

import sqlalchemy as sa

from sentiment.database.schema import FEEDBACK, PREDICTIONS
from sentiment.governance.canary_rule import SLOW_QUANTILE, Figures

Window = tuple[datetime, datetime]


def read_figures(
    engine: sa.Engine, champion: str, canary: str, window: Window, latency_ratio: float
) -> tuple[Figures, Figures]:
    """Return what the versions of champion and canary answered from one (aware) time to before another.

    Slow is a request of over `latency_ratio` times the champion's p95.
    """
    with engine.connect() as connection:
        slow_ms = latency_ratio * _read_p95(connection, _group_by_request(champion, window))
        return (
            _read_model(connection, champion, window, slow_ms),
            _read_model(connection, canary, window, slow_ms),
        )


def _group_by_request(version: str, window: Window) -> sa.Subquery:
    """Return a row for each request; who names requests may repeat a name, but not at the same microsecond."""
    row = PREDICTIONS.c
    return (
        sa.select(
            sa.func.count().label("answers"),
            sa.func.sum(sa.case((row.uncertain, 1), else_=0)).label("uncertain"),
            sa.func.sum(row.confidence).label("confidence"),
            sa.func.sum(row.confidence * row.confidence).label("squares"),
            sa.func.max(row.latency_ms).label("latency_ms"),
        )
        .where(*_find_inside(window), row.model_version == version)
        .group_by(row.request_id, row.at)
        .subquery()
    )


def _read_model(connection: sa.Connection, version: str, window: Window, slow_ms: float) -> Figures:
    requests = _group_by_request(version, window)
    totals = connection.execute(
        sa.select(
            sa.func.count(),
            *(
                sa.func.coalesce(sa.func.sum(column), 0)
                for column in (
                    requests.c.answers,
                    requests.c.answers * requests.c.answers,
                    requests.c.uncertain,
                    requests.c.confidence,
                    requests.c.squares,
                    sa.case((requests.c.latency_ms > slow_ms, 1), else_=0),
                )
            ),
        )
    ).one()
    count, answers, squared_sizes, uncertain, confidence_sum, confidence_squares, slow = totals
    answered = sa.select(PREDICTIONS.c.label, sa.func.count()).where(
        *_find_inside(window), PREDICTIONS.c.model_version == version
    )
    feedback, right = _read_feedback(connection, version, window)
    return Figures(
        requests=int(count),
        answers=int(answers),
        squared_sizes=int(squared_sizes),
        uncertain=int(uncertain),
        confidence_sum=float(confidence_sum),
        confidence_squares=float(confidence_squares),
        labels={row.label: row[1] for row in connection.execute(answered.group_by(PREDICTIONS.c.label))},
        p95_ms=_read_p95(connection, requests),
        slow=int(slow),
        feedback=feedback,
        right=right,
    )


def _read_p95(connection: sa.Connection, requests: sa.Subquery) -> float:
    count = connection.scalar(sa.select(sa.func.count()).select_from(requests)) or 0
    place = max(0, ceil(SLOW_QUANTILE * count) - 1)
    found = connection.scalar(sa.select(requests.c.latency_ms).order_by(requests.c.latency_ms).offset(place).limit(1))
    return float(found or 0.0)


def _read_feedback(connection: sa.Connection, version: str, window: Window) -> tuple[int, int]:
    """Return how much feedback there is on the answers, and how much of it agrees."""
    given = FEEDBACK.c.at >= window[0].astimezone(UTC)  # for its index: it comes after what it is about
    agrees = sa.case((FEEDBACK.c.label == PREDICTIONS.c.label, 1), else_=0)
    query = (
        sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(agrees), 0))
        .join_from(FEEDBACK, PREDICTIONS, PREDICTIONS.c.id == FEEDBACK.c.prediction_id)
        .where(given, *_find_inside(window), PREDICTIONS.c.model_version == version)
    )
    count, right = connection.execute(query).one()
    return int(count), int(right)


def _find_inside(window: Window) -> tuple[sa.ColumnElement[bool], ...]:
    since, until = window
    return PREDICTIONS.c.at >= since.astimezone(UTC), PREDICTIONS.c.at < until.astimezone(UTC)
