"""Promotion, approval and rollback by their commands, on a real registry, with a real service under load."""

import json
import shutil
import time

import pytest
from filelock import FileLock
from mlflow.tracking import MlflowClient

from benchmarks.copying import CheckoutCopy
from sentiment.governance.ledger import read_entries
from tests.support.production_moves import Load, act, copy_with_versions, read_last, read_version
from tests.support.serving import Service

pytestmark = pytest.mark.slow

ROLLBACK_SECONDS = 30
SWITCH_SECONDS = 2.0
"""How long two workers may answer from different models, with room for a busy machine."""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> CheckoutCopy:
    """A checkout with four versions: three passed the gate, the third waits for approval, the fourth never passed."""
    return copy_with_versions(tmp_path_factory.mktemp("e2e"), slopes=[0.1, 0.1, 0.1, 0.1])


def act_under_load(copy: CheckoutCopy, service: Service, *arguments: str) -> tuple[str, str]:
    """Return the versions that answered before and after a command during which no request failed."""
    with Load(service) as load:
        act(copy, *arguments)
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


def test_a_promotion_reaches_a_running_service(copy: CheckoutCopy, service: Service) -> None:
    """Every worker of the service that runs in the checkout answers from the new version; no request fails."""
    assert act_under_load(copy, service, "promote", "--version", "2", "--reason", "it knows more words") == ("1", "2")
    assert (read_version(copy, "production"), read_version(copy, "previous")) == ("2", "1")
    last = read_last(copy)
    assert (last.event, last.version, last.reason) == ("promotion", "2", "it knows more words")
    assert last.by


def test_a_rollback_is_done_within_half_a_minute(copy: CheckoutCopy, service: Service, record_property) -> None:
    """From the command to the last worker, with no failed request."""
    started = time.monotonic()
    assert act_under_load(copy, service, "rollback", "--reason", "it is rude to users") == ("2", "1")
    seconds = time.monotonic() - started
    record_property("seconds of a rollback under load", round(seconds, 1))
    assert seconds < ROLLBACK_SECONDS
    assert service.get("/health").json()["workers"] == {"living": 2, "current": 2}
    assert (read_version(copy, "production"), read_version(copy, "previous")) == ("1", None)
    assert (read_last(copy).event, read_last(copy).details["replaced"]) == ("rollback", "2")
    assert json.loads(copy.state.production.read_text())["tag"].startswith("sentiment:1-")


def test_a_second_rollback_does_not_flip_back(copy: CheckoutCopy, service: Service) -> None:
    """What was rolled back from is nothing to go back to."""
    assert act(copy, "rollback", "--reason", "still not good", fails=True).endswith(
        "Error: there is nothing to roll back to: no version was in production before version 1;"
        " `make promote VERSION=...` puts another one there."
    )


def test_what_was_rolled_back_needs_a_reason_to_return(copy: CheckoutCopy, service: Service) -> None:
    """A version that was taken out of production does not slip in again."""
    said = act(copy, "promote", "--version", "2", fails=True)
    assert "Error: version 2 was not promoted: " in said
    assert "because it is rude to users. Train again, so that the gate measures it now" in said


def test_an_approval_reaches_a_running_service(copy: CheckoutCopy, service: Service) -> None:
    """The version that waits goes into production on the record."""
    assert act_under_load(copy, service, "approve", "--reason", "reviewed it with Ann") == ("1", "3")
    approval, promotion = read_entries(copy.state.ledger)[-2:]
    assert [(entry.event, entry.version) for entry in (approval, promotion)] == [("approval", "3"), ("promotion", "3")]
    assert read_version(copy, "staging") is None
    assert "Error: nothing waits for approval;" in act(copy, "approve", fails=True)


def test_what_never_passed_the_gate_needs_a_reason(copy: CheckoutCopy, service: Service) -> None:
    """A version that no gate measured goes into production for a reason alone, which stays in the ledger."""
    assert act(copy, "promote", "--version", "4", fails=True).endswith(
        "Error: version 4 was not promoted: it never passed the gate. Train again, so that the gate measures it now,"
        ' or put a reason on the record: make promote VERSION=4 FORCE="why"'
    )
    reason = "the law asks for it"
    assert act_under_load(copy, service, "promote", "--version", "4", "--force", reason) == ("3", "4")
    decision, promotion = read_entries(copy.state.ledger)[-2:]
    assert promotion.details["force"] == promotion.reason == decision.reason == reason
    assert decision.summary == "version 4 is forced: it never passed the gate."


def test_a_rollback_does_not_wait_for_a_training(copy: CheckoutCopy, service: Service) -> None:
    """While another run holds the checkout, production goes back all the same."""
    with FileLock(copy.state.run_lock):
        said = act(copy, "rollback", "--reason", "it is slow in the evening")
    assert "another run is at work in this checkout, so that ZenML has no run of this rollback" in said
    assert service.get("/health").json()["model_version"].startswith("3-")


def test_a_service_that_cannot_be_reached_is_told(copy: CheckoutCopy, service: Service) -> None:
    """Everything else happens, and the exit code and the sentence tell of the one that is left."""
    said = act(
        copy,
        "promote",
        "--version",
        "4",
        "--force",
        "once more with feeling",
        "--url",
        "http://127.0.0.1:9",
        fails=True,
    )
    assert said.endswith(
        "Error: version 4 is in production, but http://127.0.0.1:9 cannot be reached ([Errno 111] Connection refused);"
        " what it answers from is not known. Tell it again: make promote VERSION=4"
    )
    assert read_version(copy, "production") == "4"
    assert service.get("/health").json()["model_version"].startswith("3-")


def test_a_service_is_told_again(copy: CheckoutCopy, service: Service) -> None:
    """A promotion to what is in production already changes nothing but services that answer from another model."""
    before = copy.state.ledger.read_bytes()
    assert act_under_load(copy, service, "promote", "--version", "4") == ("3", "4")
    assert copy.state.ledger.read_bytes() == before


def test_a_previous_model_that_is_gone_changes_nothing(copy: CheckoutCopy, service: Service) -> None:
    """Where the files of the version to go back to are nowhere, production stays, and one sentence says so."""
    before = copy.state.ledger.read_bytes(), copy.state.production.read_bytes()
    version = MlflowClient(copy.state.tracking_uri).get_model_version("sentiment", "3")
    shutil.rmtree(version.source.removeprefix("file://"))
    for folder in (copy.state.bentoml / "models" / "sentiment").glob("3-*"):
        (folder / "model.onnx").write_bytes(b"torn")
    said = act(copy, "rollback", "--reason", "it is slow in the evening", fails=True)
    assert "Error: production was not rolled back to version 3: the files of sentiment version 3 cannot be" in said
    assert (copy.state.ledger.read_bytes(), copy.state.production.read_bytes()) == before
    assert read_version(copy, "production") == "4"


def test_the_ledger_tells_the_story(copy: CheckoutCopy, service: Service) -> None:
    """One line an event, newest last, with who and why; of one version where it is named."""
    said = act(copy, "ledger", "show", "--version", "2")
    assert "promotion" in said
    assert "version 2 is in production, after version 1. Because: it knows more words" in said
    assert said.endswith("version 1 is in production again, instead of version 2. Because: it is rude to users")
    lines = copy.run("-m", "sentigate", "ledger", "show", "--limit", "3", "--json").splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["rollback", "decision", "promotion"]
