"""What the dashboard asks the database, as callers of its paths may say it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from service.api.errors import ApiError
from service.api.schemas import Everything, Problem, Search, Window

if TYPE_CHECKING:
    import sqlalchemy as sa

    from sentiment.database.evaluations import EvaluationRecord
    from sentiment.database.history import PredictionPage

Query = TypeVar("Query", bound=BaseModel)
Reading = Literal["read_activity", "read_latencies", "read_feedback", "read_agreement"]

REASONS = {"string_pattern_mismatch": "it is not the cursor of a page"}


@dataclass(frozen=True)
class Series:
    """What was counted between two times."""

    since: datetime
    until: datetime
    rows: Sequence[object]


def check_query(shape: type[Query], asked: Mapping[str, str]) -> Query:
    """Return the query; a parameter that is empty counts as left out. Raises RefusedError with what is wrong."""
    try:
        return shape.model_validate({name: value for name, value in asked.items() if value})
    except ValidationError as error:
        mistake = error.errors(include_url=False, include_input=False, include_context=False)[0]
        known = ", ".join(shape.model_fields) or "none"
        reason = (
            f"there is a parameter that is not known here; wanted {known}."
            if mistake["type"] == "extra_forbidden"
            else f"{mistake['loc'][0]} cannot be read: {REASONS.get(mistake['type'], mistake['msg'].lower())}."
        )
        problem = Problem(code="bad_query", message=reason)
        raise ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, problem) from None


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
