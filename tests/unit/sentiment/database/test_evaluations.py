"""The table of evaluations that monitoring reads."""

from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from sentiment.database.evaluations import EvaluationRecord, append_evaluations, read_evaluations

RECORD = EvaluationRecord(
    at="2026-01-02T03:04:05Z",
    model="production",
    version="3",
    candidate="svm",
    bundle_digest="b" * 64,
    dataset="bundled",
    dataset_digest="d" * 64,
    rows=347,
    macro_f1=0.75,
    macro_f1_low=0.5,
    macro_f1_high=0.875,
    accuracy=0.75,
    macro_precision=0.75,
    macro_recall=0.75,
    calibration_error=0.125,
    run="r",
)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/records.db"


def test_a_database_that_is_not_there_has_no_records(url: str, tmp_path: Path):
    """Asking before the first evaluation is no error, and makes the database."""
    assert read_evaluations(url) == []
    assert (tmp_path / "records.db").is_file()


def test_no_records_add_nothing(url: str):
    """A run that evaluated nothing is no error and leaves no row."""
    append_evaluations(url, [])
    assert read_evaluations(url) == []


def test_records_come_back_in_the_order_they_were_added(url: str):
    """Two runs add to one table."""
    append_evaluations(url, [RECORD])
    append_evaluations(url, [replace(RECORD, model="path/to/bundle", version=None), replace(RECORD, rows=1)])
    assert read_evaluations(url) == [
        RECORD,
        replace(RECORD, model="path/to/bundle", version=None),
        replace(RECORD, rows=1),
    ]


def test_a_record_that_cannot_be_kept_keeps_its_neighbours_out(url: str):
    """All or none: a run is never half in the table."""
    append_evaluations(url, [RECORD])
    with pytest.raises(sa.exc.IntegrityError):
        append_evaluations(url, [RECORD, replace(RECORD, dataset=None)])
    assert read_evaluations(url) == [RECORD]
