"""The rows of one person are found and removed, and nobody else's, alike in both databases."""

from typing import Any

import pytest
import sqlalchemy as sa

from sentiment.database.connection import open_database
from sentiment.database.persons import Kept, Trace, count_kept, find_rows, remove_rows, vacuum
from sentiment.database.predictions import add_feedback, add_predictions, add_shadow_predictions
from sentiment.database.schema import ACTIVITY, FEEDBACK, PREDICTIONS, SHADOW_PREDICTIONS
from sentiment.errors import DatabaseError
from service.api.ids import make_id
from tests.unit.sentiment.database.test_history import NOW, make_row

ANN, BOB = "a" * 64, "b" * 64
NOBODY: dict[str, list[Any]] = {"prediction": [], "feedback": [], "shadow": []}
ROWS = [
    make_row(0, text="mail [email]", characters=20, subject=ANN, request_id="one"),
    make_row(1, text="mail [email]", characters=21, subject=BOB, request_id="two"),
    make_row(2, text=None, text_digest="d" * 64, characters=7, subject=None, request_id="three"),
    make_row(3, text=None, characters=7, subject=None, request_id="one"),
]
TRACES = {
    "a text as it is redacted, by its length": (Trace(["mail me@x.org, me!!!", "mail [email]"], 20), [0]),
    "a text of another length": (Trace(["mail [email]"], 19), []),
    "a near text": (Trace(["mail  [email]"], 20), []),
    "a digest": (Trace(digests=["d" * 64, "e" * 64]), [2]),
    "a request": (Trace(request_id="one"), [0, 3]),
    "a part of a request": (Trace(request_id="o"), []),
    "a subject": (Trace(subject=BOB), [1]),
    "nothing": (Trace(), []),
    "nothing of a length": (Trace(characters=7), []),
}


@pytest.fixture
def filled(engine: sa.Engine) -> sa.Engine:
    """A database with rows of several persons; each prediction has feedback and a shadow answer."""
    with engine.begin() as connection:
        add_predictions(connection, ROWS)
        for row in ROWS:
            given = {"id": make_id(), "at": NOW, "prediction_id": row["id"], "label": "negative"}
            add_feedback(connection, [{**given, "request_id": f"f-{row['request_id']}", "subject": None}])
            spoken = {"champion_label": "positive", "confidence": 0.5, "scores": {}, "latency_ms": 1.0}
            named = {"model_version": "5", "model_digest": "e" * 64}
            add_shadow_predictions(connection, [{**given, **spoken, **named}])
    return engine


def count(engine: sa.Engine, *tables: sa.Table) -> list[int]:
    with engine.connect() as connection:
        return [connection.scalar(sa.select(sa.func.count()).select_from(table)) for table in tables]


@pytest.mark.parametrize(("trace", "numbers"), TRACES.values(), ids=TRACES)
def test_the_rows_of_a_person_are_found(filled, trace, numbers):
    """A person is found by what is kept, with what is about his answers; a row without a subject is nobody's."""
    with filled.connect() as connection:
        found = find_rows(connection, trace, [])
    wanted = [ROWS[number]["id"] for number in numbers]

    assert [row["id"] for row in found["prediction"]] == wanted
    assert sorted(row["prediction_id"] for row in found["feedback"]) == sorted(wanted)
    assert sorted(row["prediction_id"] for row in found["shadow"]) == sorted(wanted)


def test_what_is_about_an_answer_that_waits_is_found(filled):
    """Feedback on a prediction that is still in the spool is found by the id of the prediction."""
    with filled.connect() as connection:
        found = find_rows(connection, Trace(), [ROWS[2]["id"]])

    assert [len(rows) for rows in found.values()] == [0, 1, 1]


@pytest.mark.parametrize("trace", [Trace(request_id="f-two"), Trace(subject=ANN)], ids=["request", "subject"])
def test_feedback_is_found_by_what_it_came_with(filled, trace):
    """What a person said is his, whoever's answer it is about."""
    with filled.begin() as connection:
        connection.execute(sa.update(FEEDBACK).where(FEEDBACK.c.request_id == "f-two").values(subject=ANN))
        found = find_rows(connection, trace, [])

    assert "f-two" in {row["request_id"] for row in found["feedback"]}


def test_rows_are_removed_and_nobody_elses(filled):
    """The rows that were found go from every table; others and the rollup stay."""
    before = count(filled, ACTIVITY)
    with filled.begin() as connection:
        remove_rows(connection, find_rows(connection, Trace(request_id="one"), []))
    with filled.connect() as connection:
        left = connection.scalars(sa.select(PREDICTIONS.c.id).order_by(PREDICTIONS.c.id)).all()
        again = find_rows(connection, Trace(request_id="one"), [])

    assert (left, again) == ([ROWS[1]["id"], ROWS[2]["id"]], NOBODY)
    assert count(filled, FEEDBACK, SHADOW_PREDICTIONS, ACTIVITY) == [2, 2, *before]


def test_more_rows_than_a_statement_takes_are_found_and_removed(engine):
    """A person who asked much is forgotten whole."""
    with engine.begin() as connection:
        add_predictions(connection, [make_row(id=make_id(), subject=ANN) for _ in range(1200)])
        rows = find_rows(connection, Trace(subject=ANN), [])
        remove_rows(connection, rows)

    assert (len(rows["prediction"]), count(engine, PREDICTIONS)) == (1200, [0])


def test_what_is_kept_of_texts_is_counted(filled):
    """It is known how many rows a text could find."""
    with filled.connect() as connection:
        assert count_kept(connection) == Kept(texts=2, digests=1, neither=1)


def test_a_vacuum_leaves_the_rows(filled):
    """What was not removed is there afterwards."""
    vacuum(filled)

    assert count(filled, PREDICTIONS, FEEDBACK, SHADOW_PREDICTIONS) == [4, 4, 4]


@pytest.mark.postgres
def test_a_vacuum_that_postgresql_skips_is_an_error(postgres):
    """PostgreSQL only warns a role that may not vacuum; here it is said."""
    url = sa.engine.make_url(postgres.create_database()).set(drivername="postgresql+psycopg")
    with open_database(url.render_as_string(hide_password=False)) as owner, owner.begin() as connection:
        connection.exec_driver_sql("CREATE ROLE reader LOGIN PASSWORD 'r'")
        connection.exec_driver_sql("GRANT ALL ON ALL TABLES IN SCHEMA public TO reader")
    engine = sa.create_engine(url.set(username="reader", password="r"))
    try:
        with pytest.raises(DatabaseError, match="predictions"):
            vacuum(engine)
    finally:
        engine.dispose()
