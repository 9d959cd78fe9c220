"""Which model a worker answers from, and how all workers of one server change it together.

They share a folder. The worker that is asked writes down the candidate; every worker opens it, which checks its digest,
warms it and asks it a question, and says whether it is ready. Only when all are, the candidate becomes what is served,
and each worker switches between two calls. One that cannot, or is late, and all stay as they are.
"""

import fcntl
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from sentiment.errors import SentimentError
from sentiment.predictor import Predictor
from service.ticking import Ticker

CANDIDATE_FILE, SERVED_FILE, LOCK_FILE = "candidate.json", "served.json", "reload.lock"
WORKER, STATUS = ".worker", ".status"
POLL_SECONDS = 0.2
READY_SECONDS = 20.0
SWITCH_SECONDS = 5.0

Progress = Literal["ready", "failed", "serving"]

logger = logging.getLogger(__name__)


class SwitchError(Exception):
    """The model was not changed, in any worker; the message is one sentence for the caller."""


class SwitchBusyError(SwitchError):
    """Another reload is under way."""


@dataclass(frozen=True)
class Choice:
    """A model to serve: where its bundle lies, what it is called, and the number of the reload that chose it."""

    number: int
    folder: str
    version: str


@dataclass(frozen=True)
class Served:
    """A predictor that answers, and the version it is called by."""

    predictor: Predictor
    version: str


@dataclass(frozen=True)
class WorkerStatus:
    """How far a worker is with the reload of a number."""

    number: int
    progress: Progress
    reason: str = ""


class ModelSwitch:
    """Holds what one worker serves. `open_model` raises SentimentError or ValueError for a model that is not sound."""

    def __init__(self, folder: Path, initial: Choice, open_model: Callable[[Path], Predictor]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._open_model = open_model
        self._worker = _lock(folder / f"{os.getpid()}{WORKER}")
        self._following = Ticker("following a reload", self.poll, POLL_SECONDS)
        self._candidate: tuple[Choice, Served] | None = None
        # A worker that was killed comes back to what the others serve by now.
        self._choice = _read_choice(folder / SERVED_FILE) or initial
        self._current = self._open(self._choice)
        self._refused = -1
        self._report(WorkerStatus(self._choice.number, "serving"))

    @property
    def current(self) -> Served:
        """What answers now; whoever took it may go on with it after a switch."""
        return self._current

    def start(self) -> None:
        """Follow the reloads that other workers are asked for."""
        self._following.start()

    def close(self) -> None:
        """Stop following."""
        self._following.stop(POLL_SECONDS * 5)
        os.close(self._worker)

    def reload(self, folder: Path, version: str) -> int:
        """Serve another bundle in every worker and return how many there are; it blocks until they do.

        Raises SwitchBusyError when another reload is under way, SwitchError when a worker cannot serve it.
        """
        with self._alone():
            seen = [_read_status(path).number for path in self._folder.glob(f"*{STATUS}")]
            choice = Choice(max(self._choice.number, *seen) + 1, str(folder), version)
            _write(self._folder / CANDIDATE_FILE, asdict(choice))
            try:
                self._await("ready", choice.number, READY_SECONDS)
                _write(self._folder / SERVED_FILE, asdict(choice))
            finally:
                (self._folder / CANDIDATE_FILE).unlink(missing_ok=True)
            with suppress(SwitchError):  # all are ready; one that is slow to notice follows
                self._await("serving", choice.number, SWITCH_SECONDS)
            return len(list_workers(self._folder))

    def poll(self) -> None:
        """Prepare the candidate where there is one, and switch to what is served where that is another."""
        served = _read_choice(self._folder / SERVED_FILE)
        if served is not None and served.number > self._choice.number:
            prepared = self._candidate[1] if self._candidate and self._candidate[0] == served else self._open(served)
            self._current, self._choice, self._candidate = prepared, served, None
            self._report(WorkerStatus(served.number, "serving"))
            logger.info("this worker answers from model %s", served.version)
        candidate = _read_choice(self._folder / CANDIDATE_FILE)
        if candidate is None:
            self._candidate = None
        elif candidate.number > max(self._choice.number, self._refused) and not (
            self._candidate and self._candidate[0] == candidate
        ):
            self._prepare(candidate)

    def _prepare(self, candidate: Choice) -> None:
        try:
            self._candidate = (candidate, self._open(candidate))
        except (SentimentError, ValueError, OSError) as error:
            self._refused = candidate.number
            self._report(WorkerStatus(candidate.number, "failed", str(error)))
        else:
            self._report(WorkerStatus(candidate.number, "ready"))

    def _open(self, choice: Choice) -> Served:
        return Served(self._open_model(Path(choice.folder)), choice.version)

    def _await(self, wanted: Progress, number: int, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while True:
            statuses = [_read_status(self._folder / f"{worker}{STATUS}") for worker in list_workers(self._folder)]
            failed = [status.reason for status in statuses if (status.number, status.progress) == (number, "failed")]
            if failed:
                raise SwitchError(failed[0])
            late = sum((status.number, status.progress) != (number, wanted) for status in statuses)
            if not late:
                return
            if time.monotonic() > deadline:
                raise SwitchError(f"{late} of {len(statuses)} workers are not {wanted} after {seconds:.0f} s")
            time.sleep(POLL_SECONDS / 4)

    def _report(self, status: WorkerStatus) -> None:
        _write(self._folder / f"{os.getpid()}{STATUS}", asdict(status))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        try:
            descriptor = _lock(self._folder / LOCK_FILE)
        except BlockingIOError:
            raise SwitchBusyError("another reload is under way; ask again when it is done") from None
        try:
            yield
        finally:
            os.close(descriptor)


def open_server_folder(parent: Path, server: int) -> Path:
    """Return the folder that the workers of a server share, after removing those of servers that have ended."""
    parent.mkdir(parents=True, exist_ok=True)
    for other in parent.iterdir():
        if other.name.isdigit() and int(other.name) != server and not _is_alive(int(other.name)):
            shutil.rmtree(other, ignore_errors=True)
    return parent / str(server)


def list_workers(folder: Path) -> list[str]:
    """Return the process ids of the workers that live; what dead ones left is removed."""
    living = []
    for path in folder.glob(f"*{WORKER}"):
        try:
            descriptor = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            living.append(path.stem)
        else:
            path.unlink(missing_ok=True)
            path.with_suffix(STATUS).unlink(missing_ok=True)
        finally:
            os.close(descriptor)
    return living


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _lock(path: Path) -> int:
    """Return a descriptor that locks the file until it is closed or its process dies. Raises BlockingIOError."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise
    return descriptor


def _write(path: Path, content: object) -> None:
    scratch = path.with_name(f"{path.name}.{os.getpid()}.part")
    scratch.write_text(json.dumps(content), encoding="utf-8")
    scratch.replace(path)


def _read_choice(path: Path) -> Choice | None:
    with suppress(OSError, ValueError, TypeError):
        return Choice(**json.loads(path.read_text(encoding="utf-8")))
    return None


def _read_status(path: Path) -> WorkerStatus:
    with suppress(OSError, ValueError, TypeError):
        return WorkerStatus(**json.loads(path.read_text(encoding="utf-8")))
    return WorkerStatus(-1, "serving")
