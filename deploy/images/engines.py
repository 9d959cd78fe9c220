"""The container engines of this machine: which one works, and what it says of an image."""

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sentiment.errors import DeployError, find_last_words

PROBES = {
    "docker": ("version", "--format", "{{.Server.Version}}"),  # the client alone is of no use
    "podman": ("info",),
    "buildah": ("info",),
}
ENGINES = tuple(PROBES)
PROBE_SECONDS = 30
UNITS = {"bytes": 1, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9}


@dataclass(frozen=True)
class StoredImage:
    """An image in the engine's storage; `size_bytes` is unpacked, `digest` that of the registry it came from."""

    size_bytes: int
    digest: str


@dataclass(frozen=True)
class Engine:
    """An engine that works, and why those before it were passed over."""

    name: str
    passed_over: tuple[str, ...] = ()

    def run(self, *arguments: str) -> str:
        """Return what a command of the engine prints. Raises DeployError with its last words when it fails."""
        done = subprocess.run([self.name, *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            raise DeployError(find_last_words(done.stderr or done.stdout))
        return done.stdout

    def find_image(self, name: str) -> StoredImage | None:
        """Return an image of the engine's storage, or None where it has none of that name."""
        try:
            return self._read_image(name)
        except DeployError:
            return None

    def fetch_image(self, name: str) -> StoredImage:
        """Return an image, pulled where the storage does not have it. Raises DeployError when it cannot be had."""
        if found := self.find_image(name):
            return found
        try:
            self.run("pull", name)
        except DeployError as error:
            raise DeployError(
                f"the base image {name} cannot be had: {error}; name one that {self.name} can pull,"
                " for example BASE=registry.example.org/python:3.11-slim-bookworm."
            ) from error
        return self._read_image(name)

    def _read_image(self, name: str) -> StoredImage:
        if self.name == "buildah":
            described: dict[str, Any] = json.loads(self.run("images", "--json", name))[0]
            size, unit = described["size"].split()
            return StoredImage(int(float(size) * UNITS[unit]), "")
        described = json.loads(self.run("image", "inspect", name))[0]
        pulled = [name for name in described.get("RepoDigests") or [] if not name.startswith("localhost/")]
        return StoredImage(described["Size"], pulled[0].rpartition("@")[2] if pulled else "")


def find_engine(wanted: str = "auto", *, among: Sequence[str] = ENGINES) -> Engine:
    """Return the engine that is wanted, or the first that works. Raises DeployError with a reason for each."""
    reasons: list[str] = []
    for name in among if wanted == "auto" else (wanted,):
        reason = find_obstacle(name)
        if not reason:
            return Engine(name, tuple(reasons))
        reasons.append(f"{name}: {reason}")
    raise DeployError(
        f"no container engine works here ({'; '.join(reasons)}); start Docker, or install podman or buildah."
    )


def find_obstacle(name: str) -> str:
    """Return why an engine does not work here; empty when it does."""
    if shutil.which(name) is None:
        return "not installed"
    try:
        done = subprocess.run([name, *PROBES[name]], capture_output=True, text=True, timeout=PROBE_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"no answer in {PROBE_SECONDS} s"
    return find_last_words(done.stderr or done.stdout) if done.returncode else ""
