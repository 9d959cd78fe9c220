"""Promotion, approval and rollback by their commands, on a real registry, with a real service under load."""

import json
import shutil
import time
from collections.abc import Iterator

import pytest
from filelock import FileLock
from mlflow.tracking import MlflowClient

from sentiment.governance.ledger import read_entries
from tests.support.checkout_copy import Snapshot
from tests.support.production_moves import Load, Production, read_last, read_version, start_production
from tests.support.serving import Service

pytestmark = [pytest.mark.slow, pytest.mark.extended]

ROLLBACK_SECONDS = 30
SWITCH_SECONDS = 2.0
"""How long two workers may answer from different models, with room for a busy machine."""


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Production, Service, Snapshot]]:
    """A service of version 1 beside four versions: three passed the gate, the third waits, the fourth never passed."""
    with start_production(tmp_path_factory.mktemp("e2e"), slopes=[0.1, 0.1, 0.1, 0.1]) as started:
        yield started


def act_under_load(production: Production, service: Service, *arguments: str) -> tuple[str, str]:
    """Return the versions that answered before and after a command during which no request failed."""
    with Load(service) as load:
        production.act(*arguments)
        done = time.monotonic()
        load.wait_for_more()
    assert {status for _, status, _ in load.answers} == {200}
    answers = sorted((sent, version) for sent, _, version in load.answers)
    old, new = answers[0][1], answers[-1][1]
    assert {version for _, version in answers} == {old, new}
    assert {version for sent, version in answers if sent > done} == {new}
    first_new = min(sent for sent, version in answers if version == new)
    last_old = max(sent for sent, version in answers if version == old)
    assert last_old - first_new < SWITCH_SECONDS
    return old.partition("-")[0], new.partition("-")[0]


def test_a_promotion_reaches_a_running_service(production: Production, service: Service) -> None:
    """Every worker of the service that runs in the checkout answers from the new version; no request fails."""
    assert act_under_load(production, service, "promote", "--version", "2", "--reason", "it knows more words") == (
        "1",
        "2",
    )
    assert (read_version(production, "production"), read_version(production, "previous")) == ("2", "1")
    last = read_last(production)
    assert (last.event, last.version, last.reason) == ("promotion", "2", "it knows more words")
    assert last.by


def test_a_rollback_is_done_within_half_a_minute(production: Production, service: Service, record_property) -> None:
    """From the command to the last worker, with no failed request."""
    production.act("promote", "--version", "2")
    started = time.monotonic()
    assert act_under_load(production, service, "rollback", "--reason", "it is rude to users") == ("2", "1")
    seconds = time.monotonic() - started
    record_property("seconds of a rollback under load", round(seconds, 1))
    assert seconds < ROLLBACK_SECONDS
    assert service.get("/health").json()["workers"] == {"living": 2, "current": 2}
    assert (read_version(production, "production"), read_version(production, "previous")) == ("1", None)
    assert (read_last(production).event, read_last(production).details["replaced"]) == ("rollback", "2")
    assert json.loads(production.state.production.read_text())["tag"].startswith("sentiment:1-")


def test_a_second_rollback_does_not_flip_back(production: Production, service: Service) -> None:
    """What was rolled back from is nothing to go back to."""
    production.act("promote", "--version", "2")
    production.act("rollback", "--reason", "it is rude to users")
    assert production.act("rollback", "--reason", "still not good", fails=True).endswith(
        "Error: there is nothing to roll back to: no version was in production before version 1;"
        " `make promote VERSION=...` puts another one there."
    )


def test_what_was_rolled_back_needs_a_reason_to_return(production: Production, service: Service) -> None:
    """A version that was taken out of production does not slip in again."""
    production.act("promote", "--version", "2")
    production.act("rollback", "--reason", "it is rude to users")
    said = production.act("promote", "--version", "2", fails=True)
    assert "Error: version 2 was not promoted: " in said
    assert "because it is rude to users. Train again, so that the gate measures it now" in said


def test_an_approval_reaches_a_running_service(production: Production, service: Service) -> None:
    """The version that waits goes into production on the record."""
    assert act_under_load(production, service, "approve", "--reason", "reviewed it with Ann") == ("1", "3")
    approval, promotion = read_entries(production.state.ledger)[-2:]
    assert [(entry.event, entry.version) for entry in (approval, promotion)] == [("approval", "3"), ("promotion", "3")]
    assert read_version(production, "staging") is None
    assert "Error: nothing waits for approval;" in production.act("approve", fails=True)


def test_what_never_passed_the_gate_needs_a_reason(production: Production, service: Service) -> None:
    """A version that no gate measured goes into production for a reason alone, which stays in the ledger."""
    assert production.act("promote", "--version", "4", fails=True).endswith(
        "Error: version 4 was not promoted: it never passed the gate. Train again, so that the gate measures it now,"
        ' or put a reason on the record: make promote VERSION=4 FORCE="why"'
    )
    reason = "the law asks for it"
    assert act_under_load(production, service, "promote", "--version", "4", "--force", reason) == ("1", "4")
    decision, promotion = read_entries(production.state.ledger)[-2:]
    assert promotion.details["force"] == promotion.reason == decision.reason == reason
    assert decision.summary == "version 4 is forced: it never passed the gate."


def test_a_rollback_does_not_wait_for_a_training(production: Production, service: Service) -> None:
    """While another run holds the checkout, production goes back all the same."""
    production.act("promote", "--version", "2")
    with FileLock(production.state.run_lock):
        said = production.act("rollback", "--reason", "it is slow in the evening")
    assert "another run is at work in this checkout, so that ZenML has no run of this rollback" in said
    assert service.get("/health").json()["model_version"].startswith("1-")


def test_a_service_that_cannot_be_reached_is_told(production: Production, service: Service) -> None:
    """Everything else happens, and the exit code and the sentence tell of the one that is left."""
    said = production.act("promote", "--version", "2", "--url", "http://127.0.0.1:9", fails=True)
    assert said.endswith(
        "Error: version 2 is in production, but http://127.0.0.1:9 cannot be reached ([Errno 111] Connection refused);"
        " what it answers from is not known. Tell it again: make promote VERSION=2"
    )
    assert read_version(production, "production") == "2"
    assert service.get("/health").json()["model_version"].startswith("1-")


def test_a_service_is_told_again(production: Production, service: Service) -> None:
    """A promotion to what is in production already changes nothing but services that answer from another model."""
    production.act("promote", "--version", "2", "--url", "http://127.0.0.1:9", fails=True)
    before = production.state.ledger.read_bytes()
    assert act_under_load(production, service, "promote", "--version", "2") == ("1", "2")
    assert production.state.ledger.read_bytes() == before


def test_a_previous_model_that_is_gone_changes_nothing(production: Production, service: Service) -> None:
    """Where the files of the version to go back to are nowhere, production stays, and one sentence says so."""
    production.act("promote", "--version", "2")
    before = production.state.ledger.read_bytes(), production.state.production.read_bytes()
    version = MlflowClient(production.state.tracking_uri).get_model_version("sentiment", "1")
    shutil.rmtree(version.source.removeprefix("file://"))
    for folder in (production.state.bentoml / "models" / "sentiment").glob("1-*"):
        (folder / "model.onnx").write_bytes(b"torn")
    said = production.act("rollback", "--reason", "it is slow in the evening", fails=True)
    assert "Error: production was not rolled back to version 1: the files of sentiment version 1 cannot be" in said
    assert (production.state.ledger.read_bytes(), production.state.production.read_bytes()) == before
    assert read_version(production, "production") == "2"


def test_the_ledger_tells_the_story(production: Production, service: Service) -> None:
    """One line an event, newest last, with who and why; of one version where it is named."""
    production.act("promote", "--version", "2", "--reason", "it knows more words")
    production.act("rollback", "--reason", "it is rude to users")
    production.act("promote", "--version", "4", "--force", "the law asks for it")
    said = production.act("ledger", "show", "--version", "2")
    assert "promotion" in said
    assert "version 2 is in production, after version 1. Because: it knows more words" in said
    assert said.endswith("version 1 is in production again, instead of version 2. Because: it is rude to users")
    lines = production.commands.run("sentigate", "ledger", "show", "--limit", "3", "--json").stdout.splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["rollback", "decision", "promotion"]
