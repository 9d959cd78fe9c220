"""Queries of the dashboard in threads of their own, so that a database that hangs delays no prediction."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeVar

from sentiment.errors import SentimentError
from service.api.errors import ApiError
from service.api.schemas import Problem
from service.background.daemon_call import call_in_daemon
from service.background.database_import import load_database

if TYPE_CHECKING:
    import sqlalchemy as sa

Result = TypeVar("Result")

AT_ONCE = 2
SECONDS = 5.0
STEPS_BETWEEN_LOOKS = 10_000
UNAVAILABLE = Problem(
    code="database_unavailable", message="the database does not answer in time; predictions go on without it."
)

logger = logging.getLogger(__name__)


class AwayError(SentimentError):
    """The database cannot be read."""


class DatabaseReader:
    """Runs queries in threads of their own, `at_once` side by side and each for `seconds`, with its wait for a place.

    The database is opened with the first query. A query that hangs keeps its place until the database lets go of it.
    """

    def __init__(self, url: str, *, at_once: int = AT_ONCE, seconds: float = SECONDS) -> None:
        self._url = url
        self._seconds = seconds
        self._places = asyncio.Semaphore(at_once)
        self._opening = threading.Lock()
        self._engine: sa.Engine | None = None
        self._failing = False

    async def read(self, query: "Callable[[sa.Engine], Result]") -> Result:
        """Return what a query returns. Raises ApiError when the database does not answer, or not in time."""
        try:
            async with asyncio.timeout(self._seconds):
                await self._places.acquire()
                result = await asyncio.wrap_future(self._start(query))
        except (TimeoutError, AwayError) as error:
            if not self._failing:
                logger.warning("the dashboard cannot read the database (%s)", str(error) or "no answer in time")
            self._failing = True
            raise ApiError(HTTPStatus.SERVICE_UNAVAILABLE, UNAVAILABLE) from None
        self._failing = False
        return result

    def _start(self, query: "Callable[[sa.Engine], Result]") -> Future[Result]:
        loop = asyncio.get_running_loop()

        def release(_: Future[Result]) -> None:
            with suppress(RuntimeError):  # the service has ended meanwhile
                loop.call_soon_threadsafe(self._places.release)

        def run() -> Result:
            try:
                return query(self._open())
            except Exception as error:  # noqa: BLE001 - it is raised where the result is waited for
                raise _explain(error) from None

        future = call_in_daemon("dashboard", run)
        future.add_done_callback(release)
        return future

    def _open(self) -> "sa.Engine":
        load_database()
        from sentiment.database.connection import create_engine, open_database

        with self._opening:
            if self._engine is None:
                with open_database(self._url):  # which migrates, and may take its time
                    self._engine = create_engine(self._url)
                bound_statements(self._engine, self._seconds)
            return self._engine


def bound_statements(engine: "sa.Engine", seconds: float) -> None:
    """Let the database give up what takes longer than so many seconds."""
    import sqlalchemy as sa

    milliseconds = max(1, int(1000 * seconds))

    def bound(connection: "sa.Connection") -> None:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SET LOCAL statement_timeout = {milliseconds}")
            return
        driver = connection.connection.driver_connection
        if driver is not None:
            end = time.monotonic() + seconds
            driver.set_progress_handler(lambda: time.monotonic() > end, STEPS_BETWEEN_LOOKS)

    def give_up_dead_hosts(_dialect: object, _record: object, _arguments: object, options: dict[str, object]) -> None:
        options.setdefault("tcp_user_timeout", milliseconds)

    sa.event.listen(engine, "begin", bound)
    if engine.dialect.name == "postgresql":
        sa.event.listen(engine, "do_connect", give_up_dead_hosts)


def _explain(error: Exception) -> Exception:
    """Return an error of the database as AwayError, without what was looked for; any other as it is."""
    import sqlalchemy as sa

    if isinstance(error, SentimentError):
        return AwayError(str(error))
    return AwayError(type(error).__name__) if isinstance(error, sa.exc.SQLAlchemyError | OSError) else error
