"""`python -m benchmarks.prediction_log`: how fast a prediction log of ten million rows answers and grows.

`fill` makes a log of 90 days in a database with the schema of before the rollup, and goes on where it was stopped;
`migrate` brings it to the newest schema, which rolls it up; `ask` and `ship` measure.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import alembic.command
import click
import sqlalchemy as sa
from alembic.config import Config
from sqlalchemy.dialects import postgresql, sqlite

from sentiment.database.connection import MIGRATIONS, create_engine, migrate
from sentiment.database.history import (
    PredictionQuery,
    read_activity,
    read_agreement,
    read_feedback,
    read_latencies,
    search_predictions,
)
from sentiment.database.schema import PREDICTIONS
from service.api.ids import make_id
from service.prediction_log.entries import EntryKind, PredictionEntry, write_line
from service.prediction_log.shipper import Shipper
from service.prediction_log.spool import Spool

DAYS = 90
ROWS_PER_PIECE = 250_000
SPOOL_BYTES = 1_000_000_000
SENTENCE = "the phone battery was great but then the screen broke and nobody answered my mail about it"
SUBJECTS = ("I think", "Honestly", "My sister says", "After a week", "For this price", "Again", "To be fair")

# One row per number `n`: its time, and three numbers between 0 and 1 that look like chance.
NUMBERS = {
    "sqlite": """
        with recursive counted(n) as (select :first union all select n + 1 from counted where n < :last),
    """,
    "postgresql": "with counted(n) as (select generate_series(:first, :last)),",
}
DRAWN = """
    drawn as (
        select n, :begin + n * :span / :rows as ms, (n * 2654435761 % 4294967296) / 4294967296.0 as a,
            (n * 2246822519 % 4294967296) / 4294967296.0 as b, (n * 3266489917 % 4294967296) / 4294967296.0 as c
        from counted
    )
"""
EXPRESSIONS = {
    "sqlite": {
        "id": r"printf('%012x70008000%012x', ms, n{shift})",
        "at": r"strftime('%Y-%m-%d %H\:%M\:%f000', ms / 1000.0, 'unixepoch')",
    },
    "postgresql": {
        "id": r"(lpad(to_hex(ms), 12, '0') || '70008000' || lpad(to_hex(n{shift}), 12, '0'))\:\:uuid",
        "at": "to_timestamp(ms / 1000.0)",
    },
}
LABEL = "case when b < 0.55 then 'positive' when b < 0.9 then 'negative' else 'neutral' end"
OTHER_LABEL = f"case when a < 0.85 then {LABEL} else 'neutral' end"
SHIFTED = " + 1099511627776"


def fill(engine: sa.Engine, rows: int, until: datetime) -> int:
    """Return how many rows there are; pieces are added up to `rows`, spread evenly over 90 days."""
    begin = int((until - timedelta(days=DAYS)).timestamp() * 1000)
    span = DAYS * 86_400_000
    words = SENTENCE.split()
    texts = [f"{start} {' '.join(words[turn:] + words[:turn])}" for start in SUBJECTS for turn in range(len(words))]
    with engine.begin() as connection:
        connection.exec_driver_sql("create table if not exists sample_texts (number integer primary key, text text)")
        connection.exec_driver_sql("delete from sample_texts")
        connection.execute(
            sa.text("insert into sample_texts values (:number, :text)"),
            [{"number": number, "text": text} for number, text in enumerate(texts)],
        )
    with engine.connect() as connection:
        done = connection.scalar(sa.select(sa.func.count()).select_from(PREDICTIONS)) or 0
    while done < rows:
        last = min(done + ROWS_PER_PIECE, rows) - 1
        given = {"first": done, "last": last, "begin": begin, "span": span, "rows": rows}
        with engine.begin() as connection:
            for statement in _write_statements(engine.dialect.name, len(texts)):
                connection.execute(sa.text(statement), given)
        done = last + 1
        click.echo(json.dumps({"filled": done}), err=True)
    return done


def _write_statements(dialect: str, texts: int) -> list[str]:
    source = NUMBERS[dialect] + DRAWN
    at, own = EXPRESSIONS[dialect]["at"], EXPRESSIONS[dialect]["id"].format(shift="")
    other = EXPRESSIONS[dialect]["id"].format(shift=SHIFTED)
    inserts = {
        "predictions": f"""
            select {own}, {at}, 'r' || n, text || ' ' || n, null, 80, 20, {LABEL}, 0.5 + 0.5 * c,
                '{{"positive"\\: 0.7, "negative"\\: 0.2, "neutral"\\: 0.1}}', c < 0.07, a < 0.01,
                cast(1 + 5 * n / :rows as text), 'd', 3 + 60 * a * a * a * a
            from drawn join sample_texts on number = n % {texts}
        """,
        "feedback": f"select {other}, {at}, {own}, {OTHER_LABEL}, 'f' from drawn where n % 100 = 0",
    }
    return [f"insert into {table} {_place(dialect, source, query)}" for table, query in inserts.items()]


def _place(dialect: str, source: str, query: str) -> str:
    cast = query.replace('\'{"positive"', 'cast(\'{"positive"').replace("0.1}'", "0.1}' as json)")
    return source + (cast if dialect == "postgresql" else query)


def fill_shadow(engine: sa.Engine) -> None:
    """Make every tenth prediction one that a challenger answered, too."""
    with engine.begin() as connection:
        connection.exec_driver_sql("""
            insert into shadow_predictions
            select id, at, id, label, case when latency_ms < 25 then label else 'neutral' end, confidence, scores,
                '6', 'd', latency_ms
            from predictions where substr(request_id, length(request_id)) = '0'
        """)


class PlainShipper(Shipper):
    """Ships without a rollup, as before there was one."""

    def _execute(self, _: EntryKind, rows: Sequence[dict[str, Any]]) -> None:
        engine = self._open_engine()
        insert = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert
        with engine.begin() as connection:
            connection.execute(insert(PREDICTIONS).on_conflict_do_nothing(index_elements=["id"]), rows)


def measure_shipping(kind: type[Shipper], url: str, entries: int) -> float:
    """Return rows per second from sealed segments to the database."""
    with tempfile.TemporaryDirectory() as folder:
        spool = Spool(Path(folder), max_bytes=SPOOL_BYTES)
        example = PredictionEntry(
            make_id(), time.time(), "", "a text of a usual length, " * 3, None, 78, 20, "positive", 0.75,
            {"negative": 0.25, "positive": 0.75}, False, False, "6", "d" * 64, 4.5,
        )  # fmt: skip
        for number in range(entries):
            at, latency_ms = time.time() + number / 100, 3 + 60 * (number % 101 / 100) ** 4
            label = ("positive", "negative")[number % 2]
            entry = replace(example, id=make_id(), at=at, request_id=make_id(), latency_ms=latency_ms, label=label)
            spool.append([write_line(entry)])
        spool.close()
        shipper = kind(Path(folder), spool, url, retention_days=0)
        shipper._open_engine()
        started = time.perf_counter()
        shipper.tick()
        seconds = time.perf_counter() - started
        shipper.close()
    return entries / seconds


def list_questions(engine: sa.Engine, until: datetime) -> dict[str, Callable[[], object]]:
    """Return what the dashboard asks, by name."""
    newest = search_predictions(engine, PredictionQuery(limit=1)).rows[0]
    middle = sa.select(PREDICTIONS.c.id).where(PREDICTIONS.c.at < until - timedelta(days=45))
    with engine.connect() as connection:
        cursor = connection.scalar(middle.order_by(PREDICTIONS.c.at.desc()).limit(1))
    windows = {"1 h": 1 / 24, "24 h": 1, "7 d": 7, "90 d": DAYS}
    questions: dict[str, Callable[[], object]] = {}
    for ask in (read_activity, read_latencies, read_feedback, read_agreement):
        for name, days in windows.items():
            questions[f"{ask.__name__} {name}"] = partial(ask, engine, until - timedelta(days=days), until)
    for name, query in {
        "newest": PredictionQuery(),
        "45 days back": PredictionQuery(before=cursor),
        "one label": PredictionQuery(label="neutral"),
        "a version of long ago": PredictionQuery(model_version="1"),
        "a common word": PredictionQuery(text="BROKE"),
        "a word that is not there": PredictionQuery(text="marmalade"),
        "a word beyond ASCII that is not there": PredictionQuery(text="Überraschung"),
        "a word that is not there, 45 days back": PredictionQuery(text="marmalade", before=cursor),
        "a prediction's id": PredictionQuery(identifier=newest.id),
        "a request's id": PredictionQuery(identifier=newest.request_id),
        "an id that is not there": PredictionQuery(identifier=make_id()),
    }.items():
        questions[f"search {name}"] = partial(search_predictions, engine, query)
    return questions


@click.group()
@click.option("--url", default="sqlite:////tmp/prediction_log.db", show_default=True)
@click.pass_context
def main(context: click.Context, url: str) -> None:
    """Fill a prediction log and measure it; JSON lines."""
    context.obj = url


@main.command("fill")
@click.option("--rows", default=10_000_000, show_default=True)
@click.option("--until", type=click.DateTime(), help="The time of the newest row; by default now.")
@click.pass_obj
def fill_log(url: str, rows: int, until: datetime | None) -> None:
    """Make the rows, in the first version of the schema."""
    engine = create_engine(url)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        alembic.command.upgrade(config, "0001")
    started = time.perf_counter()
    count = fill(engine, rows, (until or datetime.now()).astimezone(UTC))
    click.echo(json.dumps({"rows": count, "seconds": round(time.perf_counter() - started, 1)}))


@main.command("migrate")
@click.pass_obj
def migrate_log(url: str) -> None:
    """Bring the log to the newest schema, and add shadow answers."""
    engine = create_engine(url)
    started = time.perf_counter()
    migrate(engine)
    click.echo(json.dumps({"migration_seconds": round(time.perf_counter() - started, 1)}))
    fill_shadow(engine)


@main.command("ask")
@click.option("--rounds", default=5, show_default=True)
@click.pass_obj
def ask_log(url: str, rounds: int) -> None:
    """Print the first and the median time of each question."""
    engine = create_engine(url)
    with engine.connect() as connection:
        until = connection.scalar(sa.select(PREDICTIONS.c.at).order_by(PREDICTIONS.c.id.desc()).limit(1))
    assert until is not None
    for name, ask in list_questions(engine, until.replace(tzinfo=UTC)).items():
        times = []
        for _ in range(rounds + 1):
            started = time.perf_counter()
            ask()
            times.append(1000 * (time.perf_counter() - started))
        median = statistics.median(times[1:])
        click.echo(json.dumps({"question": name, "first_ms": round(times[0], 1), "median_ms": round(median, 1)}))


@main.command("ship")
@click.option("--entries", default=20_000, show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.pass_obj
def ship_log(url: str, entries: int, rounds: int) -> None:
    """Print the rate of shipping with and without the rollup, in alternating rounds."""
    rates: dict[str, list[float]] = {"with": [], "without": []}
    for _ in range(rounds):
        rates["with"].append(measure_shipping(Shipper, url, entries))
        rates["without"].append(measure_shipping(PlainShipper, url, entries))
    for name, found in rates.items():
        click.echo(json.dumps({f"rows_per_second_{name}_rollup": round(statistics.median(found))}))


if __name__ == "__main__":
    main()
