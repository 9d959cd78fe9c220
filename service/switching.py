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
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import psutil

from sentiment.errors import SentimentError
from sentiment.predictor import Predictor
from service.locks import lock_file
from service.prediction_log.entries import make_id
from service.ticking import Ticker

CANDIDATE_FILE, SERVED_FILE, LOCK_FILE = "candidate.json", "served.json", "reload.lock"
WORKER, STATUS = ".worker", ".status"
MODELS = "models"
FORGOTTEN_SECONDS = 60.0
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
    """A model to serve: where its bundle lies, what it is called, and the id of the reload that chose it."""

    id: str
    folder: str
    version: str


@dataclass(frozen=True)
class Served:
    """A predictor that answers, and the version it is called by."""

    predictor: Predictor
    version: str


@dataclass(frozen=True)
class WorkerStatus:
    """How far a worker is with a reload, and the id of the one that chose what it serves."""

    id: str
    progress: Progress
    reason: str = ""
    serves: str = ""


@dataclass(frozen=True)
class Workers:
    """How many workers of a server live, and how many of them serve what was chosen last."""

    living: int
    current: int


class ModelSwitch:
    """Holds what one worker serves. `open_model` raises SentimentError or ValueError for a model that is not sound."""

    def __init__(self, folder: Path, initial: Choice, open_model: Callable[[Path], Predictor]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._open_model = open_model
        self._name, self._worker = _register(folder)
        self._following = Ticker("following a reload", self.poll, POLL_SECONDS)
        self._candidate: tuple[Choice, Served] | None = None
        # A worker that was killed comes back to what the others serve by now.
        self._choice = _read_choice(folder / SERVED_FILE) or initial
        self._current = self._open(self._choice)
        self._refused = ""
        self._report(WorkerStatus(self._choice.id, "serving"))

    @property
    def current(self) -> Served:
        """What answers now; whoever took it may go on with it after a switch."""
        return self._current

    def start(self) -> None:
        """Follow the reloads that other workers are asked for."""
        self._following.start()

    def close(self) -> None:
        """Stop following, and count no longer as a worker."""
        self._following.stop(POLL_SECONDS * 5)
        for path in (self._name, self._folder / f"{os.getpid()}{STATUS}"):
            path.unlink(missing_ok=True)
        os.close(self._worker)

    def reload(self, fetch: Callable[[Path], tuple[Path, str]], given_up: threading.Event) -> int:
        """Serve another bundle in every worker and return how many there are; it blocks until they do.

        `fetch` returns the folder and the version of the bundle, and may put the bundle into the folder that it gets.
        Raises SwitchBusyError when another reload is under way, SwitchError when a worker cannot serve it or the
        caller has `given_up`, and whatever `fetch` raises.
        """
        with self._alone():
            name = make_id()
            try:
                folder, version = fetch(self._folder / MODELS / name)
                choice = Choice(name, str(folder), version)
                _write(self._folder / CANDIDATE_FILE, asdict(choice))
                self._await("ready", choice.id, READY_SECONDS, given_up)
                _write(self._folder / SERVED_FILE, asdict(choice))
            finally:
                (self._folder / CANDIDATE_FILE).unlink(missing_ok=True)
                self._remove_unserved()
            with suppress(SwitchError):  # all are ready; one that is slow to notice follows
                self._await("serving", choice.id, SWITCH_SECONDS, threading.Event())
            return len(list_workers(self._folder))

    def count_workers(self) -> Workers:
        """Return how many workers live, and how many serve what was chosen last."""
        served = _read_choice(self._folder / SERVED_FILE)
        wanted = served.id if served else ""
        statuses = [_read_status(self._folder / f"{worker}{STATUS}") for worker in list_workers(self._folder)]
        return Workers(len(statuses), sum(status.serves == wanted for status in statuses))

    def poll(self) -> None:
        """Prepare the candidate where there is one, and switch to what is served where that is another."""
        # In this order: a candidate that has just gone is what is served by now, or was withdrawn.
        candidate = _read_choice(self._folder / CANDIDATE_FILE)
        served = _read_choice(self._folder / SERVED_FILE)
        if served is not None and served != self._choice:
            prepared = self._candidate[1] if self._candidate and self._candidate[0] == served else self._open(served)
            self._current, self._choice, self._candidate = prepared, served, None
            self._report(WorkerStatus(served.id, "serving"))
            logger.info("this worker answers from model %s", served.version)
        if candidate is None or candidate == self._choice:
            self._candidate = None
        elif candidate.id != self._refused and not (self._candidate and self._candidate[0] == candidate):
            self._prepare(candidate)

    def _prepare(self, candidate: Choice) -> None:
        try:
            self._candidate = (candidate, self._open(candidate))
        except (SentimentError, ValueError, OSError) as error:
            self._refused = candidate.id
            self._report(WorkerStatus(candidate.id, "failed", str(error)))
        else:
            self._report(WorkerStatus(candidate.id, "ready"))

    def _open(self, choice: Choice) -> Served:
        return Served(self._open_model(Path(choice.folder)), choice.version)

    def _await(self, wanted: Progress, name: str, seconds: float, given_up: threading.Event) -> None:
        deadline = time.monotonic() + seconds
        while True:
            statuses = [_read_status(self._folder / f"{worker}{STATUS}") for worker in list_workers(self._folder)]
            failed = [status.reason for status in statuses if (status.id, status.progress) == (name, "failed")]
            if failed:
                raise SwitchError(failed[0])
            late = sum((status.id, status.progress) != (name, wanted) for status in statuses)
            if not late:
                return
            if given_up.is_set():
                raise SwitchError("the caller gave up")
            if time.monotonic() > deadline:
                raise SwitchError(f"{late} of {len(statuses)} workers are not {wanted} after {seconds:.0f} s")
            time.sleep(POLL_SECONDS / 4)

    def _remove_unserved(self) -> None:
        """Remove the bundles that were fetched and are not served, while no other reload is under way."""
        served = _read_choice(self._folder / SERVED_FILE)
        for path in (self._folder / MODELS).glob("*"):
            if served is None or path != Path(served.folder):
                shutil.rmtree(path, ignore_errors=True)

    def _report(self, status: WorkerStatus) -> None:
        _write(self._folder / f"{os.getpid()}{STATUS}", asdict(replace(status, serves=self._choice.id)))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        try:
            descriptor = lock_file(self._folder / LOCK_FILE)
        except BlockingIOError:
            raise SwitchBusyError("another reload is under way; ask again when it is done") from None
        try:
            yield
        finally:
            os.close(descriptor)


def open_server_folder(parent: Path) -> Path:
    """Return the folder that the workers of this server share, after removing those of servers that have ended.

    It is named by the server's process and its start: in a container every server has the same process id.
    """
    server = psutil.Process(os.getppid())
    folder = parent / f"{server.pid}-{int(server.create_time() * 1000)}"
    folder.mkdir(parents=True, exist_ok=True)
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


def _register(folder: Path) -> tuple[Path, int]:
    """Return a file that says that this worker lives, and the descriptor that locks it.

    It is locked before it has a name to be found by, and no other file ever has its name: who counts may remove it.
    """
    made = folder / f"{os.getpid()}-{make_id()}.new"
    descriptor = lock_file(made)
    return made.rename(made.with_suffix(WORKER)), descriptor


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
    return WorkerStatus("", "serving")
