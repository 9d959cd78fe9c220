"""Questions to the prediction log are answered from rollups, indexes and bounded scans, alike in both databases."""

from datetime import UTC, datetime, timedelta
from typing import Any

import alembic.command
import pytest
import sqlalchemy as sa
from alembic.config import Config

from sentiment.database import history as module
from sentiment.database import predictions as records
from sentiment.database.connection import MIGRATIONS, open_database
from sentiment.database.history import (
    Activity,
    AgreementCount,
    FeedbackCount,
    PredictionQuery,
    read_activity,
    read_agreement,
    read_feedback,
    read_latencies,
    search_predictions,
)
from sentiment.database.predictions import add_feedback, add_predictions
from sentiment.database.rollup import MINUTES_KEPT, find_latency_bucket, remove_activity, roll_up
from sentiment.database.schema import ACTIVITY, FEEDBACK, PREDICTIONS, SHADOW_PREDICTIONS
from sentiment.errors import DatabaseError
from service.api.ids import make_id

NOW = datetime(2026, 3, 4, 12, 30, tzinfo=UTC)
HOUR = datetime(2026, 3, 4, 12, tzinfo=UTC)
DAY = timedelta(days=1)
PLAIN_SIGNS = [
    "100%",
    "snake_case",
    "it's",
    'a "quote"',
    "back\\slash",
    "a*b?c",
    "[x]",
    "'; DROP TABLE predictions; --",
    "é*b?[c]^.d(e)|\\f{1}$+é%_g",
]


def make_row(number: int = 0, **values: Any) -> dict[str, Any]:
    """Return a row of a prediction; a higher number is newer by a minute."""
    at = values.pop("at", NOW + timedelta(minutes=number))
    words = {"request_id": f"r{number}", "text": f"text {number}", "label": "positive", "model_version": "4"}
    numbers = {"characters": 4, "tokens": 3, "confidence": 0.5, "latency_ms": 1.5}
    given = {**words, **numbers, "uncertain": False, "truncated": False, **values}
    number_of_id = round(at.timestamp() * 1000) << 80 | 7 << 76 | 2 << 62 | number % 100_000
    plain = f"{number_of_id:032x}"
    name = "-".join((plain[:8], plain[8:12], plain[12:16], plain[16:20], plain[20:]))
    return {"id": name, "at": at, "text_digest": None, "scores": {"positive": 0.5}, "model_digest": "d" * 64, **given}


def store(engine: sa.Engine, *rows: dict[str, Any]) -> None:
    """Store predictions as the shipper does."""
    with engine.begin() as connection:
        add_predictions(connection, rows)


def find_numbers(engine: sa.Engine, **values: Any) -> list[str]:
    """Return the request ids of what a search finds."""
    return [row.request_id for row in search_predictions(engine, PredictionQuery(**values)).rows]


def test_activity_sums_what_was_answered(engine):
    """Each version and label of an hour has its counts and its mean confidence."""
    store(engine, make_row(0), make_row(1, confidence=0.75, uncertain=True), make_row(2, label="negative"))
    store(engine, make_row(3, confidence=0.25, truncated=True))

    found = read_activity(engine, NOW - DAY, NOW + DAY, clock=lambda: NOW)
    assert found == [
        Activity(HOUR, 3600, "4", "negative", 1, 0, 0, 0.5),
        Activity(HOUR, 3600, "4", "positive", 3, 1, 1, 0.5),
    ]


def test_a_short_window_is_told_by_the_minute(engine):
    """Six hours or less show minutes, as long as minutes are kept; after that hours."""
    store(engine, make_row(0), make_row(1), make_row(1, request_id="again", id=make_id()))

    by_minute = read_activity(engine, NOW, NOW + timedelta(hours=6), clock=lambda: NOW)
    assert [(one.start, one.period_seconds, one.predictions) for one in by_minute] == [
        (NOW, 60, 1),
        (NOW + timedelta(minutes=1), 60, 2),
    ]
    later = read_activity(engine, NOW, NOW + timedelta(hours=6), clock=lambda: NOW + 3 * DAY)
    assert [(one.start, one.period_seconds, one.predictions) for one in later] == [(HOUR, 3600, 3)]


@pytest.mark.parametrize("days", [0.1, 0.3, 7, 16, 17, 90, 365, 4000])
def test_a_chart_has_a_few_hundred_points_at_most(days):
    """However long the window, there are about 400 periods."""
    seconds = module._choose_period(NOW - timedelta(days=days), NOW, NOW)
    assert days * 86_400 / seconds <= 400
    assert seconds == 60 or 86_400 % seconds == 0 or seconds % 86_400 == 0


def test_a_long_window_joins_hours(engine):
    """Hours of one step are one point, with the sums of all."""
    store(engine, *(make_row(60 * hour) for hour in range(-12, 12)))

    found = read_activity(engine, NOW - 90 * DAY, NOW + DAY, clock=lambda: NOW)
    assert [(one.start.hour, one.period_seconds, one.predictions) for one in found] == [
        (0, 6 * 3600, 6),
        (6, 6 * 3600, 6),
        (12, 6 * 3600, 6),
        (18, 6 * 3600, 6),
    ]


def test_a_time_in_another_zone_is_the_same_time(engine):
    """A window may be given in any zone."""
    store(engine, make_row())
    zone = NOW.astimezone().tzinfo
    elsewhere = [(NOW + shift).astimezone(zone) for shift in (-DAY, DAY)]
    assert len(read_activity(engine, *elsewhere, clock=lambda: NOW)) == 1


def test_latencies_lie_within_their_bucket(engine):
    """The median and the 95th percentile are within 26% of what was measured."""
    store(engine, *(make_row(number, at=NOW, latency_ms=float(number)) for number in range(1, 101)))

    (point,) = read_latencies(engine, NOW - DAY, NOW + DAY, clock=lambda: NOW)
    assert (point.start, point.predictions) == (HOUR, 100)
    assert point.p50_ms == pytest.approx(50, rel=0.05)
    assert point.p95_ms == pytest.approx(95, rel=0.05)


@pytest.mark.parametrize(("latency_ms", "bucket"), [(0, 1), (1, 1), (1.01, 1.26), (4, 4), (1e9, 65536)])
def test_every_latency_has_a_bucket(latency_ms, bucket):
    """Nothing is too fast or too slow to be counted."""
    assert find_latency_bucket(latency_ms) == bucket


@pytest.mark.parametrize("values", [{"confidence": float("nan")}, {"latency_ms": float("inf")}, {"latency_ms": "1"}])
def test_a_row_without_numbers_is_refused(values):
    """What would spoil a sum for ever is an error of its row."""
    with pytest.raises((ValueError, TypeError)):
        roll_up([make_row(**values)])


def test_minutes_go_after_two_days_and_hours_stay(engine):
    """The rollup by minute is short; the one by hour is as long as rows are kept."""
    store(engine, make_row(at=NOW - MINUTES_KEPT - timedelta(minutes=1)), make_row(1))
    with engine.begin() as connection:
        remove_activity(connection, NOW - 90 * DAY, NOW)
        left = connection.execute(sa.select(ACTIVITY.c.period_seconds, sa.func.count()).group_by("period_seconds"))
        assert sorted(map(tuple, left)) == [(60, 1), (3600, 2)]
        remove_activity(connection, HOUR - DAY, NOW)
        assert connection.scalar(sa.select(sa.func.count()).select_from(ACTIVITY)) == 2


def test_rows_from_before_the_rollup_are_in_it(engine):
    """A database of the first version is rolled up when it is migrated, as its rows would have been one by one."""
    recent = datetime.now(UTC).replace(microsecond=5)
    ages = (timedelta(0), timedelta(minutes=3), 3 * DAY, 80 * DAY)
    rows = [
        make_row(number, at=recent - age, latency_ms=latency_ms, uncertain=number % 2 == 0)
        for number, (age, latency_ms) in enumerate((age, ms) for age in ages for ms in (0.0, 1.26, 7.7, 1e6))
    ]
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        alembic.command.downgrade(config, "0001")
        connection.execute(sa.insert(PREDICTIONS), rows)
    with open_database(engine.url.render_as_string(hide_password=False)) as migrated, migrated.connect() as connection:
        columns = [column for column in ACTIVITY.columns if column.name != "start"]
        found = connection.execute(sa.select(*columns, sa.extract("epoch", ACTIVITY.c.start))).all()
    wanted = [
        (*(row[column.name] for column in columns), row["start"].timestamp())
        for row in roll_up(rows)
        if row["period_seconds"] == 3600 or row["start"] > recent - MINUTES_KEPT
    ]
    assert sorted(map(tuple, found)) == sorted(wanted)


def test_rows_from_before_subjects_stay_whole_in_both_directions(engine):
    """A database with rows gets the columns for subjects and loses them again, and nothing else of its rows changes."""
    rows, said = [make_row(number) for number in range(3)], {"id": make_id(), "at": NOW, "label": "negative"}
    store(engine, *rows)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    kept = [column for column in PREDICTIONS.columns if column.name != "subject"]
    read = sa.select(*kept).order_by(PREDICTIONS.c.id)
    with engine.begin() as connection:
        add_feedback(connection, [{**said, "prediction_id": rows[0]["id"], "request_id": "f"}])
        before = connection.execute(read).all()
    for direction, columns in (("downgrade", 0), ("upgrade", 2)):
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            getattr(alembic.command, direction)(config, "0002" if direction == "downgrade" else "head")
            found = [sa.inspect(connection).get_columns(table) for table in ("predictions", "feedback")]
            assert sum(column["name"] == "subject" for one in found for column in one) == columns
            assert connection.execute(read).all() == before
    with engine.connect() as connection:
        assert connection.scalar(sa.select(FEEDBACK.c.said)) == "positive"
        assert connection.scalar(sa.select(PREDICTIONS.c.subject).limit(1)) is None
        indexed = {index["name"] for index in sa.inspect(connection).get_indexes("predictions")}
    assert "ix_predictions_subject" in indexed


def test_the_newest_predictions_come_first_page_by_page(engine):
    """Pages follow each other without a gap or a repetition, and the last one says that it is the last."""
    store(engine, *(make_row(number) for number in range(5)))
    pages, cursor = [], None
    for _ in range(3):
        page = search_predictions(engine, PredictionQuery(limit=2, before=cursor))
        pages.append([row.request_id for row in page.rows])
        cursor = page.before

    assert pages == [["r4", "r3"], ["r2", "r1"], ["r0"]]
    assert (cursor, page.looked_at, page.reached) == (None, 1, NOW)


def test_a_row_of_a_page_is_the_row_of_the_database(engine):
    """A page shows all of a prediction, its time in UTC, and what feedback says, oldest first."""
    row = make_row()
    store(engine, row)
    said = [
        {"id": make_id(), "at": NOW + timedelta(minutes=minutes), "prediction_id": row["id"], "label": label}
        for minutes, label in [(2, "neutral"), (1, "negative")]
    ]
    with engine.begin() as connection:
        connection.execute(sa.insert(FEEDBACK), [{**one, "request_id": "f"} for one in said])

    (found,) = search_predictions(engine, PredictionQuery()).rows
    assert vars(found) == {**row, "feedback": ("negative", "neutral")}
    assert found.at.utcoffset() == timedelta(0)


def test_predictions_are_found_by_what_they_are(engine):
    """Label, version, uncertainty and text hold together."""
    store(
        engine,
        make_row(0, label="negative"),
        make_row(1, model_version="5", uncertain=True),
        make_row(2, uncertain=True),
    )

    assert find_numbers(engine, label="negative") == ["r0"]
    assert find_numbers(engine, model_version="5") == ["r1"]
    assert find_numbers(engine, uncertain=False) == ["r0"]
    assert find_numbers(engine, uncertain=True, model_version="4", text="TEXT") == ["r2"]
    assert find_numbers(engine, uncertain=True, label="negative") == []


@pytest.mark.parametrize("text", PLAIN_SIGNS)
def test_signs_of_a_searched_text_are_plain(engine, text):
    """No sign stands for others or ends the query."""
    store(engine, make_row(0, text=f"so {text} it is"), make_row(1, text="100 snakeXcase it s back/slash aXbXc x"))

    assert find_numbers(engine, text=text) == ["r0"]
    assert find_numbers(engine, text=text.upper()) == ["r0"]


@pytest.mark.parametrize("text", ["ÉTÉ À", "été à", "Été à", "ПРИВЕТ", "привет", "\N{GRINNING FACE}", "straße"])
def test_letters_of_any_alphabet_are_found_in_any_case(engine, text):
    """Beyond ASCII, too, a search does not care for case."""
    store(engine, make_row(0, text="Un été À Paris; Привет straße \N{GRINNING FACE}"), make_row(1, text="ete a"))
    assert find_numbers(engine, text=text) == ["r0"]


def test_a_text_that_no_database_keeps_is_not_found(engine):
    """NUL is in no row and no error."""
    store(engine, make_row())
    assert [find_numbers(engine, **{name: "a\0"}) for name in ("text", "label", "model_version", "identifier")] == [
        []
    ] * 4


def test_a_prediction_is_found_by_its_id_and_by_its_request(engine):
    """An identifier is that of a prediction or of a request, which may have many."""
    rows = [make_row(number, request_id="batch") for number in range(3)]
    store(engine, *rows, make_row(3, request_id=make_id()))

    by_id = search_predictions(engine, PredictionQuery(identifier=rows[1]["id"]))
    assert ([row.id for row in by_id.rows], by_id.looked_at, by_id.before) == ([rows[1]["id"]], 1, None)
    first = search_predictions(engine, PredictionQuery(identifier="batch", limit=2))
    second = search_predictions(engine, PredictionQuery(identifier="batch", limit=2, before=first.before))
    assert [row.id for row in (*first.rows, *second.rows)] == [row["id"] for row in reversed(rows)]
    assert find_numbers(engine, identifier="nothing") == []


def test_a_search_looks_at_so_many_rows_and_says_how_far_it_came(engine, monkeypatch):
    """A search that finds nothing in its stretch gives a cursor to look further back with, until there is no more."""
    monkeypatch.setattr(module, "MAX_ROWS_SEARCHED", 2)
    store(engine, make_row(0, text="needle"), *(make_row(number) for number in range(1, 5)))
    seen, cursor = [], None
    while not seen or cursor:
        page = search_predictions(engine, PredictionQuery(text="needle", before=cursor))
        seen.append((len(page.rows), page.looked_at, page.reached))
        cursor = page.before

    assert seen == [(0, 2, NOW + timedelta(minutes=3)), (0, 2, NOW + timedelta(minutes=1)), (1, 1, NOW)]


def test_a_cursor_that_is_none_is_refused(engine):
    """A cursor is what a page gave."""
    with pytest.raises(ValueError):
        search_predictions(engine, PredictionQuery(before="yesterday"))


def test_an_empty_log_answers_every_question(engine):
    """Before the first prediction there is nothing, and no error."""
    window = (NOW - DAY, NOW)
    asked = (read_activity, read_latencies, read_feedback, read_agreement)
    assert [ask(engine, *window) for ask in asked] == [[], [], [], []]
    page = search_predictions(engine, PredictionQuery(text="a"))
    assert (page.rows, page.looked_at, page.reached, page.before) == ((), 0, None, None)


def test_feedback_is_compared_with_what_was_said(engine):
    """Feedback is counted by the label that was said and the one it should have been, even where it came first."""
    rows = [make_row(number) for number in range(3)]
    store(engine, *rows[:2])
    said = [(rows[0]["id"], "positive"), (rows[1]["id"], "negative"), (rows[2]["id"], "negative"), (make_id(), "x")]
    feedback = [
        {"id": make_id(), "at": NOW, "prediction_id": one, "label": label, "request_id": "f"} for one, label in said
    ]
    with engine.begin() as connection:
        add_feedback(connection, [*feedback, {**feedback[0], "id": make_id(), "at": NOW - DAY}])
    store(engine, rows[2])

    assert read_feedback(engine, NOW - timedelta(hours=1), NOW + DAY) == [
        FeedbackCount("positive", "negative", 2),
        FeedbackCount("positive", "positive", 1),
    ]


def test_shadow_answers_are_compared_with_the_champion(engine, monkeypatch):
    """Agreement is counted by version and labels, over the newest answers of the window."""
    monkeypatch.setattr(module, "MAX_SHADOW_ANSWERS", 3)
    answers = [("negative", NOW - timedelta(hours=1)), ("negative", NOW), ("positive", NOW), ("positive", NOW)]
    with engine.begin() as connection:
        connection.execute(
            sa.insert(SHADOW_PREDICTIONS),
            [
                {"id": make_id(), "at": at, "prediction_id": make_id(), "champion_label": "positive", "label": label}
                | {"confidence": 0.5, "scores": {}, "model_version": "5", "model_digest": "d", "latency_ms": 1.0}
                for label, at in answers
            ],
        )

    assert read_agreement(engine, NOW - DAY, NOW + DAY) == [
        AgreementCount("5", "positive", "negative", 1),
        AgreementCount("5", "positive", "positive", 2),
    ]


def test_a_prediction_that_another_process_adds_just_now_counts_once(engine, refuses):
    """Of two that add one row at once, one starts again, so that the rollup counts the row once."""
    row = make_row()
    insert_new = records._insert_new

    def insert_late(connection: sa.Connection, table: sa.Table) -> Any:
        monkeypatch.undo()
        with engine.begin() as other:
            add_predictions(other, [row])
        return insert_new(connection, table)

    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(records, "_insert_new", insert_late)
    with refuses(DatabaseError), engine.begin() as connection:
        add_predictions(connection, [row, make_row(1)])
    store(engine, row, make_row(1))
    found = read_activity(engine, NOW - DAY, NOW + DAY, clock=lambda: NOW)
    assert [one.predictions for one in found] == [2]
