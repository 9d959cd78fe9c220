"""Where a checkout keeps what it makes, and the variables that keep the libraries there."""

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from sentiment.admin_token import make_admin_token
from sentiment.database.connection import create_engine
from sentiment.errors import ConfigError
from sentiment.governance.ledger import LedgerEntry, append_entry
from sentiment.governance.signatures import make_signing_key
from sentiment.state import (
    CHECKOUT,
    DATABASE_FILE_VARIABLE,
    DATABASE_VARIABLE,
    STATE_VARIABLE,
    State,
    list_environment,
    locate_database,
    locate_state,
    make_private_folder,
    make_scratch_folder,
    protect_state,
)
from service.api.context import CURRENT, RequestContext
from service.prediction_log.pseudonyms import open_key
from service.prediction_log.spool import Spool
from service.security.audit import AuditLog

PATHS = sorted(name for name, value in vars(State).items() if isinstance(value, property) and not name.endswith("_uri"))


def test_the_checkout_is_the_root_of_the_project():
    """The checkout is the folder with the configuration of the project."""
    assert (CHECKOUT / "zenml_config.yaml").is_file()


@pytest.mark.parametrize("value", [None, ""], ids=["unset", "empty"])
def test_without_the_variable_the_state_is_in_the_checkout(monkeypatch, tmp_path, value):
    """Each checkout has a state folder of its own, from wherever it is run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(STATE_VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(STATE_VARIABLE, value)
    assert locate_state().folder == CHECKOUT / ".sentigate"


def test_the_variable_names_the_state_folder(monkeypatch, tmp_path):
    """SENTIMENT_STATE_DIR moves all state."""
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path / "mine"))
    assert locate_state().folder == tmp_path / "mine"


def test_a_relative_state_folder_becomes_absolute(monkeypatch, tmp_path):
    """A relative state folder is fixed once, so that a change of folder later moves nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(STATE_VARIABLE, "mine")
    assert locate_state().folder == tmp_path / "mine"


def test_locating_the_state_makes_nothing(monkeypatch, tmp_path):
    """To ask where the state is does not make it."""
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path / "mine"))
    locate_state()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", PATHS)
def test_every_path_is_inside_the_state_folder(tmp_path, name):
    """Nothing that a checkout makes lies outside its state folder."""
    assert getattr(State(tmp_path), name).is_relative_to(tmp_path)


def test_no_two_paths_are_the_same(tmp_path):
    """Each kind of state has a place of its own."""
    assert len({getattr(State(tmp_path), name) for name in PATHS}) == len(PATHS) >= 10


def test_the_tracking_uri_is_sqlite_in_the_state_folder():
    """MLflow tracks into an absolute SQLite file."""
    assert State(Path("/srv/state")).tracking_uri == "sqlite:////srv/state/mlflow/mlflow.db"


@pytest.mark.parametrize("value", [None, ""], ids=["unset", "empty"])
def test_without_the_variable_our_records_are_sqlite_in_the_state_folder(monkeypatch, tmp_path, value):
    """A checkout needs no database of its own, and its records move with its state."""
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path))
    monkeypatch.delenv(DATABASE_VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(DATABASE_VARIABLE, value)
    assert locate_database() == State(tmp_path).database_uri == f"sqlite:///{tmp_path}/sentigate.db"


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
def test_a_database_is_named_once(monkeypatch, tmp_path):
    """Which of two was meant is not guessed, and no password is in what is said."""
    monkeypatch.setenv(DATABASE_FILE_VARIABLE, str(tmp_path / "url"))
    monkeypatch.setenv(DATABASE_VARIABLE, "postgresql://me:secret@host/db")
    with pytest.raises(ConfigError) as refusal:
        locate_database()
    assert str(refusal.value) == "DATABASE_URL and DATABASE_URL_FILE are both set; wanted one of them."


@pytest.mark.usefixtures("no_database")
@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "cannot be read (No such file or directory); wanted a file that holds the URL of a database."),
        (b"\xff\xfe", "cannot be read (not text); wanted a file that holds the URL of a database."),
        (b" \n", "is empty; wanted the URL of a database in it."),
    ],
    ids=["missing", "binary", "empty"],
)
def test_a_file_without_a_database_says_so(monkeypatch, tmp_path, content, complaint):
    """A secret that was not mounted does not become a database of its own."""
    if content is not None:
        (tmp_path / "url").write_bytes(content)
    monkeypatch.setenv(DATABASE_FILE_VARIABLE, str(tmp_path / "url"))
    with pytest.raises(ConfigError) as refusal:
        locate_database()
    assert str(refusal.value).startswith(f"DATABASE_URL_FILE names '{tmp_path}/url', which ")
    assert str(refusal.value).endswith(complaint)


def test_our_records_and_those_of_mlflow_are_apart():
    """Neither library meets the tables of the other."""
    assert State(Path("/srv/state")).database_uri != State(Path("/srv/state")).tracking_uri


def test_a_scratch_folder_is_new_and_empty_each_time(monkeypatch, tmp_path):
    """Two bundles that are made in one run do not meet, and both lie where a run cleans up."""
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path))
    first, second = make_scratch_folder(), make_scratch_folder()
    assert first != second
    assert first.parent == second.parent == State(tmp_path).scratch
    assert list(first.iterdir()) == []


def test_the_environment_points_every_library_at_the_state(tmp_path):
    """ZenML, MLflow and BentoML keep their files in the state folder."""
    environment = list_environment(State(tmp_path))
    homes = ("ZENML_CONFIG_PATH", "BENTOML_HOME", "MLFLOW_TRACKING_URI", "_MLFLOW_SERVER_ARTIFACT_ROOT")
    assert all(str(tmp_path) in environment[home] for home in homes)


def test_the_environment_turns_telemetry_off(tmp_path):
    """No library reports home."""
    environment = list_environment(State(tmp_path))
    assert environment["ZENML_ANALYTICS_OPT_IN"] == "false"
    assert environment["BENTOML_DO_NOT_TRACK"] == "True"
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_a_child_process_finds_the_same_state(monkeypatch, tmp_path):
    """The environment of one state leads back to that state."""
    monkeypatch.setenv(STATE_VARIABLE, list_environment(State(tmp_path / "mine"))[STATE_VARIABLE])
    assert locate_state() == State(tmp_path / "mine")


def test_the_environment_is_text_alone(tmp_path):
    """Every variable can be handed to a process as it is."""
    assert {type(value) for value in list_environment(State(tmp_path)).values()} == {str}


def test_two_checkouts_share_no_path(tmp_path):
    """Two state folders have no value of the environment in common but the switches."""
    one, two = (set(list_environment(State(tmp_path / name)).values()) for name in ("one", "two"))
    assert one & two == {"false", "True", "true"}


def test_a_state_is_its_folder_alone():
    """All paths follow from one folder."""
    assert [field.name for field in fields(State)] == ["folder"]


@pytest.fixture
def open_umask() -> Iterator[None]:
    """The umask of most machines."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.usefixtures("open_umask")
def test_a_private_folder_and_those_above_it_are_its_owners_alone(tmp_path):
    """Folders that are made are closed to others; those that were there stay as they were."""
    (tmp_path / "there").mkdir()
    for _ in range(2):
        make_private_folder(tmp_path / "there" / "a" / "b")

    made = [tmp_path / "there", tmp_path / "there" / "a", tmp_path / "there" / "a" / "b"]
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in made] == [0o755, 0o700, 0o700]


@pytest.mark.usefixtures("open_umask")
@pytest.mark.parametrize("there", [False, True], ids=["new", "made before"])
def test_the_state_is_its_owners_alone(monkeypatch, tmp_path, there):
    """The state folder is closed to others, also one that an earlier version made."""
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path / "state"))
    if there:
        (tmp_path / "state").mkdir()

    assert stat.S_IMODE(protect_state().folder.stat().st_mode) == 0o700


MAKERS: dict[str, Callable[[State], object]] = {
    "token": lambda state: make_admin_token(state.folder / "admin_token"),
    "ledger": lambda state: append_entry(state.ledger, LedgerEntry("2026-01-02T03:04:05Z", "canary", "", None, "one")),
    "signing key": lambda state: make_signing_key(state.signing),
    "key of digests": lambda state: open_key(state.hash_key),
    "audit": lambda state: AuditLog(state.folder).record("reload", "asked"),
    "spool": lambda state: Spool(state.spool, max_bytes=1),
    "database": lambda state: create_engine(state.database_uri).dispose(),
}


@pytest.mark.usefixtures("open_umask")
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_whoever_makes_the_state_folder_closes_it(monkeypatch, tmp_path, make):
    """What is first in an empty state folder makes it for its owner alone, whichever it is."""
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path / "state"))
    request = CURRENT.set(RequestContext("r-1"))
    try:
        make(locate_state())
    finally:
        CURRENT.reset(request)

    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_the_state_folder_of_another_user_stays_as_it_is(monkeypatch, tmp_path):
    """A volume that belongs to another user is used as it was mounted."""
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path))
    tmp_path.chmod(0o770)
    os.chown(tmp_path, 1034, -1)

    assert stat.S_IMODE(protect_state().folder.stat().st_mode) == 0o770
