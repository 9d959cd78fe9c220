"""What tests that move production share: a checkout with versions, its commands, its records, and load on its service.

The service itself is a fixture, in `conftest.py`.
"""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from mlflow.tracking import MlflowClient

from benchmarks.copying import CheckoutCopy, copy_checkout
from sentiment.governance.ledger import LedgerEntry, read_entries
from sentiment.paths import CHECKOUT
from tests.support.serving import Service, wait_until


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


def act(copy: CheckoutCopy, *arguments: str, fails: bool = False) -> str:
    """Return what a command says, on one line; it must do as expected, without a stack trace."""
    done = copy.start("-m", "sentigate", *arguments)
    assert bool(done.returncode) == fails, done.stdout
    assert "Traceback" not in done.stdout, done.stdout
    return " ".join(done.stdout.split())


def read_version(copy: CheckoutCopy, alias: str) -> str | None:
    aliases = MlflowClient(copy.state.tracking_uri).get_registered_model("sentiment").aliases
    return str(aliases[alias]) if alias in aliases else None


def read_last(copy: CheckoutCopy) -> LedgerEntry:
    return read_entries(copy.state.ledger)[-1]


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
