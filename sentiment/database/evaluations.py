"""The table of evaluations, which monitoring reads: one row per model, dataset and time."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import sqlalchemy as sa

from sentiment.database.connection import create_engine, open_database
from sentiment.database.schema import EVALUATIONS


@dataclass(frozen=True)
class EvaluationRecord:
    """One evaluation; `model` is how it was asked for, `at` is UTC in ISO 8601, `run` the MLflow run."""

    at: str
    model: str
    version: str | None
    candidate: str
    bundle_digest: str
    dataset: str
    dataset_digest: str
    rows: int
    macro_f1: float
    macro_f1_low: float
    macro_f1_high: float
    accuracy: float
    macro_precision: float
    macro_recall: float
    calibration_error: float
    run: str


def append_evaluations(url: str, records: Sequence[EvaluationRecord]) -> None:
    """Add the records, all or none, to the database at a URL."""
    if not records:
        return
    with open_database(url) as engine, engine.begin() as connection:
        connection.execute(sa.insert(EVALUATIONS), [asdict(record) for record in records])


def read_evaluations(url: str) -> list[EvaluationRecord]:
    """Return every record of the database at a URL, oldest first."""
    with open_database(url) as engine:
        return select_evaluations(engine)


def select_evaluations(engine: sa.Engine) -> list[EvaluationRecord]:
    """Return every record, oldest first."""
    with engine.connect() as connection:
        return _read(connection)


def read_newest_evaluations(url: str, bundle_digest: str) -> list[EvaluationRecord]:
    """Return the last record of a bundle on each dataset, by the dataset's name.

    Raises sqlalchemy's errors where there is no such table: nothing is made.
    """
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            newest = {
                record.dataset: record for record in _read(connection, EVALUATIONS.c.bundle_digest == bundle_digest)
            }
    finally:
        engine.dispose()
    return [newest[dataset] for dataset in sorted(newest)]


def _read(connection: sa.Connection, *conditions: sa.ColumnElement[bool]) -> list[EvaluationRecord]:
    columns = [column for column in EVALUATIONS.columns if column.name != "id"]
    rows = connection.execute(sa.select(*columns).where(*conditions).order_by(EVALUATIONS.c.id)).mappings()
    return [EvaluationRecord(**row) for row in rows]
