"""The queries of the dashboard, with the parameters that its paths take."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from service.api.schemas import Everything, Search, Window

if TYPE_CHECKING:
    import sqlalchemy as sa

    from sentiment.database.evaluations import EvaluationRecord
    from sentiment.database.history import PredictionPage

Reading = Literal["read_activity", "read_latencies", "read_feedback", "read_agreement"]


@dataclass(frozen=True)
class Series:
    """What was counted between two times."""

    since: datetime
    until: datetime
    rows: Sequence[object]


def find_in_window(reading: Reading) -> "Callable[[Window, sa.Engine], Series]":
    """Return what finds, for a window, what a function of the history reads."""

    def find(window: Window, engine: "sa.Engine") -> Series:
        from sentiment.database import history

        until = datetime.now(UTC)
        since = until - timedelta(hours=window.hours)
        return Series(since, until, getattr(history, reading)(engine, since, until))

    return find


def find_predictions(search: Search, engine: "sa.Engine") -> "PredictionPage":
    """Return a page of the prediction history."""
    from sentiment.database.history import PredictionQuery, search_predictions

    query = PredictionQuery(
        text=search.text,
        label=search.label,
        model_version=search.version,
        uncertain=search.uncertain,
        identifier=search.id,
        before=search.before,
        limit=search.limit,
    )
    return search_predictions(engine, query)


def find_evaluations(_: Everything, engine: "sa.Engine") -> "list[EvaluationRecord]":
    """Return what evaluations measured, oldest first."""
    from sentiment.database.evaluations import select_evaluations

    return select_evaluations(engine)
