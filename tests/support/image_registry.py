"""Real container registries for tests: Debian's docker-registry, on loopback and in a folder of its own."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import bcrypt
import httpx
import pytest
import yaml

from deploy.images.engines import Engine
from release.smoke_test import find_free_port
from sentiment.paths import CHECKOUT
from tests.support.serving import wait_until


@dataclass(frozen=True)
class Registry:
    """A registry that speaks plain http."""

    port: int

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"


@dataclass(frozen=True)
class ClosedRegistry(Registry):
    """A registry that wants a name and a password; podman keeps its logins in `credentials`, docker beside it."""

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
        command = [sys.executable, "-m", "sentigate", "push", f"{self.host}/sentigate", "--image", image]
        return subprocess.run(command, cwd=CHECKOUT, env=self.environment, capture_output=True, text=True, check=False)

    def forget_logins(self) -> None:
        for file in (self.credentials, self.credentials.with_name("config.json")):
            file.write_text("{}")


def require_registry(*programs: str) -> None:
    """Skip a test where the registry or one of these programs is missing."""
    for program in ("docker-registry", *programs):
        if shutil.which(program) is None:
            pytest.skip(f"there is no `{program}` on PATH; on Debian `apt-get install {program}` has it")


@contextmanager
def run_registry(folder: Path, **more: dict) -> Iterator[Registry]:
    """Yield a registry that keeps what it is given in a folder; `more` is more of its configuration."""
    port = find_free_port()
    configuration = {
        "version": 0.1,
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "blobs")}},
        "http": {"addr": f"127.0.0.1:{port}"},
        **more,
    }
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "config.yml"
    file.write_text(yaml.safe_dump(configuration), encoding="utf-8")
    with (folder / "registry.log").open("w") as said:
        process = subprocess.Popen([shutil.which("docker-registry"), "serve", str(file)], stdout=said, stderr=said)
    try:
        wait_until(lambda: _answers(port), (folder / "registry.log").read_text)
        yield Registry(port)
    finally:
        process.terminate()
        process.wait(timeout=10)


@contextmanager
def run_closed_registry(folder: Path, user: str, password: str) -> Iterator[ClosedRegistry]:
    """Yield an empty registry that one user may use, or skip with a reason."""
    require_registry()
    digest = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()
    users, credentials = folder / "htpasswd", folder / "auth.json"
    users.write_text(f"{user}:{digest}\n")
    credentials.write_text("{}")
    with run_registry(folder, auth={"htpasswd": {"realm": "tests", "path": str(users)}}) as registry:
        yield ClosedRegistry(registry.port, user, password, credentials)


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/v2/", trust_env=False).status_code in {200, 401}
    except httpx.TransportError:
        return False
