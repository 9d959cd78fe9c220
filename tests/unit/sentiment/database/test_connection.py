"""Opening a database brings it to the newest schema, whatever it was before."""

import multiprocessing
import os
import shutil
import sqlite3
import stat
import traceback
from pathlib import Path
from typing import Any

import alembic.command
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext

from sentiment.database import connection as module
from sentiment.database.connection import create_engine, open_database
from sentiment.database.evaluations import append_evaluations, read_evaluations
from sentiment.database.schema import METADATA
from sentiment.errors import DatabaseError
from tests.unit.sentiment.database.test_evaluations import RECORD

TABLES = ["activity", "alembic_version", "evaluations", "feedback", "predictions", "shadow_predictions"]
PROCESSES = 6
GUARD_SECONDS = 30
WANTED = "wanted sqlite:///path/to/file.db or postgresql://user:password@host/name."
BEFORE_MIGRATIONS = """
CREATE TABLE evaluations (
    id INTEGER NOT NULL, at VARCHAR(20) NOT NULL, model TEXT NOT NULL, version TEXT, candidate TEXT NOT NULL,
    bundle_digest VARCHAR(64) NOT NULL, dataset TEXT NOT NULL, dataset_digest VARCHAR(64) NOT NULL,
    rows INTEGER NOT NULL, macro_f1 FLOAT NOT NULL, macro_f1_low FLOAT NOT NULL, macro_f1_high FLOAT NOT NULL,
    accuracy FLOAT NOT NULL, macro_precision FLOAT NOT NULL, macro_recall FLOAT NOT NULL,
    calibration_error FLOAT NOT NULL, run TEXT NOT NULL, PRIMARY KEY (id)
);
CREATE INDEX ix_evaluations_bundle_digest ON evaluations (bundle_digest);
INSERT INTO evaluations VALUES (
    1, '2026-01-02T03:04:05Z', 'production', '3', 'svm', '{b}', 'bundled', '{d}',
    347, 0.75, 0.5, 0.875, 0.75, 0.75, 0.75, 0.125, 'r'
);
""".format(b="b" * 64, d="d" * 64)
HALVES = {
    "no table": "DROP TABLE evaluations; DROP TABLE predictions; DROP TABLE feedback; DELETE FROM alembic_version;",
    "the first table": "DROP TABLE predictions; DROP TABLE feedback; DELETE FROM alembic_version;",
    "a table without its index": "DROP INDEX ix_predictions_at; DROP TABLE feedback; DELETE FROM alembic_version;",
    "all but the last index": "DROP INDEX ix_feedback_prediction_id; DELETE FROM alembic_version;",
    "all but the version": "DELETE FROM alembic_version;",
    "all but the table of the version": "DROP TABLE alembic_version;",
}
NO_URLS = {
    "nothing": "",
    "a path": "/var/lib/records.db",
    "a word": "secret",
    "spaces": "   ",
    "two slashes short": "sqlite:records.db",
    "a host without a kind": "ann:secret@host/name",
    "a port that is no number": "postgresql://ann:secret@host:port/name",
    "no host": "postgresql://ann:secret",
    "a slash in the password": "postgresql://ann:sec/secret",
}
AWAY = "postgres://ann:secret@127.0.0.1:1/name"
OTHER_KINDS = ["mysql", "mariadb", "oracle", "mssql", "mysql+pymysql", "https", "redis", "SQLITE3"]
POSTGRESQL = ["postgresql", "postgres", "postgresql+psycopg", "postgresql+psycopg2", "postgres+asyncpg"]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "records.db"


def name(database: Path) -> str:
    return f"sqlite:///{database}"


def run(database: Path, script: str) -> None:
    connection = sqlite3.connect(database)
    connection.executescript(script)
    connection.close()


def read(database: Path, query: str) -> list[Any]:
    connection = sqlite3.connect(database)
    rows = connection.execute(query).fetchall()
    connection.close()
    return rows


def list_tables(database: Path) -> list[str]:
    return [found for (found,) in read(database, "select name from sqlite_master where type = 'table' order by name")]


def list_differences(database: Path) -> list[Any]:
    """Return in what a database is not as the tables are described."""
    with open_database(name(database)) as engine, engine.connect() as connection:
        return compare_metadata(MigrationContext.configure(connection), METADATA)


def open_at_once(url: str, start: Any, errors: Any) -> None:
    """Open a database when all others do too, and say what went wrong."""
    start.wait(GUARD_SECONDS)
    try:
        with open_database(url):
            errors.put("")
    except Exception as error:  # noqa: BLE001 - whatever it is, the test says it
        errors.put(repr(error))


def test_a_new_database_has_all_tables(database):
    """Whoever opens a database that is not there finds its tables."""
    with open_database(name(database)):
        pass

    assert list_tables(database) == TABLES
    assert read(database, "select version_num from alembic_version") == [("0003",)]


def test_the_migrations_make_the_schema_that_is_described(database):
    """The tables that the migrations leave are those that the code reads and writes."""
    assert list_differences(database) == []


def test_a_database_from_before_migrations_keeps_its_rows(database):
    """Evaluations that are older than the migrations are read as before, beside the new tables."""
    run(database, BEFORE_MIGRATIONS)

    assert read_evaluations(name(database)) == [RECORD]
    assert (list_tables(database), list_differences(database)) == (TABLES, [])


@pytest.mark.parametrize("there", [False, True], ids=["new", "made before"])
def test_a_database_is_its_owners_alone(tmp_path, there):
    """What people wrote is not for everybody on the machine: neither the file, nor what SQLite puts beside it."""
    folder = tmp_path / "state"
    before = os.umask(0o022)
    try:
        if there:
            folder.mkdir(mode=0o700)
            run(folder / "records.db", BEFORE_MIGRATIONS)
        with open_database(name(folder / "records.db")) as engine, engine.begin() as connection:
            connection.exec_driver_sql("create table more (id)")
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    finally:
        os.umask(before)

    assert modes.keys() >= {"records.db", "records.db-wal", "records.db-shm"}
    assert (stat.S_IMODE(folder.stat().st_mode), set(modes.values())) == (0o700, {0o600})


@pytest.mark.parametrize("script", HALVES.values(), ids=HALVES)
def test_a_migration_that_was_cut_short_is_completed(database, script):
    """A process that died in the midst of a migration leaves a database that the next one completes."""
    with open_database(name(database)):
        pass
    run(database, script)

    assert list_differences(database) == []
    assert (list_tables(database), read(database, "select * from alembic_version")) == (TABLES, [("0003",)])


def test_opening_again_changes_nothing(database):
    """A database with the newest schema keeps its rows and its schema."""
    append_evaluations(name(database), [RECORD])
    before = read(database, "select * from sqlite_master")
    for _ in range(2):
        assert read_evaluations(name(database)) == [RECORD]

    assert read(database, "select * from sqlite_master") == before


def test_a_way_back_leaves_the_evaluations(database):
    """Taking the migration back leaves what was there before, and it can be made again."""
    append_evaluations(name(database), [RECORD])
    config = Config()
    config.set_main_option("script_location", str(module.MIGRATIONS))
    with open_database(name(database)) as engine, engine.begin() as connection:
        config.attributes["connection"] = connection
        alembic.command.downgrade(config, "base")

    assert list_tables(database) == ["alembic_version", "evaluations"]
    assert read_evaluations(name(database)) == [RECORD]
    assert list_tables(database) == TABLES


@pytest.mark.parametrize("old", [False, True], ids=["new", "from before migrations"])
def test_processes_that_migrate_at_once_do_not_disturb_each_other(database, old):
    """Workers that start together on one database all find it ready."""
    if old:
        run(database, BEFORE_MIGRATIONS)
    context = multiprocessing.get_context("fork")
    start, errors = context.Barrier(PROCESSES), context.SimpleQueue()
    workers = [context.Process(target=open_at_once, args=(name(database), start, errors)) for _ in range(PROCESSES)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(GUARD_SECONDS)

    assert [errors.get() for _ in workers] == [""] * PROCESSES
    assert (list_tables(database), read(database, "select count(*) from evaluations")) == (TABLES, [(int(old),)])


def test_a_database_of_a_later_version_is_refused(database, refuses):
    """A schema that this version does not know is left alone, and the error says what to do."""
    with open_database(name(database)):
        pass
    run(database, "UPDATE alembic_version SET version_num = '9999'; DROP TABLE feedback;")

    with refuses(DatabaseError), open_database(name(database)):
        pass

    assert read(database, "select version_num from alembic_version") == [("9999",)]
    assert "feedback" not in list_tables(database)


@pytest.mark.parametrize("url", NO_URLS.values(), ids=NO_URLS)
def test_what_is_no_url_is_refused(url, refuses):
    """A DATABASE_URL that cannot be read is said with the two that can, and without a word of it."""
    with refuses(DatabaseError):
        create_engine(url)


@pytest.mark.parametrize("kind", OTHER_KINDS)
def test_another_kind_of_database_is_refused(kind, refuses):
    """A database that is neither SQLite nor PostgreSQL is named by its kind, and its password is not."""
    with refuses(DatabaseError):
        create_engine(f"{kind}://ann:secret@host/name")


@pytest.mark.parametrize("url", [*(url for url in NO_URLS.values() if "secret" in url), "mysql://ann:secret@host/name"])
def test_a_refusal_never_repeats_the_password(url):
    """Neither the message nor what is printed with it holds a password."""
    with pytest.raises(Exception) as refusal:
        create_engine(url)

    assert "secret" not in "".join(traceback.format_exception(refusal.value))


def test_a_server_that_is_away_is_said_without_the_password():
    """An error of the database's own client holds no password either."""
    with pytest.raises(sa.exc.OperationalError) as refusal, open_database(AWAY):
        pass

    assert "secret" not in "".join(traceback.format_exception(refusal.value))


@pytest.mark.parametrize("kind", POSTGRESQL)
def test_any_name_of_postgresql_is_taken(kind):
    """A URL as other programs want it is good here, with its options and the one driver that is installed."""
    engine = create_engine(f"{kind}://ann:secret@host:6543/name?sslmode=verify-full&sslrootcert=/root.crt")

    assert engine.url.render_as_string(hide_password=False) == (
        "postgresql+psycopg://ann:secret@host:6543/name?sslmode=verify-full&sslrootcert=%2Froot.crt"
    )
    assert engine.dialect.driver == "psycopg"


def test_an_engine_shows_no_password():
    """What is printed of an engine holds no password."""
    engine = create_engine("postgresql://ann:secret@host/name")

    assert "secret" not in f"{engine} {engine!r} {engine.url} {engine.url!r}"


@pytest.mark.parametrize("kind", ["sqlite", "sqlite+pysqlite", "sqlite+aiosqlite"])
def test_any_name_of_sqlite_is_taken(database, kind):
    """A URL as other programs want it is good here, with the one driver that is there."""
    with open_database(f"{kind}:///{database}"):
        pass

    assert list_tables(database) == TABLES


def test_missing_folders_are_made(tmp_path):
    """A database may lie in a folder that nobody made yet."""
    append_evaluations(f"sqlite:///{tmp_path}/a/b/records.db", [RECORD])

    assert read_evaluations(f"sqlite:///{tmp_path}/a/b/records.db") == [RECORD]


def test_a_database_in_memory_leaves_no_file(tmp_path, monkeypatch):
    """A database that is nowhere on the disk leaves nothing there."""
    monkeypatch.chdir(tmp_path)
    with open_database("sqlite:///:memory:"):
        pass

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("folder", ["with space", "100%", "a:b"])
def test_an_installation_may_lie_anywhere(tmp_path, monkeypatch, database, folder):
    """The migrations are found in a folder of any name."""
    shutil.copytree(module.MIGRATIONS, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(module, "MIGRATIONS", tmp_path / folder)
    with open_database(name(database)):
        pass

    assert list_tables(database) == TABLES


def test_a_reader_does_not_wait_for_a_writer(database):
    """Evaluations are read while somebody else writes."""
    append_evaluations(name(database), [RECORD])
    writer = sqlite3.connect(database, isolation_level=None)
    writer.execute("begin immediate")
    writer.execute("delete from evaluations")

    assert read_evaluations(name(database)) == [RECORD]
    writer.close()


def test_a_writer_waits_for_another(database):
    """A connection waits for ten seconds rather than fail at once."""
    with open_database(name(database)) as engine, engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 10_000


def test_a_closed_database_holds_nothing_open(database):
    """After its block a database has no connection left."""
    append_evaluations(name(database), [RECORD])
    read_evaluations(name(database))

    held = [str(path.resolve()) for path in Path("/proc/self/fd").iterdir()]
    assert not [path for path in held if path.startswith(str(database))]


def test_an_error_in_the_block_closes_the_database(database):
    """A failure of whoever opened a database leaves no connection behind, and goes on as it was."""
    with pytest.raises(ZeroDivisionError), open_database(name(database)) as engine, engine.connect():
        raise ZeroDivisionError

    held = [str(path.resolve()) for path in Path("/proc/self/fd").iterdir()]
    assert not [path for path in held if path.startswith(str(database))]
