"""Rows and files of rejected entries go when they are older than the log keeps them."""

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from sentiment.database.connection import open_database
from service.api.ids import make_id
from service.prediction_log.retention import remove_expired
from service.prediction_log.spool import REJECTED_FILES
from tests.unit.service.prediction_log.conftest import FEEDBACK, PREDICTION, make_predictions

NOW = datetime(2024, 6, 1, tzinfo=UTC)


def at(days: float) -> float:
    """Return the time so many days ago."""
    return (NOW - timedelta(days=days)).timestamp()


def test_rows_that_are_too_old_are_removed(bench):
    """What is older than it may become goes from both tables, and nothing else does."""
    old, young = make_predictions(2)
    bench.store(replace(old, at=at(90.01)), replace(young, at=at(89.99)))
    bench.store(replace(FEEDBACK, at=at(91), label="old"), replace(FEEDBACK, id=make_id(), at=at(1), label="young"))
    bench.make_shipper(retention_days=90, clock=NOW.timestamp).tick()

    assert (bench.read(), bench.read("label", "feedback")) == (["1"], ["young"])


def test_the_rollup_by_minute_is_kept_for_two_days(bench):
    """Minutes go after two days, hours with their rows; where rows stay for ever hours do, too."""
    ages = {"minutes": timedelta(days=3), "all": timedelta(days=91), "none": timedelta(hours=1)}
    bench.store(*(replace(PREDICTION, id=make_id(), at=(NOW - age).timestamp()) for age in ages.values()))
    forever = bench.make_shipper(clock=NOW.timestamp)
    forever.tick()
    assert bench.count_activity() == {60: 1, 3600: 3}
    bench.end(forever)

    bench.make_shipper(retention_days=90, clock=NOW.timestamp).tick()
    assert bench.count_activity() == {60: 1, 3600: 2}


def test_rows_are_kept_for_ever_where_that_is_wanted(bench):
    """Zero days of retention remove nothing."""
    bench.store(replace(PREDICTION, at=at(40_000)), replace(FEEDBACK, at=0.0))
    bench.make_shipper(retention_days=0, clock=NOW.timestamp).tick()

    assert (bench.read(), bench.read("label", "feedback")) == (["good"], ["negative"])


def test_more_old_rows_than_a_statement_removes_are_all_removed(bench):
    """A table that was never tidied up is tidied up at once."""
    bench.store(*make_predictions(5, at=at(100)), *make_predictions(1, at=at(1)))
    bench.make_shipper(clock=NOW.timestamp).tick()
    with open_database(f"sqlite:///{bench.database}") as engine:
        remove_expired(engine, bench.folder, days=90, now=NOW.timestamp(), rows_per_deletion=2)

    assert bench.read() == ["0"]


@pytest.mark.parametrize(
    ("days", "left"), [(90, ["rejected-young.jsonl"]), (0, ["rejected-young.jsonl", "rejected.jsonl"])]
)
def test_what_was_put_aside_is_kept_as_long_as_rows(bench, days, left):
    """A file of rejected entries goes when its last one is as old as rows may become, and stays where rows do."""
    for name, age in (("rejected.jsonl", timedelta(days=91)), ("rejected-young.jsonl", timedelta(days=89))):
        (bench.folder / name).write_bytes(b"damaged\n")
        os.utime(bench.folder / name, times=((NOW - age).timestamp(),) * 2)
    bench.make_shipper(retention_days=days, clock=NOW.timestamp).tick()

    assert sorted(path.name for path in bench.folder.glob(REJECTED_FILES)) == left
