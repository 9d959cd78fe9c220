"""A canary by its command, on a real registry, with a real service under load."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from benchmarks.copying import CheckoutCopy
from sentiment.governance.ledger import read_entries
from tests.support.production_moves import Load, act, copy_with_versions, read_last, read_version
from tests.support.serving import Service, wait_until

pytestmark = pytest.mark.slow

RULE = {"min_answers": 60, "max_minutes": 3, "look_seconds": 1, "share": 0.5, "max_slow_rise": 0.9}
EASY = {**RULE, "max_uncertain_rise": 0.5, "max_confidence_drop": 0.5, "max_label_shift": 0.5}
CONTRARY = "4"
FORCE = ("--force", "trying the canary itself")
TRIED = "answers 0.5 of the requests"


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> CheckoutCopy:
    """A checkout with four versions: the third waits for approval, the fourth says the opposite of all others."""
    return copy_with_versions(tmp_path_factory.mktemp("e2e"), slopes=[0.1, 0.1, 0.1, -0.1])


@pytest.fixture(scope="module")
def easy(copy: CheckoutCopy) -> Path:
    """A configuration whose rule few answers meet."""
    content = yaml.safe_load((copy.folder / "zenml_config.yaml").read_text(encoding="utf-8"))
    content["canary"] |= EASY
    path = copy.folder.parent / "easy.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def list_versions(load: Load, since: float = 0.0) -> set[str]:
    return {version.partition("-")[0] for sent, _, version in load.answers if sent > since}


def assert_none_failed(load: Load) -> None:
    assert {status for _, status, _ in load.answers} == {200}


def test_what_waits_nowhere_and_what_is_not_there_is_told(copy: CheckoutCopy, service: Service) -> None:
    """Bad input is one sentence, and starts nothing."""
    assert "Error: the registry has no version or alias '99'" in act(copy, "canary", "--version", "99", fails=True)
    assert "is in production already" in act(copy, "canary", "--version", "1", fails=True)
    assert "canary.share is 1.5" in act(copy, "canary", "--share", "1.5", fails=True)
    assert "cannot be reached" in act(copy, "canary", "--url", "http://127.0.0.1:9", fails=True)
    assert service.get("/health").json()["canary"] == "off"


def test_a_canary_that_nobody_asks_is_backed_out(copy: CheckoutCopy, service: Service, easy: Path) -> None:
    """Without traffic it ends in time, says that it saw too little, and leaves production alone."""
    said = act(copy, "canary", "--config", str(easy), "--minutes", "0.05", fails=True)

    assert "Error: version 3 was backed out: the canary gave 0 answers" in said
    assert "too few, 60 of each are wanted" in said
    assert (read_last(copy).event, read_version(copy, "production")) == ("canary", "1")
    assert service.get("/health").json()["canary"]["status"] == "ended"


def test_a_canary_that_is_worse_is_backed_out(copy: CheckoutCopy, service: Service, easy: Path) -> None:
    """A version that says the opposite answers some requests, and none after the command; no request fails."""
    with Load(service) as load:
        said = act(copy, "canary", "--config", str(easy), "--version", CONTRARY, *FORCE, fails=True)
        done = time.monotonic()
        load.wait_for_more()

    assert "Error: version 4 was backed out: share of 'negative': 1.000 against the champion's 0.000" in said
    assert_none_failed(load)
    assert (list_versions(load), list_versions(load, since=done)) == ({"1", CONTRARY}, {"1"})
    assert read_last(copy).details["canary"]["labels"].keys() == {"negative"}


def test_who_stops_the_watch_backs_the_canary_out(copy: CheckoutCopy, service: Service, easy: Path) -> None:
    """Ctrl-C ends the canary in every worker, and says so in the ledger."""
    command = [sys.executable, "-m", "sentigate", "canary", "--config", str(easy), "--minutes", "3"]
    log = copy.folder.parent / "stopped.log"
    with log.open("w") as said, Load(service) as load:
        process = subprocess.Popen(
            [*command, "--version", CONTRARY, *FORCE], cwd=copy.folder, env=copy.environment, stdout=said, stderr=said
        )
        wait_until(lambda: TRIED in log.read_text(), log.read_text, seconds=120)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 1, log.read_text()
        done = time.monotonic()
        load.wait_for_more()

    assert "Error: version 4 was backed out: the watch was interrupted." in " ".join(log.read_text().split())
    assert "Traceback" not in log.read_text()
    assert_none_failed(load)
    assert list_versions(load, since=done) == {"1"}
    assert read_last(copy).summary == "version 4 was backed out: the watch was interrupted."


def test_a_canary_that_holds_is_promoted(copy: CheckoutCopy, service: Service, easy: Path) -> None:
    """What waits answers its share beside the champion, then everything; no request fails, the ledger has why."""
    with Load(service) as load:
        said = act(copy, "canary", "--config", str(easy))
        done = time.monotonic()
        load.wait_for_more()

    assert TRIED in said
    assert_none_failed(load)
    assert (list_versions(load), list_versions(load, since=done)) == ({"1", "3"}, {"3"})
    assert (read_version(copy, "production"), read_version(copy, "staging")) == ("3", None)
    entries = read_entries(copy.state.ledger)[-3:]
    assert [(entry.event, entry.version) for entry in entries] == [
        (e, "3") for e in ("canary", "approval", "promotion")
    ]
    assert entries[0].details["canary"]["answers"] >= 60
    assert "no version waits at the alias 'staging'" in act(copy, "canary", fails=True)


@contextmanager
def run_elsewhere(copy: CheckoutCopy, number: str) -> Iterator[Service]:
    """Yield a server of a version with a state of its own, as in a pod; what it shares is the database of the log."""
    (stored,) = (copy.state.bentoml / "models" / "sentiment").glob(f"{number}-*")
    own = {
        "SENTIMENT_STATE_DIR": str(copy.folder.parent / f"pod-{number}"),
        "SENTIMENT_MODEL_TAG": f"sentiment:{stored.name}",
        "SENTIMENT_WORKERS": "1",
        "DATABASE_URL": copy.state.database_uri,
    }
    folder = copy.folder.parent / f"server-{number}"
    folder.mkdir()
    server = Service(folder, copy.environment | own, checkout=copy.folder)
    try:
        server.start()
        yield server
    finally:
        server.kill()


def test_a_canary_that_others_run_is_watched_alone(copy: CheckoutCopy, service: Service, easy: Path) -> None:
    """Of two servers with one log, as on Kubernetes, the rows decide; registry and services are left as they are."""
    watch = ("canary", "--config", str(easy), "--watch-only", "--version")
    with Load(service):
        with run_elsewhere(copy, "1") as other, Load(other):
            said = act(copy, *watch, "1")
        with run_elsewhere(copy, CONTRARY) as other, Load(other):
            refused = act(copy, *watch, CONTRARY, fails=True)

    assert "version 1 may be promoted" in said
    assert "Error: version 4 is to be backed out: share of 'negative': 1.000 against the champion's 0.000" in refused
    assert [(entry.event, entry.version) for entry in read_entries(copy.state.ledger)[-2:]] == [
        ("canary", "1"),
        ("canary", CONTRARY),
    ]
    assert read_version(copy, "production") == "3"
    assert service.get("/health").json()["model_version"].startswith("3-")
