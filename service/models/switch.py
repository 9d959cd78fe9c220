"""Which model a worker answers from, and how all workers of one server change it together.

They share a folder (`workers.py`). The worker that is asked has the bundle tried in a process of its own
(`sentiment/bundle/trial.py`) and writes down the candidate (`desired_state.py`); every worker opens it in a thread,
which checks its digest, warms it and asks it a question (`loaded.py`), and says whether it is ready. Only when all are,
the candidate becomes what is served, and each worker switches between two calls. One that cannot, or is late, and all
stay as they are. But for the model that it was started with, no worker opens what was not tried. A canary is a second
model in what is served, so that it comes, goes and takes over in such a switch, too; which requests it answers is in
`service/inference/canary.py`.
"""

import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from sentiment.bundle.trial import Patience
from sentiment.errors import SentimentError
from service.background.file_lock import lock_file
from service.background.periodic_thread import PeriodicThread
from service.models.desired_state import CANDIDATE_FILE, SERVED_FILE, CanaryChoice, Choice, read_choice, write_choice
from service.models.loaded import Canary, Models, Opening, OpenModel, Served, TryBundle, open_canary, open_served
from service.models.workers import Progress, Worker, Workers, WorkerStatus, list_workers, read_statuses
from service.prediction_log.entries import make_id

LOCK_FILE = "reload.lock"
MODELS = "models"
POLL_SECONDS = 0.2
GRACE_SECONDS = 0.1
"""How long a worker waits for a model, in case it is open at once, before it looks for other orders."""
TRIAL_SECONDS = 18.0
READY_SECONDS = 20.0
SWITCH_SECONDS = 5.0

FetchBundle = Callable[[Path, Patience], tuple[Path, str]]
"""Returns the folder and the version of a bundle, which it may put into the folder that it gets."""

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

    def __init__(self, folder: Path, initial: Choice, open_model: OpenModel, try_bundle: TryBundle) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._open_model = open_model
        self._try_bundle = try_bundle
        self._worker = Worker(folder)
        self._following = PeriodicThread("following a reload", self.poll, POLL_SECONDS)
        self._opening: Opening | None = None
        self._failing: tuple[CanaryChoice, str] | None = None
        self._choice, self._current, self._canary = self._open_first(initial)
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

    def reload(self, fetch: FetchBundle, given_up: threading.Event) -> int:
        """Serve another bundle in every worker and return how many there are; it blocks until they do.

        A canary ends in the same switch. Raises BundleError for a bundle that its trial does not find sound,
        SwitchBusyError when another reload is under way, SwitchError when a worker cannot serve it or the caller has
        `given_up`, and whatever `fetch` raises.
        """

        def choose(served: Choice, name: str) -> Choice:
            folder, version, digest = self._take(fetch, name, given_up)
            ended = served.canary.say_ended(f"{version} was loaded") if served.canary else served.ended
            return Choice(name, folder, version, ended=ended, digest=digest)

        return self._switch(choose, given_up)

    def start_canary(self, fetch: FetchBundle, share: float, seconds: float, given_up: threading.Event) -> int:
        """Let another bundle answer a share of the requests for so long, as `reload` does; one replaces another."""

        def choose(served: Choice, name: str) -> Choice:
            folder, version, digest = self._take(fetch, name, given_up)
            canary = CanaryChoice(name, folder, version, share, time.monotonic() + seconds, digest)
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
        """Open the candidate where there is one, and switch to what is served where that is another."""
        # In this order: a candidate that has just gone is what is served by now, or was withdrawn.
        candidate = self._read_candidate()
        served = read_choice(self._folder / SERVED_FILE)
        # A candidate goes before what is served and cannot be opened here: it may be what takes its place.
        wanted = next((one for one in (candidate, served) if one is not None and one != self._choice), None)
        if wanted is None:
            self._opening = None
        else:
            if self._opening is None or self._opening.choice != wanted:
                tried = "" if wanted == served else (wanted.canary or wanted).id
                self._opening = Opening(wanted, partial(self._open_tried, tried))
                self._opening.wait(GRACE_SECONDS)
            if self._opening.is_done:
                self._conclude(self._opening, is_served=wanted == served)
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

    def _take(self, fetch: FetchBundle, name: str, given_up: threading.Event) -> tuple[str, str, str]:
        """Return the folder, the version and the digest of a bundle that was fetched and tried in the same time."""
        patience = Patience(time.monotonic() + TRIAL_SECONDS, given_up)
        folder, version = fetch(self._folder / MODELS / name, patience)
        return str(folder), version, self._try(folder, patience)

    def _try(self, folder: Path, patience: Patience) -> str:
        """Return the digest of a bundle that every worker may open beside what it has open."""
        return self._try_bundle(folder, patience, copies=len(list_workers(self._folder)) + 1)[0]

    def _read_candidate(self) -> Choice | None:
        """Return what is to be opened; None once whoever asked for it has died or must have given it up."""
        path = self._folder / CANDIDATE_FILE
        candidate = read_choice(path)
        if candidate is not None:
            with suppress(SwitchBusyError), self._alone():  # nobody changes anything, and the candidate is gone
                return None
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > READY_SECONDS + SWITCH_SECONDS:
                    path.unlink()
                    return None
        return candidate

    def _conclude(self, opening: Opening, *, is_served: bool) -> None:
        """Switch to a choice that is served, or say how far this worker is with a candidate."""
        choice = opening.choice
        if is_served and opening.models is None:
            self._opening = None
            raise SwitchError(opening.refusal)  # it is tried again
        if is_served and opening.models is not None:
            (self._current, self._canary), self._choice, self._opening = opening.models, choice, None
            self._report(choice, "serving")
            logger.info("this worker answers from model %s", choice.version)
            if choice.canary is not None:
                logger.info("and %.3g of its requests from %s", choice.canary.share, choice.canary.version)
        elif not opening.is_reported:
            opening.is_reported = True
            self._report(choice, "ready" if opening.models else "failed", opening.refusal)

    def _open_first(self, initial: Choice) -> tuple[Choice, Served, Canary | None]:
        """Return what the others serve by now, once that was tried again; else the model of the start."""
        served = read_choice(self._folder / SERVED_FILE)
        if served is not None:
            try:
                patience = Patience(time.monotonic() + TRIAL_SECONDS)
                if served.folder != initial.folder:
                    self._try(Path(served.folder), patience)
                current = open_served(served, self._open_model)
            except (SentimentError, ValueError, OSError) as error:
                logger.warning("this worker cannot open what the others serve, and answers from its first: %s", error)
            else:
                return served, current, self._open_first_canary(served.canary, current, patience)
        return initial, open_served(initial, self._open_model), None

    def _open_first_canary(self, canary: CanaryChoice | None, champion: Served, patience: Patience) -> Canary | None:
        if canary is None or canary.is_over:
            return None
        try:
            self._try(Path(canary.folder), patience)
            return open_canary(canary, champion, self._open_model)
        except (SentimentError, ValueError, OSError) as error:
            self.give_up_canary(canary, f"a worker could not open it again ({type(error).__name__})")
            return None

    def _open_tried(self, tried: str, choice: Choice) -> Models:
        """Return the models of a choice; what is not open here, and was not `tried` by who asked, is tried first."""
        patience = Patience(time.monotonic() + TRIAL_SECONDS)
        known = {tried, self._choice.id, self._choice.canary.id if self._choice.canary else tried}
        for one in (choice, choice.canary):
            if one is not None and one.id not in known:
                self._try(Path(one.folder), patience)
        return self._open_all(choice)

    def _open_all(self, choice: Choice) -> Models:
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
            (self._folder / CANDIDATE_FILE).unlink(missing_ok=True)  # what a worker left that died in the middle
            yield
        finally:
            os.close(descriptor)
