"""Which model a worker answers from, and how all workers of one server change it together.

They share a folder. The worker that is asked writes down the candidate; every worker opens it, which checks its digest,
warms it and asks it a question, and says whether it is ready. Only when all are, the candidate becomes what is served,
and each worker switches between two calls. One that cannot, or is late, and all stay as they are. A canary is a second
model in what is served, so that it comes, goes and takes over in such a switch, too.
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
from typing import Any, Literal

import psutil

from sentiment.errors import BundleError, SentimentError
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
class CanaryChoice:
    """A model that answers a share of the requests until a time on the clock that all processes share."""

    id: str
    folder: str
    version: str
    share: float
    until: float

    @property
    def is_over(self) -> bool:
        """Whether its time has come."""
        return time.monotonic() >= self.until


@dataclass(frozen=True)
class Choice:
    """A model to serve: where its bundle lies, what it is called, and the id of the reload that chose it.

    With it the canary, where there is one, or why the last one `ended`.
    """

    id: str
    folder: str
    version: str
    canary: CanaryChoice | None = None
    ended: str = ""

    @property
    def name(self) -> str:
        """What tells this choice from all others of the server."""
        return f"{self.id}+{self.canary.id}" if self.canary else self.id


@dataclass(frozen=True)
class Served:
    """A predictor that answers, and the version it is called by."""

    predictor: Predictor
    version: str


@dataclass(frozen=True)
class Canary:
    """A second model that answers, as it was chosen."""

    served: Served
    choice: CanaryChoice


@dataclass(frozen=True)
class CanaryStatus:
    """How the canary is doing, or why the last one ended."""

    model_version: str | None
    share: float
    status: Literal["on", "ended"]
    reason: str
    seconds_left: float


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


class ModelSwitch:
    """Holds what one worker serves. `open_model` raises SentimentError or ValueError for a model that is not sound."""

    def __init__(self, folder: Path, initial: Choice, open_model: Callable[[Path], Predictor]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._open_model = open_model
        self._name, self._worker = _register(folder)
        self._following = Ticker("following a reload", self.poll, POLL_SECONDS)
        self._candidate: tuple[Choice, Served, Canary | None] | None = None
        self._refused = ""
        self._failing: tuple[CanaryChoice, str] | None = None
        # A worker that was killed comes back to what the others serve by now.
        self._choice = _read_choice(folder / SERVED_FILE) or initial
        self._current = self._open(self._choice)
        self._canary: Canary | None = None
        if self._choice.canary is not None and not self._choice.canary.is_over:
            try:
                self._canary = self._open_canary(self._choice.canary, self._current)
            except (SentimentError, ValueError, OSError) as error:
                self.give_up_canary(self._choice.canary, f"a worker could not open it again ({type(error).__name__})")
        self._report(WorkerStatus(self._choice.name, "serving"))

    @property
    def current(self) -> Served:
        """What answers now; whoever took it may go on with it after a switch."""
        return self._current

    @property
    def canary(self) -> Canary | None:
        """What answers a share of the requests, where there is such a model and its time is not over."""
        canary = self._canary
        return None if canary is None or canary.choice.is_over else canary

    def read_canary_status(self) -> CanaryStatus | None:
        """Return how the canary of this worker is doing, or the last one did; None where there was none."""
        choice = self._choice
        if choice.canary is None:
            return CanaryStatus(None, 0.0, "ended", choice.ended, 0.0) if choice.ended else None
        if self.canary is not None:
            left = round(max(0.0, choice.canary.until - time.monotonic()), 1)
            return CanaryStatus(choice.canary.version, choice.canary.share, "on", "", left)
        given_up = self._failing is not None and self._failing[0] == choice.canary and self._failing[1]
        reason = f"{choice.canary.version} ended: {given_up}" if given_up else _say_over(choice.canary)
        return CanaryStatus(None, 0.0, "ended", reason, 0.0)

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
        A canary ends in the same switch. Raises SwitchBusyError when another reload is under way, SwitchError when a
        worker cannot serve it or the caller has `given_up`, and whatever `fetch` raises.
        """

        def choose(served: Choice, name: str) -> Choice:
            folder, version = fetch(self._folder / MODELS / name)
            ended = f"{served.canary.version} ended: {version} was loaded" if served.canary else served.ended
            return Choice(name, str(folder), version, ended=ended)

        return self._switch(choose, given_up)

    def start_canary(
        self, fetch: Callable[[Path], tuple[Path, str]], share: float, seconds: float, given_up: threading.Event
    ) -> int:
        """Let another bundle answer a share of the requests for so long, as `reload` does; one replaces another."""

        def choose(served: Choice, name: str) -> Choice:
            folder, version = fetch(self._folder / MODELS / name)
            canary = CanaryChoice(name, str(folder), version, share, time.monotonic() + seconds)
            return replace(served, canary=canary, ended="")

        return self._switch(choose, given_up)

    def stop_canary(self, reason: str) -> int:
        """End the canary in every worker and return how many there are, once none has it; none at all is well, too.

        Raises SwitchBusyError when a reload is under way.
        """
        with self._alone():
            if (without := self._end_canary(reason)) is not None:
                with suppress(SwitchError):  # nobody has to prepare for it; one that is slow to notice follows
                    self._await("serving", without.name, SWITCH_SECONDS, threading.Event())
            return len(list_workers(self._folder))

    def count_workers(self) -> Workers:
        """Return how many workers live, and how many serve what was chosen last."""
        served = _read_choice(self._folder / SERVED_FILE)
        wanted = served.name if served else ""
        statuses = [_read_status(self._folder / f"{worker}{STATUS}") for worker in list_workers(self._folder)]
        return Workers(len(statuses), sum(status.serves == wanted for status in statuses))

    def give_up_canary(self, canary: CanaryChoice, reason: str) -> None:
        """Let the champion answer everything in this worker at once, and in the others as soon as they see it."""
        self._failing = (canary, reason)
        self._canary = None
        logger.warning("the canary %s is given up: %s", canary.version, reason)

    def poll(self) -> None:
        """Prepare the candidate where there is one, and switch to what is served where that is another."""
        # In this order: a candidate that has just gone is what is served by now, or was withdrawn.
        candidate = _read_choice(self._folder / CANDIDATE_FILE)
        served = _read_choice(self._folder / SERVED_FILE)
        if served is not None and served != self._choice:
            ready = self._candidate[1:] if self._candidate and self._candidate[0] == served else self._open_all(served)
            (self._current, self._canary), self._choice, self._candidate = ready, served, None
            self._report(WorkerStatus(served.name, "serving"))
            logger.info("this worker answers from model %s", served.version)
            if served.canary is not None:
                logger.info("and %.3g of its requests from %s", served.canary.share, served.canary.version)
        if candidate is None or candidate == self._choice:
            self._candidate = None
        elif candidate.name != self._refused and not (self._candidate and self._candidate[0] == candidate):
            self._prepare(candidate)
        if self._canary is not None and self._canary.choice.is_over:
            logger.info("%s", _say_over(self._canary.choice))
            self._canary = None
        if self._failing is not None and self._failing[0] == self._choice.canary:
            with suppress(SwitchBusyError), self._alone():  # then in the next turn
                if self._read_served().canary == self._failing[0]:
                    self._end_canary(self._failing[1])

    def _switch(self, choose: Callable[[Choice, str], Choice], given_up: threading.Event) -> int:
        """Serve what is chosen in every worker, given what is served and a new id, and return how many there are."""
        with self._alone():
            try:
                choice = choose(self._read_served(), make_id())
                _write(self._folder / CANDIDATE_FILE, asdict(choice))
                self._await("ready", choice.name, READY_SECONDS, given_up)
                _write(self._folder / SERVED_FILE, asdict(choice))
            finally:
                (self._folder / CANDIDATE_FILE).unlink(missing_ok=True)
                self._remove_unserved()
            with suppress(SwitchError):  # all are ready; one that is slow to notice follows
                self._await("serving", choice.name, SWITCH_SECONDS, threading.Event())
            return len(list_workers(self._folder))

    def _end_canary(self, reason: str) -> Choice | None:
        """Serve the champion alone, for who holds the lock; None where there was no canary."""
        served = self._read_served()
        if served.canary is None:
            return None
        without = replace(served, canary=None, ended=f"{served.canary.version} ended: {reason}")
        _write(self._folder / SERVED_FILE, asdict(without))
        self._remove_unserved()
        return without

    def _prepare(self, candidate: Choice) -> None:
        try:
            self._candidate = (candidate, *self._open_all(candidate))
        except (SentimentError, ValueError, OSError) as error:
            self._refused = candidate.name
            self._report(WorkerStatus(candidate.name, "failed", str(error)))
        else:
            self._report(WorkerStatus(candidate.name, "ready"))

    def _open_all(self, choice: Choice) -> tuple[Served, Canary | None]:
        """Return the models of a choice; those that answer already are not opened again."""
        champion = self._current if choice.id == self._choice.id else self._open(choice)
        if choice.canary is None or choice.canary.is_over:
            return champion, None
        if self._canary is not None and self._canary.choice == choice.canary:
            return champion, self._canary
        return champion, self._open_canary(choice.canary, champion)

    def _open(self, choice: Choice | CanaryChoice) -> Served:
        return Served(self._open_model(Path(choice.folder)), choice.version)

    def _open_canary(self, choice: CanaryChoice, champion: Served) -> Canary:
        """Return a canary that can be compared with the champion. Raises BundleError for any other."""
        canary = self._open(choice)
        said, wanted = canary.predictor.labels, champion.predictor.labels
        if set(said) != set(wanted):
            raise BundleError(
                f"{choice.version} says {', '.join(said)} and {champion.version}, which answers, {', '.join(wanted)};"
                " a canary wants the same labels."
            )
        if canary.predictor.bundle.card.digest == champion.predictor.bundle.card.digest:
            raise BundleError(f"{choice.version} is the model that answers already; name another for a canary.")
        return Canary(canary, choice)

    def _read_served(self) -> Choice:
        """Return what all workers serve, or are about to; only for who holds the lock."""
        return _read_choice(self._folder / SERVED_FILE) or self._choice

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
        kept = {Path(one.folder) for one in (served, served and served.canary) if one}
        for path in (self._folder / MODELS).glob("*"):
            if path not in kept:
                shutil.rmtree(path, ignore_errors=True)

    def _report(self, status: WorkerStatus) -> None:
        _write(self._folder / f"{os.getpid()}{STATUS}", asdict(replace(status, serves=self._choice.name)))

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
    with suppress(OSError, ValueError, TypeError, AttributeError):
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        canary = CanaryChoice(**found["canary"]) if found.get("canary") else None
        return Choice(**{**found, "canary": canary})
    return None


def _read_status(path: Path) -> WorkerStatus:
    with suppress(OSError, ValueError, TypeError):
        return WorkerStatus(**json.loads(path.read_text(encoding="utf-8")))
    return WorkerStatus("", "serving")


def _say_over(canary: CanaryChoice) -> str:
    return f"{canary.version} ended: its time was over"
