"""Real container registries for tests: Debian's docker-registry, on loopback and in a folder of its own."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import bcrypt
import httpx
import pytest
import yaml

from deploy.engines import Engine
from steps.bento import find_free_port
from tests.integration.serving import wait_until


@dataclass(frozen=True)
class Registry:
    """A registry that speaks plain http."""

    port: int

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"


@dataclass(frozen=True)
class ClosedRegistry(Registry):
    """A registry that wants a name and a password; `credentials` is the file in which podman keeps its logins."""

    user: str
    password: str
    credentials: Path

    def log_in(self, engine: Engine) -> None:
        options = ["--tls-verify=false", "--username", self.user, "--password", self.password]
        engine.run("login", "--authfile", str(self.credentials), *options, self.host)


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
