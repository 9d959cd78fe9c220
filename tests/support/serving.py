"""The service in processes of its own, which tests ask, kill and start again."""

import atexit
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import httpx
import psutil

from release.smoke_test import find_free_port, wait_until_ready
from sentiment.admin_token import read_admin_token
from sentiment.paths import CHECKOUT

TAG = "sentiment:tiny"
WORD = "marmalade"
STORE = f"""
import sys
from pathlib import Path
from dataclasses import replace
from sentiment.bundle.bundle import seal_bundle
from release.bento_store import store_model
from tests.conftest import make_tiny_bundle
bundle = make_tiny_bundle(Path(sys.argv[1]))
store_model(seal_bundle(bundle.folder, replace(bundle.card, uncertain_below=0.45)), {TAG!r})
"""
WORKER = "_bentoml_impl.worker.service"
GUARDED = ("/reload", "/canary", "/dashboard/")
STARTED = "Service sentigate initialized"


@dataclass
class Service:
    """A service with a store and a state of its own, in a process of its own."""

    folder: Path
    environment: dict[str, str]
    port: int = field(default_factory=find_free_port)
    process: subprocess.Popen | None = None
    wrapper: tuple[str, ...] = ()
    checkout: Path = CHECKOUT

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def log(self) -> str:
        return (self.folder / "serve.log").read_text(encoding="utf-8")

    def start(self) -> None:
        serve = [sys.executable, "-m", "bentoml", "serve", "--host", "127.0.0.1", "--port", str(self.port)]
        command = [*self.wrapper, *serve]
        with (self.folder / "serve.log").open("a") as said:
            self.process = subprocess.Popen(command, cwd=self.checkout, env=self.environment, stdout=said, stderr=said)
        wait_until_ready(self.url, self.process)

    def terminate(self) -> int:
        self.process.terminate()
        return self.process.wait(timeout=30)

    def kill(self) -> None:
        """Kill every process at once, the parent first so that it starts no worker again."""
        doomed = [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]
        for process in doomed:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait(timeout=10)
        assert psutil.wait_procs(doomed, timeout=10)[1] == []

    def find_workers(self) -> list[psutil.Process]:
        workers = []
        for child in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.Error):
                if WORKER in child.cmdline():
                    workers.append(child)
        return workers

    def wait_for_workers(self, starts: int) -> None:
        """Return when so many workers have started since the service first did."""
        wait_until(lambda: self.log.count(STARTED) >= starts, lambda: self.log[-2000:])

    def post(self, path: str, body: Any, **options: Any) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.request("POST", path, content=content, **{"timeout": 60, **options})

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Ask as a caller or, for what is guarded and where no headers are given, as the operator."""
        if path.startswith(GUARDED):
            options = {"headers": self.operator, **options}
        return httpx.request(method, f"{self.url}{path}", **{"timeout": 30, **options}, trust_env=False)

    @property
    def operator(self) -> dict[str, str]:
        """The headers of whoever can read the state folder; none where the service asks for keys."""
        return {"authorization": f"Bearer {self.token}"} if self.token else {}

    @property
    def token(self) -> str:
        return read_admin_token(self.state / "admin_token")

    def predict(self, text: str) -> str:
        """Return the id of the answer to a text."""
        return self.post("/predict", {"text": text}).raise_for_status().json()["prediction_id"]


ServiceT = TypeVar("ServiceT", bound=Service)


@contextmanager
def run_service(
    store: Path, folder: Path, *, kind: type[ServiceT] = Service, start: bool = True, **variables: str
) -> Iterator[ServiceT]:
    """Yield the service of this checkout with more variables in its environment; it is killed whatever happens."""
    shutil.copytree(store, folder / "bentoml")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SENTIMENT_", "DATABASE_"))}
    own = {
        "BENTOML_HOME": str(folder / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "True",
        "SENTIMENT_STATE_DIR": str(folder / "state"),
        "SENTIMENT_MODEL_TAG": TAG,
        "SENTIMENT_WORKERS": "1",
        "SENTIMENT_RELOAD_SOURCES": "/",
    }
    service = kind(folder, {**inherited, **own, **variables})
    try:
        if start:
            service.start()
        yield service
    finally:
        if service.process is not None and service.process.poll() is None:
            service.kill()


def make_store(folder: Path) -> Path:
    """Return a model store with the tiny bundle, which each service copies; it is made once in a session of tests."""
    return shutil.copytree(_make_store(), folder / "bentoml")


@cache
def _make_store() -> Path:
    made = TemporaryDirectory(prefix="sentigate-store-")
    atexit.register(made.cleanup)
    folder = Path(made.name)
    environment = {**os.environ, "BENTOML_HOME": str(folder / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}
    subprocess.run([sys.executable, "-c", STORE, str(folder / "tiny")], cwd=CHECKOUT, env=environment, check=True)
    return folder / "bentoml"


def wait_until(check: Callable[[], Any], describe: Callable[[], str] = lambda: "it did not come", seconds=30) -> Any:
    """Return what a check says as soon as it is true; fail after a generous time."""
    deadline = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < deadline, describe()
        time.sleep(0.05)
    return found
