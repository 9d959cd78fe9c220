"""Which model a worker answers from, and how all workers of one server change it together.

They share a folder (`workers.py`). The worker that is asked writes down the candidate (`choices.py`); every worker
opens it, which checks its digest, warms it and asks it a question (`opening.py`), and says whether it is ready. Only
when all are, the candidate becomes what is served, and each worker switches between two calls. One that cannot, or is
late, and all stay as they are. A canary is a second model in what is served, so that it comes, goes and takes over in
such a switch, too; which requests it answers is in `canary.py`.
"""

import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from sentiment.errors import SentimentError
from service.choices import CANDIDATE_FILE, SERVED_FILE, CanaryChoice, Choice, read_choice, write_choice
from service.locks import lock_file
from service.opening import Canary, OpenModel, Served, open_canary, open_served
from service.prediction_log.entries import make_id
from service.ticking import Ticker
from service.workers import Progress, Worker, Workers, WorkerStatus, list_workers, read_statuses

LOCK_FILE = "reload.lock"
MODELS = "models"
POLL_SECONDS = 0.2
READY_SECONDS = 20.0
SWITCH_SECONDS = 5.0

logger = logging.getLogger(__name__)


class SwitchError(Exception):
    """The model was not changed, in any worker; the message is one sentence for the caller."""


class SwitchBusyError(SwitchError):
    """Another reload is under way."""


@dataclass(frozen=True)
class CanaryStatus:
    """How the canary is doing, or why the last one ended."""

    model_version: str | None
    share: float
    status: Literal["on", "ended"]
    reason: str
    seconds_left: float


class ModelSwitch:
    """Holds what one worker serves, and follows, in a thread, what all are to serve."""

    def __init__(self, folder: Path, initial: Choice, open_model: OpenModel) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._open_model = open_model
        self._worker = Worker(folder)
        self._following = Ticker("following a reload", self.poll, POLL_SECONDS)
        self._candidate: tuple[Choice, Served, Canary | None] | None = None
        self._refused = ""
        self._failing: tuple[CanaryChoice, str] | None = None
        # A worker that was killed comes back to what the others serve by now.
        self._choice = read_choice(folder / SERVED_FILE) or initial
        self._current = open_served(self._choice, open_model)
        self._canary: Canary | None = None
        if self._choice.canary is not None and not self._choice.canary.is_over:
            try:
                self._canary = open_canary(self._choice.canary, self._current, open_model)
            except (SentimentError, ValueError, OSError) as error:
                self.give_up_canary(self._choice.canary, f"a worker could not open it again ({type(error).__name__})")
        self._report(self._choice, "serving")

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
        reason = choice.canary.say_ended(given_up) if given_up else choice.canary.say_ended()
        return CanaryStatus(None, 0.0, "ended", reason, 0.0)

    def start(self) -> None:
        """Follow the reloads that other workers are asked for."""
        self._following.start()

    def close(self) -> None:
        """Stop following, and count no longer as a worker."""
        self._following.stop(POLL_SECONDS * 5)
        self._worker.close()

    def reload(self, fetch: Callable[[Path], tuple[Path, str]], given_up: threading.Event) -> int:
        """Serve another bundle in every worker and return how many there are; it blocks until they do.

        `fetch` returns the folder and the version of the bundle, and may put the bundle into the folder that it gets.
        A canary ends in the same switch. Raises SwitchBusyError when another reload is under way, SwitchError when a
        worker cannot serve it or the caller has `given_up`, and whatever `fetch` raises.
        """

        def choose(served: Choice, name: str) -> Choice:
            folder, version = fetch(self._folder / MODELS / name)
            ended = served.canary.say_ended(f"{version} was loaded") if served.canary else served.ended
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
        served = read_choice(self._folder / SERVED_FILE)
        wanted = served.name if served else ""
        statuses = read_statuses(self._folder)
        return Workers(len(statuses), sum(status.serves == wanted for status in statuses))

    def give_up_canary(self, canary: CanaryChoice, reason: str) -> None:
        """Let the champion answer everything in this worker at once, and in the others as soon as they see it."""
        self._failing = (canary, reason)
        self._canary = None
        logger.warning("the canary %s is given up: %s", canary.version, reason)

    def poll(self) -> None:
        """Prepare the candidate where there is one, and switch to what is served where that is another."""
        # In this order: a candidate that has just gone is what is served by now, or was withdrawn.
        candidate = read_choice(self._folder / CANDIDATE_FILE)
        served = read_choice(self._folder / SERVED_FILE)
        if served is not None and served != self._choice:
            ready = self._candidate[1:] if self._candidate and self._candidate[0] == served else self._open_all(served)
            (self._current, self._canary), self._choice, self._candidate = ready, served, None
            self._report(served, "serving")
            logger.info("this worker answers from model %s", served.version)
            if served.canary is not None:
                logger.info("and %.3g of its requests from %s", served.canary.share, served.canary.version)
        if candidate is None or candidate == self._choice:
            self._candidate = None
        elif candidate.name != self._refused and not (self._candidate and self._candidate[0] == candidate):
            self._prepare(candidate)
        if self._canary is not None and self._canary.choice.is_over:
            logger.info("%s", self._canary.choice.say_ended())
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
                write_choice(self._folder / CANDIDATE_FILE, choice)
                self._await("ready", choice.name, READY_SECONDS, given_up)
                write_choice(self._folder / SERVED_FILE, choice)
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
        without = replace(served, canary=None, ended=served.canary.say_ended(reason))
        write_choice(self._folder / SERVED_FILE, without)
        self._remove_unserved()
        return without

    def _prepare(self, candidate: Choice) -> None:
        try:
            self._candidate = (candidate, *self._open_all(candidate))
        except (SentimentError, ValueError, OSError) as error:
            self._refused = candidate.name
            self._report(candidate, "failed", str(error))
        else:
            self._report(candidate, "ready")

    def _open_all(self, choice: Choice) -> tuple[Served, Canary | None]:
        """Return the models of a choice; those that answer already are not opened again."""
        champion = self._current if choice.id == self._choice.id else open_served(choice, self._open_model)
        if choice.canary is None or choice.canary.is_over:
            return champion, None
        if self._canary is not None and self._canary.choice == choice.canary:
            return champion, self._canary
        return champion, open_canary(choice.canary, champion, self._open_model)

    def _read_served(self) -> Choice:
        """Return what all workers serve, or are about to; only for who holds the lock."""
        return read_choice(self._folder / SERVED_FILE) or self._choice

    def _await(self, wanted: Progress, name: str, seconds: float, given_up: threading.Event) -> None:
        deadline = time.monotonic() + seconds
        while True:
            statuses = read_statuses(self._folder)
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
        served = read_choice(self._folder / SERVED_FILE)
        kept = {Path(one.folder) for one in (served, served and served.canary) if one}
        for path in (self._folder / MODELS).glob("*"):
            if path not in kept:
                shutil.rmtree(path, ignore_errors=True)

    def _report(self, choice: Choice, progress: Progress, reason: str = "") -> None:
        """Tell the other workers how far this one is with a choice."""
        self._worker.report(WorkerStatus(choice.name, progress, reason, serves=self._choice.name))

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
