"""A registry for images on this machine, from Debian's own package, that wants a name and a password."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import bcrypt
import pytest

from deploy.engines import Engine
from sentiment.state import CHECKOUT
from steps.bento import find_free_port
from tests.integration.clouds import wait_for

CONFIGURATION = """
version: 0.1
storage: {{filesystem: {{rootdirectory: {folder}/images}}}}
http: {{addr: "{host}"}}
auth: {{htpasswd: {{realm: tests, path: {folder}/htpasswd}}}}
"""


@dataclass(frozen=True)
class Registry:
    """Where it listens, who may use it, and the file in which podman keeps its logins; docker's is beside it."""

    host: str
    user: str
    password: str
    credentials: Path

    @property
    def environment(self) -> dict[str, str]:
        """What makes either engine keep its logins here."""
        own = {"REGISTRY_AUTH_FILE": str(self.credentials), "DOCKER_CONFIG": str(self.credentials.parent)}
        return {**os.environ, **own}

    def log_in(self, engine: Engine) -> None:
        plain = ["--tls-verify=false"] if engine.name == "podman" else []  # docker takes http from loopback
        command = [engine.name, "login", *plain, "--username", self.user, "--password-stdin", self.host]
        options = {"input": self.password, "env": self.environment, "text": True, "capture_output": True}
        subprocess.run(command, check=True, **options)

    def push(self, image: str) -> "subprocess.CompletedProcess[str]":
        """Return what `make push` did."""
        command = [sys.executable, "-m", "deploy.push", f"{self.host}/sentigate", "--image", image]
        return subprocess.run(command, cwd=CHECKOUT, env=self.environment, capture_output=True, text=True, check=False)

    def forget_logins(self) -> None:
        for file in (self.credentials, self.credentials.with_name("config.json")):
            file.write_text("{}")


@contextmanager
def start_registry(folder: Path, user: str, password: str) -> Iterator[Registry]:
    """Yield an empty registry, or skip with a reason."""
    if shutil.which("docker-registry") is None:
        pytest.skip("there is no docker-registry; apt-get install docker-registry")
    host = f"127.0.0.1:{find_free_port()}"
    digest = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()
    (folder / "htpasswd").write_text(f"{user}:{digest}\n")
    (folder / "auth.json").write_text("{}")
    configuration = folder / "registry.yml"
    configuration.write_text(CONFIGURATION.format(folder=folder, host=host))
    with (folder / "registry.log").open("w") as log:
        process = subprocess.Popen(["docker-registry", "serve", str(configuration)], stdout=log, stderr=log)
    try:
        wait_for(f"http://{host}/v2/")
        yield Registry(host, user, password, folder / "auth.json")
    finally:
        process.kill()
        process.wait()
