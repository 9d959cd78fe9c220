"""Opening the database of our own records: SQLite or PostgreSQL, brought to the newest schema first."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import alembic.command
import sqlalchemy as sa
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from filelock import FileLock
from sqlalchemy.engine import make_url

from sentiment.errors import DatabaseError
from sentiment.state import make_private_folder

MIGRATIONS = Path(__file__).with_name("migrations")
MIGRATION_LOCK = 7_364_117  # the advisory lock that migrations of this project take in PostgreSQL
BUSY_TIMEOUT_MS = 10_000
CONNECT_TIMEOUT_SECONDS = 5
MEMORY = ":memory:"
PRIVATE = 0o600
POSTGRESQL_NAMES = ("postgresql", "postgres")


@contextmanager
def open_database(url: str) -> Iterator[sa.Engine]:
    """Yield an engine on a database with the newest schema; closed with the block.

    `url` is `sqlite:///path` or `postgresql://user:password@host/name`, with `?sslmode=verify-full` and the like
    as PostgreSQL's own clients take it. Raises DatabaseError when the database is of another kind or its schema
    of a later version, sqlalchemy's errors when it cannot be reached.
    """
    engine = create_engine(url)
    try:
        migrate(engine)
        yield engine
    finally:
        engine.dispose()


def create_engine(url: str) -> sa.Engine:
    """Return an engine that is not connected yet. Raises DatabaseError when the URL is not of a kind we know."""
    try:
        parsed = make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        raise DatabaseError(
            "DATABASE_URL is not a URL; wanted sqlite:///path/to/file.db or postgresql://user:password@host/name."
        ) from None
    kind = parsed.drivername.split("+")[0]
    if kind in POSTGRESQL_NAMES:
        return sa.create_engine(
            parsed.set(drivername="postgresql+psycopg"),
            pool_pre_ping=True,
            connect_args={"connect_timeout": CONNECT_TIMEOUT_SECONDS, "client_encoding": "utf8"},
        )
    if kind != "sqlite":
        raise DatabaseError(
            f"DATABASE_URL names a database of kind {kind!r}; wanted sqlite:///path/to/file.db"
            " or postgresql://user:password@host/name."
        )
    if parsed.database and parsed.database != MEMORY:
        make_private_folder(Path(parsed.database).parent)
    engine = sa.create_engine(parsed.set(drivername="sqlite"))
    sa.event.listen(engine, "connect", _prepare_sqlite)
    return engine


def migrate(engine: sa.Engine) -> None:
    """Bring the schema to the newest version; two processes that try at once do it one after the other."""
    logging.getLogger("alembic").setLevel(logging.WARNING)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    newest = ScriptDirectory.from_config(config).get_current_head()
    with engine.connect() as connection:
        if MigrationContext.configure(connection).get_current_revision() == newest:
            return
    with _lock(engine), engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            # Readers and a writer work side by side; the file remembers. Two that switch at once would fail.
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")
        if engine.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATION_LOCK)))
        config.attributes["connection"] = connection
        try:
            alembic.command.upgrade(config, "head")
        except CommandError as error:
            raise DatabaseError(
                f"the database has a schema that this version does not know ({error}); update this installation,"
                " or name another database in DATABASE_URL."
            ) from error


@contextmanager
def _lock(engine: sa.Engine) -> Iterator[None]:
    if engine.dialect.name == "sqlite" and engine.url.database and engine.url.database != MEMORY:
        with FileLock(f"{engine.url.database}.lock", mode=PRIVATE):
            yield
    else:
        yield


def _prepare_sqlite(connection: Any, _: Any) -> None:
    """Wait for others instead of failing, keep what is deleted out of free pages, and other users out of the file."""
    cursor = connection.cursor()
    ((_, _, file),) = cursor.execute("PRAGMA database_list").fetchall()
    for suffix in ("", "-wal", "-shm") if file else ():  # those that are made later are like the file itself
        with suppress(OSError):
            Path(f"{file}{suffix}").chmod(PRIVATE)
    cursor.execute("PRAGMA secure_delete=ON")
    cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()
