"""What the workers of a server are to serve: a model and perhaps a canary, written down where all of them look.

Who the workers are is in `workers.py`, how a choice is opened in `loaded.py`, how all change to it in `switch.py`.
"""

import json
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from service.models.workers import write_whole

CANDIDATE_FILE, SERVED_FILE = "candidate.json", "served.json"


@dataclass(frozen=True)
class CanaryChoice:
    """A model that answers a share of the requests until a time on the clock that all processes share."""

    id: str
    folder: str
    version: str
    share: float
    until: float
    digest: str = ""

    @property
    def is_over(self) -> bool:
        """Whether its time has come."""
        return time.monotonic() >= self.until

    def say_ended(self, reason: str = "its time was over") -> str:
        """Return that it ended, and why."""
        return f"{self.version} ended: {reason}"


@dataclass(frozen=True)
class Choice:
    """A model to serve: where its bundle lies, what it is called, and the id of the reload that chose it.

    With it the canary, where there is one, or why the last one `ended`. `digest` is that of the files that were tried.
    """

    id: str
    folder: str
    version: str
    canary: CanaryChoice | None = None
    ended: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """What tells this choice from all others of the server."""
        return f"{self.id}+{self.canary.id}" if self.canary else self.id


def write_choice(path: Path, choice: Choice) -> None:
    """Write a choice down, in the place of the one before."""
    write_whole(path, asdict(choice))


def read_choice(path: Path) -> Choice | None:
    """Return the choice that is written there; None where there is none, or none that can be read."""
    with suppress(OSError, ValueError, TypeError, AttributeError):
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        canary = CanaryChoice(**found["canary"]) if found.get("canary") else None
        return Choice(**{**found, "canary": canary})
    return None
