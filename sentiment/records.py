"""The table of evaluations, which monitoring reads: one row per model, dataset and time."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import sqlalchemy as sa

METADATA = sa.MetaData()

EVALUATIONS = sa.Table(
    "evaluations",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", sa.String(20), nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("version", sa.Text),
    sa.Column("candidate", sa.Text, nullable=False),
    sa.Column("bundle_digest", sa.String(64), nullable=False, index=True),
    sa.Column("dataset", sa.Text, nullable=False),
    sa.Column("dataset_digest", sa.String(64), nullable=False),
    sa.Column("rows", sa.Integer, nullable=False),
    sa.Column("macro_f1", sa.Float, nullable=False),
    sa.Column("macro_f1_low", sa.Float, nullable=False),
    sa.Column("macro_f1_high", sa.Float, nullable=False),
    sa.Column("accuracy", sa.Float, nullable=False),
    sa.Column("macro_precision", sa.Float, nullable=False),
    sa.Column("macro_recall", sa.Float, nullable=False),
    sa.Column("calibration_error", sa.Float, nullable=False),
    sa.Column("run", sa.Text, nullable=False),
)


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
    """Add the records, all or none, to the database at an SQLAlchemy URL; the table is made where it is missing."""
    engine = sa.create_engine(url)
    try:
        METADATA.create_all(engine, tables=[EVALUATIONS])
        with engine.begin() as connection:
            connection.execute(sa.insert(EVALUATIONS), [asdict(record) for record in records])
    finally:
        engine.dispose()


def read_evaluations(url: str) -> list[EvaluationRecord]:
    """Return every record, oldest first; none where there is no table yet."""
    engine = sa.create_engine(url)
    try:
        if not sa.inspect(engine).has_table(EVALUATIONS.name):
            return []
        columns = [column for column in EVALUATIONS.columns if column.name != "id"]
        with engine.connect() as connection:
            rows = connection.execute(sa.select(*columns).order_by(EVALUATIONS.c.id)).mappings()
            return [EvaluationRecord(**row) for row in rows]
    finally:
        engine.dispose()
