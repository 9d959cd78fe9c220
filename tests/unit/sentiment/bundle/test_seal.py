"""The commands for a ledger that somebody changed, and for a key that is to be another."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sentigate.cli import sentigate
from sentiment.governance.ledger import read_entries
from sentiment.governance.signatures import load_public_keys, load_signing_key
from sentiment.paths import STATE_VARIABLE, StateFolder
from tests.conftest import enter_decision


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StateFolder:
    """A state whose ledger has two lines."""
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path))
    monkeypatch.setenv("SENTIMENT_ACTOR", "ann")
    enter_decision("a" * 64)
    enter_decision("b" * 64)
    return StateFolder(tmp_path)


def act(*arguments: str) -> Result:
    return CliRunner().invoke(sentigate, arguments)


def test_a_ledger_that_was_touched_is_not_shown_until_it_is_sealed(state):
    """The way out that the error names leads out, on the record."""
    found = state.ledger.read_text().replace("a" * 64, "c" * 64)
    state.ledger.write_text(found)
    said = act("ledger", "show")
    assert said.exit_code == 1
    assert said.output.startswith("Error: ledger.jsonl line 1 was altered: its signature does not hold; ")
    assert act("ledger", "seal").output.startswith("Error: to take a ledger as it stands needs a reason")
    sealed = act("ledger", "seal", "--reason", "ann moved it by hand")
    assert sealed.output.startswith("the ledger is signed as it stood; as it was it lies in ")
    assert Path(sealed.output.strip().rpartition(" ")[2].rstrip(".")).read_text() == found
    last = read_entries(state.ledger)[-1]
    assert (last.event, last.by, last.reason) == ("seal", "ann", "ann moved it by hand")
    assert act("ledger", "show", "--limit", "1").output.endswith(
        "the ledger is taken as it stands. Because: ann moved it by hand\n"
    )
    assert [json.loads(line)["event"] for line in act("ledger", "show", "--json").output.splitlines()] == [
        "decision"
    ] * 2 + ["seal"]


def test_a_ledger_without_a_line_is_not_sealed(tmp_path, monkeypatch):
    """There is nothing to sign."""
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path))
    assert "has no line to seal; `make train` writes the first." in act("ledger", "seal", "--reason", "why not").output
    assert not (tmp_path / "ledger.jsonl").exists()


def test_the_key_is_rotated(state):
    """A new key signs, the old one stays trusted, and the ledger goes on."""
    old = load_signing_key().id
    said = act("signing-key", "rotate")
    new = load_signing_key().id
    assert said.output == f"decisions are signed with {new} from now on; build images anew, so that they trust it.\n"
    enter_decision("d" * 64)
    assert set(load_public_keys()) == {old, new}
    assert len(read_entries(state.ledger)) == 3


@pytest.mark.parametrize("variable", ["SENTIMENT_SIGNING_KEY", "SENTIMENT_PUBLIC_KEYS"])
def test_a_key_of_the_environment_is_rotated_there(state, monkeypatch, variable):
    """A new key in a folder that nobody reads would change nothing."""
    monkeypatch.setenv(variable, (state.signing / "key.pem").read_text())
    assert act("signing-key", "rotate").output == (
        f"Error: the keys of this installation are in {variable}; put the new one there.\n"
    )
