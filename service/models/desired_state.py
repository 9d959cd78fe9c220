"""The models that all workers of a server are to serve: one model, and perhaps a canary, in a file they share."""

import json
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sentiment.atomic_files import write_atomically

PENDING_FILE, SERVED_FILE = "pending.json", "served.json"


@dataclass(frozen=True)
class DesiredCanary:
    """A model that answers a share of the requests until a moment of the monotonic clock, which all processes share."""

    id: str
    folder: str
    version: str
    share: float
    until: float
    digest: str = ""

    @property
    def is_over(self) -> bool:
        """Whether its time is over."""
        return time.monotonic() >= self.until

    def describe_end(self, reason: str = "its time was over") -> str:
        """Return that it ended, and why."""
        return f"{self.version} ended: {reason}"


@dataclass(frozen=True)
class DesiredState:
    """A model to serve: the folder of its bundle, its version, and the id of the reload that chose it.

    `canary` is the second model, if there is one, and `ended` says why the last canary ended. `digest` is that of the
    files that were tried.
    """

    id: str
    folder: str
    version: str
    canary: DesiredCanary | None = None
    ended: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """A name that no other desired state of the server has."""
        return f"{self.id}+{self.canary.id}" if self.canary else self.id


def write_desired_state(path: Path, desired: DesiredState) -> None:
    """Replace the desired state in a file."""
    write_atomically(path, json.dumps(asdict(desired)))


def read_desired_state(path: Path) -> DesiredState | None:
    """Return the desired state in a file; None if there is none that can be read."""
    with suppress(OSError, ValueError, TypeError, AttributeError):
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        canary = DesiredCanary(**found["canary"]) if found.get("canary") else None
        return DesiredState(**{**found, "canary": canary})
    return None
