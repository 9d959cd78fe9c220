"""The folder that the workers of a server share: who of them lives, and how far each is with what was chosen.

What they are to serve is in `desired_state.py`.
"""

import fcntl
import json
import os
import shutil
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import psutil

from sentiment.paths import make_private_folder
from service.background.file_lock import lock_file
from service.prediction_log.entries import make_id

WORKER, STATUS = ".worker", ".status"
FORGOTTEN_SECONDS = 60.0

Progress = Literal["ready", "failed", "serving"]


@dataclass(frozen=True)
class WorkerStatus:
    """How far a worker is with a choice, by its name, and the name of what it serves."""

    id: str
    progress: Progress
    reason: str = ""
    serves: str = ""


@dataclass(frozen=True)
class Workers:
    """How many workers of a server live, and how many of them serve what was chosen last."""

    living: int
    current: int


class Worker:
    """This process among the workers of its server, from its making until it is closed or dies."""

    def __init__(self, folder: Path) -> None:
        # Locked before it has a name to be found by, and no other file ever has its name: who counts may remove it.
        made = folder / f"{os.getpid()}-{make_id()}.new"
        self._lock = lock_file(made)
        self._file = made.rename(made.with_suffix(WORKER))
        self._status = folder / f"{os.getpid()}{STATUS}"

    def report(self, status: WorkerStatus) -> None:
        """Tell the other workers."""
        write_whole(self._status, asdict(status))

    def close(self) -> None:
        """Count no longer."""
        for path in (self._file, self._status):
            path.unlink(missing_ok=True)
        os.close(self._lock)


def open_server_folder(parent: Path) -> Path:
    """Return the folder that the workers of this server share, after removing those of servers that have ended.

    It is named by the server's process and its start: in a container every server has the same process id.
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
    """Return the process ids of the workers that live; what dead ones left is removed."""
    living = []
    for path in folder.glob(f"*{WORKER}"):
        try:
            descriptor = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            living.append(path.stem.split("-")[0])
        else:
            path.unlink(missing_ok=True)
        finally:
            os.close(descriptor)
    return living


def read_statuses(folder: Path) -> list[WorkerStatus]:
    """Return how far each worker that lives is."""
    return [_read_status(folder / f"{worker}{STATUS}") for worker in list_workers(folder)]


def write_whole(path: Path, content: object) -> None:
    """Write JSON into the folder; whoever looks meanwhile finds what was there before."""
    scratch = path.with_name(f"{path.name}.{os.getpid()}.part")
    scratch.write_text(json.dumps(content), encoding="utf-8")
    scratch.replace(path)


def _read_status(path: Path) -> WorkerStatus:
    with suppress(OSError, ValueError, TypeError):
        return WorkerStatus(**json.loads(path.read_text(encoding="utf-8")))
    return WorkerStatus("", "serving")
