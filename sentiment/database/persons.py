"""The rows of one person: found by a text, a request or a subject, and removed for good."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from sentiment.database.schema import FEEDBACK, PREDICTIONS, SHADOW_PREDICTIONS
from sentiment.errors import DatabaseError

Row = Mapping[str, Any]
TABLES = {"prediction": PREDICTIONS, "feedback": FEEDBACK, "shadow": SHADOW_PREDICTIONS}
IDS_PER_STATEMENT = 500


@dataclass(frozen=True)
class Trace:
    """What rows are known by: the forms and digests of one text of so many characters, one request, or one subject."""

    texts: Sequence[str] = ()
    characters: int = 0
    digests: Sequence[str] = ()
    request_id: str | None = None
    subject: str | None = None


@dataclass(frozen=True)
class Kept:
    """How many predictions have a text, a digest of one, or neither."""

    texts: int
    digests: int
    neither: int


def find_rows(connection: sa.Connection, trace: Trace, ids: Iterable[str]) -> dict[str, list[Row]]:
    """Return the rows of a person by their kind, with whatever is about predictions of these ids, wherever they are."""
    predictions = _read(connection, PREDICTIONS, _match(trace))
    about = [*{*ids, *(row["id"] for row in predictions)}]
    others = {}
    for kind in ("feedback", "shadow"):
        table = TABLES[kind]
        found = [row for some in _chunk(about) for row in _read(connection, table, table.c.prediction_id.in_(some))]
        if table is FEEDBACK:
            found += _read(connection, FEEDBACK, _name(FEEDBACK, trace))
        others[kind] = list({row["id"]: row for row in found}.values())
    return {"prediction": predictions, **others}


def remove_rows(connection: sa.Connection, rows: Mapping[str, Sequence[Row]]) -> None:
    """Remove rows of each kind. What the rollup counted stays: it holds nothing of a person."""
    for kind, found in rows.items():
        for some in _chunk([row["id"] for row in found]):
            connection.execute(sa.delete(TABLES[kind]).where(TABLES[kind].c.id.in_(some)))


def count_kept(connection: sa.Connection) -> Kept:
    """Return what there is of the texts of all predictions."""
    row = PREDICTIONS.c
    counts = sa.select(sa.func.count(), sa.func.count(row.text), sa.func.count(row.text_digest))
    total, texts, digests = connection.execute(counts).one()
    return Kept(texts, digests, total - texts - digests)


def vacuum(engine: sa.Engine) -> None:
    """Give free what removed rows took, so that no page holds them.

    Raises DatabaseError where the database does not let us, sqlalchemy's errors where it is away or busy.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("VACUUM")
            if connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0]:
                raise DatabaseError("a reader keeps the old pages in the -wal file; run it again when nobody reads.")
            return
        said: list[str] = []
        driver: Any = connection.connection.driver_connection
        driver.add_notice_handler(lambda notice: said.append(notice.message_primary))
        for table in TABLES.values():
            connection.exec_driver_sql(f"VACUUM {table.name}")
        if said:
            raise DatabaseError(f"PostgreSQL says: {said[0]}; have the owner of the tables vacuum them.")


def _match(trace: Trace) -> sa.ColumnElement[bool]:
    """Return the condition that a prediction is the person's; what the trace does not name would keep indexes out."""
    row, conditions = PREDICTIONS.c, [_name(PREDICTIONS, trace)]
    if trace.texts:
        conditions.append(sa.and_(row.text.in_(trace.texts), row.characters == trace.characters))
    if trace.digests:
        conditions.append(row.text_digest.in_(trace.digests))
    return sa.or_(*conditions)


def _name(table: sa.Table, trace: Trace) -> sa.ColumnElement[bool]:
    """Return the condition that a row has the request or the subject; one that the trace does not name fits no row."""
    named = ((table.c.request_id, trace.request_id), (table.c.subject, trace.subject))
    return sa.or_(sa.false(), *(column == value for column, value in named if value is not None))


def _read(connection: sa.Connection, table: sa.Table, condition: sa.ColumnElement[bool]) -> list[Row]:
    return [dict(row) for row in connection.execute(sa.select(table).where(condition)).mappings()]


def _chunk(ids: Sequence[str]) -> Iterator[tuple[str, ...]]:
    return (tuple(ids[start : start + IDS_PER_STATEMENT]) for start in range(0, len(ids), IDS_PER_STATEMENT))
