"""The service in a container, hardened as the documentation says, which tests ask, stop and start again."""

import json
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from deploy.images.engines import Engine
from tests.support.serving import wait_until

HARDENED = (
    *("--read-only", "--tmpfs", "/tmp"),
    *("--cap-drop", "all", "--security-opt", "no-new-privileges"),
    *("--memory", "700m", "--pids-limit", "200"),
)
READY_SECONDS = 60


@dataclass
class Container:
    """A container with the service in it."""

    engine: Engine
    name: str
    started: float = 0.0

    @property
    def url(self) -> str:
        return f"http://{self.engine.run('port', self.name, '3000').splitlines()[0]}"

    @property
    def log(self) -> str:
        return self.engine.run("logs", self.name)

    def inspect(self) -> dict[str, Any]:
        return json.loads(self.engine.run("container", "inspect", self.name))[0]

    def execute(self, *command: str) -> str:
        return self.engine.run("exec", self.name, *command)

    def start(self) -> float:
        """Start it again; return the seconds until it was ready."""
        self.started = time.monotonic()
        self.engine.run("start", self.name)
        return self.wait_until_ready()

    def wait_until_ready(self) -> float:
        url = self.url
        with httpx.Client(base_url=url, timeout=5, trust_env=False) as client:
            wait_until(lambda: _is_ready(client), lambda: self.log[-2000:], seconds=READY_SECONDS)
        return time.monotonic() - self.started

    def stop(self) -> float:
        """Stop it as an engine does, by SIGTERM; return the seconds that took."""
        begun = time.monotonic()
        self.engine.run("stop", "-t", "30", self.name)
        return time.monotonic() - begun

    def post(self, path: str, body: Any, **options: Any) -> httpx.Response:
        return httpx.post(f"{self.url}{path}", json=body, timeout=30, trust_env=False, **options)

    def get(self, path: str, **options: Any) -> httpx.Response:
        return httpx.get(f"{self.url}{path}", timeout=30, trust_env=False, **options)


def is_busy() -> bool:
    """Whether so much else runs on this machine that seconds say nothing of a container."""
    return os.getloadavg()[0] > 2 * (os.cpu_count() or 1)


@contextmanager
def run_container(engine: Engine, image: str, *options: str) -> Iterator[Container]:
    """Yield the service in a hardened container with more options, ready; it is removed with its volumes."""
    container = Container(engine, f"sentigate-test-{uuid.uuid4().hex[:12]}", time.monotonic())
    engine.run("run", "--detach", "--name", container.name, "--publish", "127.0.0.1::3000", *HARDENED, *options, image)
    try:
        container.wait_until_ready()
        yield container
    finally:
        engine.run("rm", "--force", "--volumes", container.name)


def _is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
