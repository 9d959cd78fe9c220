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

from sentiment.governance.ledger import read_entries
from tests.support.checkout_copy import Snapshot
from tests.support.production_moves import Load, Production, read_last, read_version, start_production
from tests.support.serving import Service, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.extended]

RULE = {"min_answers": 60, "max_minutes": 3, "look_seconds": 1, "share": 0.5, "max_slow_rise": 0.9}
EASY = {**RULE, "max_uncertain_rise": 0.5, "max_confidence_drop": 0.5, "max_label_shift": 0.5}
CONTRARY = "4"
FORCE = ("--force", "trying the canary itself")
TRIED = "answers 0.5 of the requests"


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Production, Service, Snapshot]]:
    """A service of version 1 beside four: the third waits for approval, the fourth says the opposite of all others."""
    with start_production(tmp_path_factory.mktemp("e2e"), slopes=[0.1, 0.1, 0.1, -0.1]) as started:
        yield started


@pytest.fixture
def easy(production: Production) -> Path:
    """A configuration whose rule few answers meet."""
    content = yaml.safe_load((production.copy.folder / "zenml_config.yaml").read_text(encoding="utf-8"))
    content["canary"] |= EASY
    path = production.copy.folder.parent / "easy.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def list_versions(load: Load, since: float = 0.0) -> set[str]:
    return {version.partition("-")[0] for sent, _, version in load.answers if sent > since}


def assert_none_failed(load: Load) -> None:
    assert {status for _, status, _ in load.answers} == {200}


def test_what_waits_nowhere_and_what_is_not_there_is_told(production: Production, service: Service) -> None:
    """Bad input is one sentence, and starts nothing."""
    assert "Error: the registry has no version or alias '99'" in production.act("canary", "--version", "99", fails=True)
    assert "is in production already" in production.act("canary", "--version", "1", fails=True)
    assert "canary.share is 1.5" in production.act("canary", "--share", "1.5", fails=True)
    assert "cannot be reached" in production.act("canary", "--url", "http://127.0.0.1:9", fails=True)
    assert service.get("/health").json()["canary"] == "off"


def test_a_canary_that_nobody_asks_is_backed_out(production: Production, service: Service, easy: Path) -> None:
    """Without traffic it ends in time, says that it saw too little, and leaves production alone."""
    said = production.act("canary", "--config", str(easy), "--minutes", "0.05", fails=True)

    assert "Error: version 3 was backed out: the canary gave 0 answers" in said
    assert "too few, 60 of each are wanted" in said
    assert (read_last(production).event, read_version(production, "production")) == ("canary", "1")
    assert service.get("/health").json()["canary"]["status"] == "ended"


def test_a_canary_that_is_worse_is_backed_out(production: Production, service: Service, easy: Path) -> None:
    """A version that says the opposite answers some requests, and none after the command; no request fails."""
    with Load(service) as load:
        said = production.act("canary", "--config", str(easy), "--version", CONTRARY, *FORCE, fails=True)
        done = time.monotonic()
        load.wait_for_more()

    assert "Error: version 4 was backed out: share of 'negative': 1.000 against the champion's 0.000" in said
    assert_none_failed(load)
    assert (list_versions(load), list_versions(load, since=done)) == ({"1", CONTRARY}, {"1"})
    assert read_last(production).details["canary"]["labels"].keys() == {"negative"}


def test_who_stops_the_watch_backs_the_canary_out(production: Production, service: Service, easy: Path) -> None:
    """Ctrl-C ends the canary in every worker, and says so in the ledger."""
    command = [sys.executable, "-m", "sentigate", "canary", "--config", str(easy), "--minutes", "3"]
    log = production.copy.folder.parent / "stopped.log"
    with log.open("w") as said, Load(service) as load:
        process = subprocess.Popen(
            [*command, "--version", CONTRARY, *FORCE],
            cwd=production.copy.folder,
            env=production.copy.environment,
            stdout=said,
            stderr=said,
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
    assert read_last(production).summary == "version 4 was backed out: the watch was interrupted."


def test_a_canary_that_holds_is_promoted(production: Production, service: Service, easy: Path) -> None:
    """What waits answers its share beside the champion, then everything; no request fails, the ledger has why."""
    with Load(service) as load:
        said = production.act("canary", "--config", str(easy))
        done = time.monotonic()
        load.wait_for_more()

    assert TRIED in said
    assert_none_failed(load)
    assert (list_versions(load), list_versions(load, since=done)) == ({"1", "3"}, {"3"})
    assert (read_version(production, "production"), read_version(production, "staging")) == ("3", None)
    entries = read_entries(production.state.ledger)[-3:]
    assert [(entry.event, entry.version) for entry in entries] == [
        (e, "3") for e in ("canary", "approval", "promotion")
    ]
    assert entries[0].details["canary"]["answers"] >= 60
    assert "no version waits at the alias 'staging'" in production.act("canary", fails=True)


@contextmanager
def run_elsewhere(production: Production, number: str) -> Iterator[Service]:
    """Yield a server of a version with a state of its own, as in a pod; what it shares is the database of the log."""
    (stored,) = (production.state.bentoml / "models" / "sentiment").glob(f"{number}-*")
    own = {
        "SENTIMENT_STATE_DIR": str(production.copy.folder.parent / f"pod-{number}"),
        "SENTIMENT_MODEL_TAG": f"sentiment:{stored.name}",
        "SENTIMENT_WORKERS": "1",
        "DATABASE_URL": production.state.database_uri,
    }
    folder = production.copy.folder.parent / f"server-{number}"
    folder.mkdir()
    server = Service(folder, production.copy.environment | own, checkout=production.copy.folder)
    try:
        server.start()
        yield server
    finally:
        server.kill()


def test_a_canary_that_others_run_is_watched_alone(production: Production, service: Service, easy: Path) -> None:
    """Of two servers with one log, as on Kubernetes, the rows decide; registry and services are left as they are."""
    tried = ("canary", "--config", str(easy), "--version", CONTRARY, *FORCE, "--minutes", "0.05")
    production.act(*tried, fails=True)  # it leaves the files of the version in the store
    watch = ("canary", "--config", str(easy), "--watch-only", "--version")
    with Load(service):
        with run_elsewhere(production, "1") as other, Load(other):
            said = production.act(*watch, "1")
        with run_elsewhere(production, CONTRARY) as other, Load(other):
            refused = production.act(*watch, CONTRARY, fails=True)

    assert "version 1 may be promoted" in said
    assert "Error: version 4 is to be backed out: share of 'negative': 1.000 against the champion's 0.000" in refused
    assert [(entry.event, entry.version) for entry in read_entries(production.state.ledger)[-2:]] == [
        ("canary", "1"),
        ("canary", CONTRARY),
    ]
    assert read_version(production, "production") == "1"
    assert service.get("/health").json()["model_version"].startswith("1-")
