"""The compose command of this machine, and the containers of the stack that it started."""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from deploy.images.engines import Engine, find_engine
from sentiment.errors import DeployError, find_last_words

FILE = Path(__file__).with_name("compose.yaml")
PROFILES = ("front", "metrics", "mlflow")
MIGRATION = "migration"  # a service, and the profile that has nothing else
PROJECT_LABEL, SERVICE_LABEL = "com.docker.compose.project", "com.docker.compose.service"
RUNNING, HEALTHY = "running", "healthy"


@dataclass(frozen=True)
class Container:
    """A container of the stack; `state` is what the engine says, or `healthy` once its check passes."""

    id: str
    service: str
    state: str
    restarts: int

    @property
    def runs(self) -> bool:
        return self.state in {RUNNING, HEALTHY}


@dataclass(frozen=True)
class Service:
    """What a service of the compose file asks of this machine: ports by address, secrets, an image."""

    name: str
    image: str
    built_here: bool
    never_pulled: bool
    ports: tuple[tuple[str, int], ...]
    secrets: tuple[Path, ...]


@dataclass(frozen=True)
class Compose:
    """One project of the compose files."""

    engine: Engine
    command: tuple[str, ...]
    project: str
    files: tuple[Path, ...] = field(default=(FILE,))

    def run(
        self, *arguments: str, profiles: Sequence[str] = PROFILES, **options: Any
    ) -> "subprocess.CompletedProcess[Any]":
        """Return a compose command that was run; `options` are those of `subprocess.run`."""
        files = [part for file in self.files for part in ("--file", str(file))]
        chosen = [part for profile in profiles for part in ("--profile", profile)]
        command = [*self.command, "--project-name", self.project, *files, *chosen, *arguments]
        return subprocess.run(command, check=False, **options)

    def list_services(self, profiles: Sequence[str]) -> list[Service]:
        """Return the services that these profiles start. Raises DeployError when the files cannot be read."""
        done = self.run("config", profiles=profiles, capture_output=True, text=True)
        if done.returncode:
            raise DeployError(f"the compose file cannot be read: {find_last_words(done.stderr)}.")
        described = yaml.safe_load(done.stdout)
        files = {name: self._locate(entry["file"]) for name, entry in described["secrets"].items()}
        return [_describe(name, entry, files) for name, entry in described["services"].items()]

    def list_containers(self) -> list[Container]:
        """Return the containers of the project, those that stopped, too."""
        ids = self.engine.run("ps", "--all", "--quiet", "--filter", f"label={PROJECT_LABEL}={self.project}").split()
        if not ids:
            return []
        described = json.loads(self.engine.run("container", "inspect", *ids))
        return [
            Container(
                one["Id"],
                one["Config"]["Labels"].get(SERVICE_LABEL, ""),
                self._read_state(one),
                int(one["RestartCount"]),
            )
            for one in described
        ]

    def find_container(self, service: str) -> Container | None:
        """Return the container of a service that runs, or None."""
        return next((one for one in self.list_containers() if one.service == service and one.runs), None)

    def has_volume(self, name: str) -> bool:
        """Return whether a volume of the project is there."""
        names = self.engine.run("volume", "ls", "--quiet", "--filter", f"name={self.project}_{name}").split()
        return f"{self.project}_{name}" in names

    def read_log(self, container: Container, lines: int) -> str:
        """Return the last lines that a container wrote."""
        command = [self.engine.name, "logs", "--tail", str(lines), container.id]
        return subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        ).stdout.strip()

    def _read_state(self, described: dict[str, Any]) -> str:
        state = described["State"]
        if state["Status"] != RUNNING:
            return str(state["Status"])
        if self.engine.name == "podman":  # whose own timer for it is systemd, which not every machine has
            command = ["podman", "healthcheck", "run", described["Id"]]
            passed = subprocess.run(command, capture_output=True, check=False).returncode == 0
        else:
            passed = state.get("Health", {}).get("Status") == HEALTHY
        return HEALTHY if passed else RUNNING

    def _locate(self, file: str) -> Path:
        return (self.files[0].parent / file).resolve()


def find_compose(project: str, files: Sequence[Path] = (FILE,)) -> Compose:
    """Return the compose command of the engine that works here. Raises DeployError with what to install."""
    engine = find_engine(among=("docker", "podman"))
    if engine.name == "docker":
        probe = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)  # noqa: S607 - as PATH has it
        if probe.returncode:
            raise DeployError("Docker works here, but `docker compose` does not; install its compose plugin.")
        return Compose(engine, ("docker", "compose"), project, tuple(files))
    beside = Path(sys.executable).with_name("podman-compose")
    found = str(beside) if beside.exists() else shutil.which("podman-compose")
    if found is None:
        raise DeployError("podman works here, but there is no podman-compose; `pip install podman-compose`.")
    return Compose(engine, (found,), project, tuple(files))


def _describe(name: str, entry: dict[str, Any], files: dict[str, Path]) -> Service:
    secrets = [one if isinstance(one, str) else one["source"] for one in entry.get("secrets", [])]
    return Service(
        name,
        entry.get("image", ""),
        "build" in entry,
        entry.get("pull_policy") == "never",
        tuple(_read_port(port) for port in entry.get("ports", [])),
        tuple(files[secret] for secret in secrets),
    )


def _read_port(port: str | dict[str, Any]) -> tuple[str, int]:
    """Return address and port on this machine; docker spells a port out, podman-compose leaves it as it is written."""
    if isinstance(port, dict):
        return port.get("host_ip") or "0.0.0.0", int(port["published"])  # noqa: S104 - read, not bound
    *address, published, _ = port.split(":")
    return ":".join(address) or "0.0.0.0", int(published)  # noqa: S104 - read, not bound
