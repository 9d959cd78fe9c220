"""The folder that the workers of a server share: which of them live, and how far each is with a desired state."""

import json
import os
import shutil
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import psutil

from sentiment.atomic_files import write_atomically
from sentiment.paths import make_private_folder
from service.api.ids import make_id
from service.background.file_lock import is_abandoned, make_locked_file

WORKER, STATUS = ".worker", ".status"
FORGOTTEN_SECONDS = 60.0

WorkerProgress = Literal["ready", "failed", "serving"]


@dataclass(frozen=True)
class WorkerStatus:
    """How far a worker is with the desired state of this `id`, and the name of the state that it `serves`."""

    id: str
    progress: WorkerProgress
    reason: str = ""
    serves: str = ""


@dataclass(frozen=True)
class Workers:
    """How many workers of a server live, and how many of them serve the served state."""

    living: int
    current: int


class WorkerRegistration:
    """Counts this process among the workers of its server until it is closed or dies."""

    def __init__(self, folder: Path) -> None:
        # Locked before it gets a name that others look for. The name is unique, so others may remove a dead file.
        made = folder / f"{os.getpid()}-{make_id()}.new"
        self._lock = make_locked_file(made)
        self._file = made.rename(made.with_suffix(WORKER))
        self._status = folder / f"{os.getpid()}{STATUS}"

    def report(self, status: WorkerStatus) -> None:
        """Write the status down for the other workers."""
        write_atomically(self._status, json.dumps(asdict(status)))

    def close(self) -> None:
        """Leave the workers."""
        for path in (self._file, self._status):
            path.unlink(missing_ok=True)
        os.close(self._lock)


def open_server_folder(parent: Path) -> Path:
    """Return the folder that the workers of this server share, and remove those of servers that have ended.

    Its name has the process id and the start time of the server: in a container every server has the same id.
    """
    server = psutil.Process(os.getppid())
    folder = parent / f"{server.pid}-{int(server.create_time() * 1000)}"
    make_private_folder(folder)
    for other in parent.iterdir():
        with suppress(OSError):
            idle = time.time() - other.stat().st_mtime > FORGOTTEN_SECONDS
            if other != folder and idle and not list_workers(other):
                shutil.rmtree(other, ignore_errors=True)
    return folder


def list_workers(folder: Path) -> list[str]:
    """Return the process ids of the workers that live, and remove the files of dead ones."""
    living = []
    for path in folder.glob(f"*{WORKER}"):
        with suppress(FileNotFoundError):
            if is_abandoned(path):
                path.unlink(missing_ok=True)
            else:
                living.append(path.stem.split("-")[0])
    return living


def read_statuses(folder: Path) -> list[WorkerStatus]:
    """Return how far each living worker is."""
    return [_read_status(folder / f"{worker}{STATUS}") for worker in list_workers(folder)]


def _read_status(path: Path) -> WorkerStatus:
    with suppress(OSError, ValueError, TypeError):
        return WorkerStatus(**json.loads(path.read_text(encoding="utf-8")))
    return WorkerStatus("", "serving")
