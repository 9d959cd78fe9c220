"""Where a checkout keeps what it makes."""

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from sentiment.admin_token import make_admin_token
from sentiment.database.connection import create_engine
from sentiment.governance.ledger import LedgerEntry, append_entry
from sentiment.governance.signatures import make_signing_key
from sentiment.paths import (
    CHECKOUT,
    STATE_VARIABLE,
    StateFolder,
    locate_state,
    make_private_folder,
    make_scratch_folder,
    protect_state,
)
from service.api.context import RequestContext
from service.prediction_log.pseudonyms import open_key
from service.prediction_log.spool import Spool
from service.security.audit import AuditLog

PATHS = sorted(
    name for name, value in vars(StateFolder).items() if isinstance(value, property) and not name.endswith("_uri")
)


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
    assert getattr(StateFolder(tmp_path), name).is_relative_to(tmp_path)


def test_no_two_paths_are_the_same(tmp_path):
    """Each kind of state has a place of its own."""
    assert len({getattr(StateFolder(tmp_path), name) for name in PATHS}) == len(PATHS) >= 10


def test_the_tracking_uri_is_sqlite_in_the_state_folder():
    """MLflow tracks into an absolute SQLite file."""
    assert StateFolder(Path("/srv/state")).tracking_uri == "sqlite:////srv/state/mlflow/mlflow.db"


def test_our_records_and_those_of_mlflow_are_apart():
    """Neither library meets the tables of the other."""
    assert StateFolder(Path("/srv/state")).database_uri != StateFolder(Path("/srv/state")).tracking_uri


def test_a_scratch_folder_is_new_and_empty_each_time(monkeypatch, tmp_path):
    """Two bundles that are made in one run do not meet, and both lie where a run cleans up."""
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path))
    first, second = make_scratch_folder(), make_scratch_folder()
    assert first != second
    assert first.parent == second.parent == StateFolder(tmp_path).scratch
    assert list(first.iterdir()) == []


def test_a_state_is_its_folder_alone():
    """All paths follow from one folder."""
    assert [field.name for field in fields(StateFolder)] == ["folder"]


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


MAKERS: dict[str, Callable[[StateFolder], object]] = {
    "token": lambda state: make_admin_token(state.folder / "admin_token"),
    "ledger": lambda state: append_entry(state.ledger, LedgerEntry("2026-01-02T03:04:05Z", "canary", "", None, "one")),
    "signing key": lambda state: make_signing_key(state.signing),
    "key of digests": lambda state: open_key(state.hash_key),
    "audit": lambda state: AuditLog(state.folder).record(RequestContext(), "reload", "asked"),
    "spool": lambda state: Spool(state.spool, max_bytes=1),
    "database": lambda state: create_engine(state.database_uri).dispose(),
}


@pytest.mark.usefixtures("open_umask")
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_whoever_makes_the_state_folder_closes_it(monkeypatch, tmp_path, make):
    """What is first in an empty state folder makes it for its owner alone, whichever it is."""
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path / "state"))
    make(locate_state())

    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_the_state_folder_of_another_user_stays_as_it_is(monkeypatch, tmp_path):
    """A volume that belongs to another user is used as it was mounted."""
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path))
    tmp_path.chmod(0o770)
    os.chown(tmp_path, 1034, -1)

    assert stat.S_IMODE(protect_state().folder.stat().st_mode) == 0o770
