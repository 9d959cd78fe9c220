"""Reading the database for the dashboard, whatever the database does."""

import asyncio
import logging
import threading
import time

import pytest
import sqlalchemy as sa

from service.api.errors import ApiError
from service.pages.database_reader import DatabaseReader

SECONDS = 0.3
FOREVER = "with recursive n(x) as (select 1 union all select x + 1 from n) select count(*) from n"


@pytest.fixture
def url(tmp_path) -> str:
    return f"sqlite:///{tmp_path}/records.db"


def count_evaluations(engine: sa.Engine) -> int:
    with engine.connect() as connection:
        return connection.scalar(sa.text("select count(*) from evaluations"))


def test_the_first_query_makes_the_database_ready(url):
    """A dashboard that is opened before anything was predicted finds empty tables."""
    assert asyncio.run(DatabaseReader(url).read(count_evaluations)) == 0


def test_a_query_that_hangs_is_given_up(url):
    """Who asks a database that does not answer is told so in time."""
    let_go = threading.Event()
    started = time.monotonic()

    with pytest.raises(ApiError) as refused:
        asyncio.run(DatabaseReader(url, seconds=SECONDS).read(lambda _: let_go.wait(10)))

    assert time.monotonic() - started < 5
    assert refused.value.problem.code == "database_unavailable"
    let_go.set()


def test_queries_that_hang_take_no_more_than_their_places(url):
    """However often a dashboard asks a database that hangs, no more threads wait for it than there are places."""
    let_go = threading.Event()
    running = []

    def hang(_: sa.Engine) -> None:
        running.append(threading.current_thread())
        let_go.wait(10)

    async def ask() -> int:
        reader = DatabaseReader(url, at_once=2, seconds=SECONDS)
        asked = await asyncio.gather(*(reader.read(hang) for _ in range(10)), return_exceptions=True)
        assert [type(refused) for refused in asked] == [ApiError] * 10
        let_go.set()
        return await DatabaseReader(url).read(count_evaluations)

    assert asyncio.run(ask()) == 0
    assert len(running) == 2


def test_places_come_back_when_the_database_does(url):
    """Queries are answered again as soon as the database lets go of those that hung."""
    let_go = threading.Event()

    async def ask() -> int:
        reader = DatabaseReader(url, at_once=1, seconds=SECONDS)
        with pytest.raises(ApiError):
            await reader.read(lambda _: let_go.wait(10))
        let_go.set()
        return await reader.read(count_evaluations)

    assert asyncio.run(ask()) == 0


def test_a_statement_that_takes_too_long_is_stopped_in_the_database(url):
    """A slow query gives its thread back, and does not go on for nobody."""
    ended = threading.Event()

    def count_forever(engine: sa.Engine) -> None:
        try:
            with engine.connect() as connection:
                connection.execute(sa.text(FOREVER))
        finally:
            ended.set()

    with pytest.raises(ApiError):
        asyncio.run(DatabaseReader(url, seconds=SECONDS).read(count_forever))
    assert ended.wait(5)


def test_a_database_that_fails_is_said_once_and_without_what_was_looked_for(url, caplog, sentence):
    """The operator reads the kind of failure, and not what a caller searched."""
    caplog.set_level(logging.WARNING)

    def fail(engine: sa.Engine) -> None:
        with engine.connect() as connection:
            connection.execute(sa.text("select :text from nowhere"), {"text": "quince"})

    async def ask() -> None:
        reader = DatabaseReader(url)
        for _ in range(3):
            with pytest.raises(ApiError):
                await reader.read(fail)

    asyncio.run(ask())
    assert caplog.messages == [sentence]


def test_a_database_of_another_kind_is_refused():
    """A URL that is of no use spoils the dashboard and nothing else."""
    with pytest.raises(ApiError) as refused:
        asyncio.run(DatabaseReader("mysql://nowhere/none").read(count_evaluations))

    assert refused.value.problem.code == "database_unavailable"
