"""Opening the database of our own records: SQLite or PostgreSQL, brought to the newest schema first."""

import logging
import os
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import alembic.command
import certifi
import sqlalchemy as sa
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from filelock import FileLock
from sqlalchemy.engine import make_url

from sentiment.database.schema import METADATA
from sentiment.errors import DatabaseError
from sentiment.hosts import is_loopback
from sentiment.paths import make_private_folder

MIGRATIONS = Path(__file__).with_name("migrations")
MIGRATION_LOCK = 7_364_117  # the advisory lock that migrations of this project take in PostgreSQL
BUSY_TIMEOUT_MS = 10_000
CONNECT_TIMEOUT_SECONDS = 5
MEMORY = ":memory:"
PRIVATE = 0o600
POSTGRESQL_NAMES = ("postgresql", "postgres")
VERIFY = "verify-full"
NOT_ALLOWED = ("42501", "3F000")  # no right, and no schema that one may use
SINCE_MAINTAIN = (17,)  # VACUUM by others than the owner
UNPROVEN = re.compile(r"certificate|SSL error|does not support SSL")


@contextmanager
def open_database(url: str) -> Iterator[sa.Engine]:
    """Yield an engine on a database with the newest schema; closed with the block.

    `url` is `sqlite:///path` or `postgresql://user:password@host/name`, with `?sslrootcert=/path/ca.pem` and the like
    as PostgreSQL's own clients take it. Raises DatabaseError when the database is of another kind, its schema of a
    later version or its certificate not good, sqlalchemy's errors when it cannot be reached.
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
        engine = sa.create_engine(
            parsed.set(drivername="postgresql+psycopg"),
            pool_pre_ping=True,
            connect_args={"connect_timeout": CONNECT_TIMEOUT_SECONDS, "client_encoding": "utf8"},
        )
        sa.event.listen(engine, "do_connect", _check_server)
        sa.event.listen(engine, "handle_error", _explain_certificate)
        return engine
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
    """Bring the schema to the newest version; two processes that try at once do it one after the other.

    Raises DatabaseError when this role may not, or the schema is of a later version.
    """
    try:
        _migrate(engine)
    except sa.exc.ProgrammingError as error:
        if getattr(error.orig, "sqlstate", None) not in NOT_ALLOWED:
            raise
        raise DatabaseError(
            "the database has not the schema of this version, and the role of DATABASE_URL may not change or read it;"
            " run `make migrate` with the DATABASE_URL of the role that owns the tables."
        ) from error


def grant_use(engine: sa.Engine, role: str) -> None:
    """Let a role read and write the tables and do nothing else. Raises DatabaseError when there is no such role."""
    if engine.dialect.name != "postgresql":
        raise DatabaseError("SQLite has no roles; wanted postgresql://owner:password@host/name in DATABASE_URL.")
    name = engine.dialect.identifier_preparer.quote(role)
    with engine.begin() as connection:
        if not connection.scalar(sa.text("SELECT true FROM pg_roles WHERE rolname = :role"), {"role": role}):
            raise DatabaseError(f"the server has no role {role!r}; make it: CREATE ROLE {name} LOGIN PASSWORD '...'.")
        schema = engine.dialect.identifier_preparer.quote(str(connection.scalar(sa.select(sa.func.current_schema()))))
        tables = ", ".join(METADATA.tables)
        newer = ", MAINTAIN" if (engine.dialect.server_version_info or ()) >= SINCE_MAINTAIN else ""
        for right in (
            f"USAGE ON SCHEMA {schema}",
            f"SELECT, INSERT, UPDATE, DELETE{newer} ON {tables}",
            "SELECT ON alembic_version",
            f"USAGE ON ALL SEQUENCES IN SCHEMA {schema}",
        ):
            connection.exec_driver_sql(f"GRANT {right} TO {name}")


def _migrate(engine: sa.Engine) -> None:
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


def _check_server(_dialect: Any, _record: Any, _arguments: Any, options: dict[str, Any]) -> None:
    """Let libpq check the server's certificate for its name, where the URL does not say otherwise.

    Not on loopback; sockets have no certificates, and libpq knows.
    """
    given = [options.get(name) for name in ("host", "hostaddr")]
    places = ",".join(str(place) for place in given if place).split(",")
    if not all(place.startswith("/") or is_loopback(place) for place in places):
        options.setdefault("sslmode", VERIFY)
    if options.get("sslmode") == VERIFY and options.get("sslrootcert", "system") == "system":
        # libpq's own `system` is a folder of psycopg's builders, which is nowhere.
        options["sslrootcert"] = _find_authorities()


def _find_authorities() -> str:
    """Return the file of authorities that libpq is told of, else this machine's, else that of certifi."""
    own = Path(os.environ.get("HOME", "/"), ".postgresql", "root.crt")
    named = os.environ.get("PGSSLROOTCERT") or (str(own) if own.exists() else "")
    return named.removeprefix("system") or ssl.get_default_verify_paths().cafile or certifi.where()


def _explain_certificate(context: sa.ExceptionContext) -> None:
    """Raise DatabaseError in the place of an error that says that the server is not the one that was asked for."""
    said = str(context.original_exception).strip()
    if context.connection is None and UNPROVEN.search(said):
        raise DatabaseError(
            f"the server of DATABASE_URL does not prove who it is ({said.splitlines()[0].rpartition('failed: ')[2]});"
            " name the authority of its certificate, ?sslrootcert=/path/ca.pem, and the host by the name in it, or,"
            " where the network is yours alone, say ?sslmode=disable."
        ) from context.original_exception


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
