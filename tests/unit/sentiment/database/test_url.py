"""The URL of the database of our own records."""

import pytest

from sentiment.database.url import DATABASE_FILE_VARIABLE, DATABASE_VARIABLE, locate_database
from sentiment.errors import ConfigError
from sentiment.paths import STATE_VARIABLE, StateFolder


@pytest.mark.parametrize("value", [None, ""], ids=["unset", "empty"])
def test_without_the_variable_our_records_are_sqlite_in_the_state_folder(monkeypatch, tmp_path, value):
    """A checkout needs no database of its own, and its records move with its state."""
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path))
    monkeypatch.delenv(DATABASE_VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(DATABASE_VARIABLE, value)
    assert locate_database() == StateFolder(tmp_path).database_uri == f"sqlite:///{tmp_path}/sentigate.db"


def test_the_variable_names_the_database(monkeypatch):
    """DATABASE_URL moves our records, and is taken as it is."""
    monkeypatch.setenv(DATABASE_VARIABLE, "postgresql+psycopg://me@host/db")
    assert locate_database() == "postgresql+psycopg://me@host/db"


@pytest.fixture
def no_database(monkeypatch):
    for variable in (DATABASE_VARIABLE, DATABASE_FILE_VARIABLE):
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.usefixtures("no_database")
def test_a_file_names_the_database(monkeypatch, tmp_path):
    """A secret that is mounted as a file stays out of the environment; the line break at its end is no part of it."""
    (tmp_path / "url").write_text("postgresql://me:secret@host/db\n", encoding="utf-8")
    monkeypatch.setenv(DATABASE_FILE_VARIABLE, str(tmp_path / "url"))
    assert locate_database() == "postgresql://me:secret@host/db"


@pytest.mark.usefixtures("no_database")
def test_a_database_is_named_once(monkeypatch, tmp_path, refuses):
    """Which of two was meant is not guessed, and no password is in what is said."""
    monkeypatch.setenv(DATABASE_FILE_VARIABLE, str(tmp_path / "url"))
    monkeypatch.setenv(DATABASE_VARIABLE, "postgresql://me:secret@host/db")
    with refuses(ConfigError):
        locate_database()


@pytest.mark.usefixtures("no_database")
@pytest.mark.parametrize(
    "content",
    [
        None,
        b"\xff\xfe",
        b" \n",
    ],
    ids=["missing", "binary", "empty"],
)
def test_a_file_without_a_database_says_so(monkeypatch, tmp_path, content, refuses):
    """A secret that was not mounted does not become a database of its own."""
    if content is not None:
        (tmp_path / "url").write_bytes(content)
    monkeypatch.setenv(DATABASE_FILE_VARIABLE, str(tmp_path / "url"))
    with refuses(ConfigError):
        locate_database()
