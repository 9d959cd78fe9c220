"""One person is forgotten by the command while the service answers others."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sentiment.paths import CHECKOUT
from tests.integration.prediction_log.test_prediction_log import Load, LoggingService, run_service
from tests.support.postgres import Postgres, run_postgres
from tests.support.serving import make_store

MARK = "marzipan"
TEXTS = [f"{MARK} is good, mail ann@example.com", f"{MARK} and nougat", f"again {MARK}"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with run_postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def service(request, store, tmp_path) -> Iterator[LoggingService]:
    """A service that keeps redacted texts in either database, made with the umask of most machines."""
    variables = {}
    if request.param == "postgres":
        variables["DATABASE_URL"] = request.getfixturevalue("postgres").create_database()
    before = os.umask(0o022)
    try:
        with run_service(store, tmp_path, **variables) as started:
            yield started
    finally:
        os.umask(before)


def run(service: LoggingService, *arguments: str, given: str = "") -> subprocess.CompletedProcess:
    """Run the command as the operator of the service does."""
    command = [sys.executable, "-m", "service.prediction_log.privacy", *arguments]
    return subprocess.run(
        command, cwd=CHECKOUT, env=service.environment, input=given, capture_output=True, text=True, check=False
    )


def ask(service: LoggingService, text: str, **headers: str) -> dict:
    return service.post("/predict", {"text": text}, headers=headers).raise_for_status().json()


def list_open(service: LoggingService) -> list[str]:
    """Return which of the files and folders that a service keeps others may read."""
    state = service.state
    kept = [state, service.spool, *service.spool.iterdir(), *state.glob("sentigate.db*"), *state.glob("hash.key*")]
    assert len(kept) >= 5
    return [path.name for path in kept if path.exists() and path.stat().st_mode & 0o077]


def list_holders(service: LoggingService) -> list[str]:
    """Return the files of the state that hold the word."""
    files = [path for path in service.state.rglob("*") if path.is_file()]
    return [path.name for path in files if MARK.encode() in path.read_bytes()]


def test_a_person_is_forgotten_while_the_service_answers(service):
    """By subject, request and text all that a person wrote goes, also what still waits; no row of others is lost."""
    with Load(service) as load:
        answers = [
            ask(service, TEXTS[0], **{"x-subject": "ann@example.com"}),
            ask(service, TEXTS[1]),
            ask(service, TEXTS[2]),
        ]
        service.post("/feedback", {"prediction_id": answers[0]["prediction_id"], "label": "negative"})
        exported = run(service, "export", "--subject", "ann@example.com")
        results = [
            run(service, "forget", "--subject", "ann@example.com", "--yes", "--json"),
            run(service, "forget", "--request-id", answers[1]["request_id"], "--yes", "--json"),
            run(service, "forget", "--text-file", "-", "--yes", "--json", given=TEXTS[2]),
        ]
        load.wait_for_more()
    service.check_log_of(load, forgotten=3)

    assert [result.returncode for result in results] == [0, 0, 0], [result.stderr for result in results]
    rows = [json.loads(line) for line in exported.stdout.splitlines()]
    assert {row["kind"] for row in rows} == {"prediction", "feedback"}
    assert {row.get("text") for row in rows} == {f"{MARK} is good, mail [email]", None}
    removed = [sum(sum(kinds.values()) for kinds in json.loads(result.stdout)["counts"].values()) for result in results]
    assert removed == [2, 1, 1]
    assert service.read_rows().keys().isdisjoint(answer["prediction_id"] for answer in answers)
    assert list_holders(service) == []
    ledger = (service.state / "ledger.jsonl").read_text(encoding="utf-8")
    assert ledger.count('"erasure"') == 3
    assert MARK not in f"{ledger}{service.log}{results}"
    assert "ann@" not in ledger
    assert list_open(service) == ["shipper.json"]  # in a folder that is closed; it says how the shipper is doing
