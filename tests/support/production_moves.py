"""What tests that move production share: a checkout with versions, its commands, its records, load on its service."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from mlflow.tracking import MlflowClient

from sentiment.admin_token import read_admin_token
from sentiment.governance.ledger import LedgerEntry, read_entries
from sentiment.paths import CHECKOUT, StateFolder
from tests.support.checkout_copy import CheckoutCopy, Snapshot, copy_checkout
from tests.support.command_server import CommandServer
from tests.support.serving import Service, wait_until


@dataclass(frozen=True)
class Production:
    """A copy of the checkout with models in its registry, whose commands start at once."""

    copy: CheckoutCopy
    commands: CommandServer

    @property
    def state(self) -> StateFolder:
        return self.copy.state

    def act(self, *arguments: str, fails: bool = False) -> str:
        """Return what a command says, on one line; it must do as expected, without a stack trace."""
        done = self.commands.run("sentigate", *arguments)
        assert bool(done.returncode) == fails, done.stdout
        assert "Traceback" not in done.stdout, done.stdout
        return " ".join(done.stdout.split())


@contextmanager
def open_production(copy: CheckoutCopy) -> Iterator[Production]:
    commands = CommandServer(copy.folder, copy.environment)
    try:
        yield Production(copy, commands)
    finally:
        commands.close()


def copy_with_versions(folder: Path, slopes: Sequence[float]) -> CheckoutCopy:
    """Return a copy of the checkout, set up, whose registry has a version per slope, as `versions.py` makes them."""
    copy = copy_checkout(folder / "checkout")
    copy.state.folder.mkdir()
    copy.run("-m", "sentigate", "setup")
    made = subprocess.run(
        [sys.executable, "-m", "tests.support.versions", str(folder / "bundles"), *map(str, slopes)],
        cwd=copy.folder,
        env=copy.environment | {"SENTIMENT_ACTOR": "ann", "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    return copy


@contextmanager
def run_beside(copy: CheckoutCopy) -> Iterator[Service]:
    """Yield the service of a checkout with two workers, answering from what is in production."""
    environment = {name: value for name, value in copy.environment.items() if name != "SENTIMENT_MODEL_TAG"}
    service = Service(copy.folder, environment | {"SENTIMENT_WORKERS": "2"}, checkout=copy.folder)
    try:
        service.start()
        service.wait_for_workers(2)
        yield service
    finally:
        service.kill()


@contextmanager
def start_production(folder: Path, slopes: Sequence[float]) -> Iterator[tuple[Production, Service, Snapshot]]:
    """Yield a checkout with a version per slope, a service that answers from version 1, and what to go back to."""
    with open_production(copy_with_versions(folder, slopes)) as production:
        production.act("promote", "--version", "1")
        with run_beside(production.copy) as service:
            yield production, service, Snapshot(production.state, folder / "start")


def return_to_start(production: Production, service: Service, start: Snapshot) -> None:
    """Put stores, registry and ledger back as they were, and let the service answer from what is in production then."""
    service.request("DELETE", "/canary")
    start.restore()
    version = json.loads(production.state.production.read_text(encoding="utf-8"))["tag"].partition(":")[2]
    headers = {"authorization": f"Bearer {read_admin_token(production.state.admin_token)}"}
    answer = service.request("POST", "/reload", json={"version": version}, headers=headers, timeout=60)
    assert answer.status_code == 200, answer.text


def read_version(production: Production, alias: str) -> str | None:
    aliases = MlflowClient(production.state.tracking_uri).get_registered_model("sentiment").aliases
    return str(aliases[alias]) if alias in aliases else None


def read_last(production: Production) -> LedgerEntry:
    return read_entries(production.state.ledger)[-1]


class Load:
    """Clients that ask again and again, each time over a new connection; of an answer they keep little."""

    def __init__(self, service: Service) -> None:
        self._port = service.port
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(2)]
        self.answers: list[tuple[float, int | str, str]] = []

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        self.wait_for_more()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for_more(self) -> None:
        wanted = len(self.answers) + 20
        wait_until(lambda: len(self.answers) >= wanted)

    def _run(self) -> None:
        body, headers = json.dumps({"text": "what a day"}), {"content-type": "application/json"}
        while not self._stop.wait(0.02):
            sent = time.monotonic()
            connection = HTTPConnection("127.0.0.1", self._port, timeout=60)
            try:
                connection.request("POST", "/predict", body, headers)
                answer = connection.getresponse()
                self.answers.append((sent, answer.status, json.load(answer).get("model_version", "")))
            except (OSError, HTTPException, ValueError) as error:
                self.answers.append((sent, type(error).__name__, ""))
            finally:
                connection.close()
