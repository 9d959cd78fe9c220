"""Rows of the prediction log on their way into the database: each is there once, however often it is added."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from sentiment.database.rollup import add_activity
from sentiment.database.schema import FEEDBACK, PREDICTIONS, SHADOW_PREDICTIONS
from sentiment.errors import DatabaseError

Rows = Sequence[Mapping[str, Any]]


def add_predictions(connection: sa.Connection, rows: Rows) -> None:
    """Add predictions, and to the rollup those that were not there.

    Raises DatabaseError, for the transaction to be done again, when another process adds one of them just now.
    """
    known = set(
        connection.scalars(sa.select(PREDICTIONS.c.id).where(PREDICTIONS.c.id.in_([row["id"] for row in rows])))
    )
    new = list({row["id"]: row for row in reversed(rows) if row["id"] not in known}.values())[::-1]
    if not new:
        return
    # Four times as fast in PostgreSQL as to have it return what it inserted.
    counted = {"preserve_rowcount": True}
    added = connection.execute(_insert_new(connection, PREDICTIONS), new, execution_options=counted).rowcount
    if added != len(new):
        raise DatabaseError(
            f"another process added {len(new) - added} of {len(new)} predictions; they are added again."
        )
    add_activity(connection, new)


def add_feedback(connection: sa.Connection, rows: Rows) -> None:
    """Add feedback, with what its prediction said where that is there."""
    about = sa.bindparam("about", type_=PREDICTIONS.c.id.type)
    said = sa.select(PREDICTIONS.c.label).where(PREDICTIONS.c.id == about).scalar_subquery()
    statement = _insert_new(connection, FEEDBACK).values(said=said)
    connection.execute(statement, [{**row, "about": row["prediction_id"]} for row in rows])


def add_shadow_predictions(connection: sa.Connection, rows: Rows) -> None:
    """Add what shadow models said."""
    connection.execute(_insert_new(connection, SHADOW_PREDICTIONS), rows)


def _insert_new(connection: sa.Connection, table: sa.Table) -> Any:
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    return insert(table).on_conflict_do_nothing(index_elements=["id"])
