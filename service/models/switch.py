"""Which model a worker answers from, and how all workers of one server change it together.

The workers share a folder (`workers.py`). The worker that gets the request has the bundle tried in another process
(`sentiment/bundle/trial.py`) and writes the pending state (`desired_state.py`). Every worker loads it in a thread,
which checks its digest, warms it and asks it for a prediction (`loaded.py`), and reports whether it is ready. When all
workers are ready, the pending state becomes the served one, and each worker switches between two calls. If one worker
fails or is late, all keep their model. Apart from the model of its start, a worker loads no model without a trial. A
canary is a second model in the same state, so it starts, ends and takes over by such a switch. The requests that it
answers are in `service/inference/canary.py`.
"""

import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from sentiment.bundle.trial import Patience
from sentiment.errors import SentimentError
from service.api.ids import make_id
from service.background.periodic_thread import PeriodicThread
from service.models.desired_state import (
    PENDING_FILE,
    SERVED_FILE,
    DesiredCanary,
    DesiredState,
    read_desired_state,
    write_desired_state,
)
from service.models.loaded import (
    Canary,
    LoadedModel,
    OpenModel,
    Preparation,
    Prepared,
    TryBundle,
    load_canary,
    load_model,
)
from service.models.workers import (
    WorkerProgress,
    WorkerRegistration,
    Workers,
    WorkerStatus,
    list_workers,
    read_statuses,
)

LOCK_FILE = "reload.lock"
MODELS = "models"

FetchBundle = Callable[[Path, Patience], tuple[Path, str]]
"""Returns the folder and the version of a bundle, which it may put into the folder that it gets."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SwitchTimings:
    """How often a worker looks for orders, and how many seconds each part of a switch may take.

    After `grace_seconds` a worker looks for other orders while a model is still loading.
    """

    poll_seconds: float = 0.2
    grace_seconds: float = 0.1
    trial_seconds: float = 18.0
    ready_seconds: float = 20.0
    switch_seconds: float = 5.0


TIMINGS = SwitchTimings()


class SwitchError(SentimentError):
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
    """Holds the models of one worker, and follows, in a thread, the state that all workers share."""

    def __init__(
        self,
        folder: Path,
        initial: DesiredState,
        open_model: OpenModel,
        try_bundle: TryBundle,
        timings: SwitchTimings = TIMINGS,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._open_model = open_model
        self._try_bundle = try_bundle
        self._timings = timings
        self._worker = WorkerRegistration(folder)
        self._following = PeriodicThread("following a reload", self.poll, self._timings.poll_seconds)
        self._preparation: Preparation | None = None
        self._failing: tuple[DesiredCanary, str] | None = None
        # Only the thread that follows replaces it, so that no other writer takes a switch back.
        self._serving = self._prepare_first(initial)
        self._report(self._serving.desired, "serving")

    @property
    def current(self) -> LoadedModel:
        """The model that answers now; a call that took it keeps it after a switch."""
        return self._serving.champion

    @property
    def canary(self) -> Canary | None:
        """The model that answers a share of the requests; None if there is none, its time is over or it failed."""
        canary = self._serving.canary
        if canary is None or canary.desired.is_over or self._find_failure(canary.desired):
            return None
        return canary

    def read_canary_status(self) -> CanaryStatus | None:
        """Return how the canary of this worker is doing, or how the last one ended; None if there was none."""
        desired = self._serving.desired
        if desired.canary is None:
            return CanaryStatus(None, 0.0, "ended", desired.ended, 0.0) if desired.ended else None
        if self.canary is not None:
            left = round(max(0.0, desired.canary.until - time.monotonic()), 1)
            return CanaryStatus(desired.canary.version, desired.canary.share, "on", "", left)
        failure = self._find_failure(desired.canary)
        end = desired.canary.describe_end(failure) if failure else desired.canary.describe_end()
        return CanaryStatus(None, 0.0, "ended", end, 0.0)

    def start(self) -> None:
        """Follow the reloads that other workers start."""
        self._following.start()

    def close(self) -> None:
        """Stop following, and leave the workers of the server."""
        self._following.stop(self._timings.poll_seconds * 5)
        self._worker.close()

    def reload(self, fetch: FetchBundle, given_up: threading.Event) -> int:
        """Switch every worker to another bundle and return how many workers there are; it blocks until they have.

        A canary ends in the same switch. Raises BundleError if the trial of the bundle fails, SwitchBusyError while
        another reload is under way, SwitchError if a worker cannot serve the bundle or the caller has `given_up`, and
        whatever `fetch` raises.
        """

        def choose(served: DesiredState, name: str) -> DesiredState:
            folder, version, digest = self._fetch_tried(fetch, name, given_up)
            ended = served.canary.describe_end(f"{version} was loaded") if served.canary else served.ended
            return DesiredState(name, folder, version, ended=ended, digest=digest)

        return self._switch(choose, given_up)

    def start_canary(self, fetch: FetchBundle, share: float, seconds: float, given_up: threading.Event) -> int:
        """Give another bundle a share of the requests for so many seconds; the rest is as in `reload`.

        It replaces a canary that is there.
        """

        def choose(served: DesiredState, name: str) -> DesiredState:
            folder, version, digest = self._fetch_tried(fetch, name, given_up)
            canary = DesiredCanary(name, folder, version, share, time.monotonic() + seconds, digest)
            return replace(served, canary=canary, ended="")

        return self._switch(choose, given_up)

    def stop_canary(self, reason: str) -> int:
        """End the canary, if there is one, in every worker, and return how many workers there are.

        Raises SwitchBusyError while a reload is under way.
        """
        with self._alone():
            if (without := self._end_canary(reason)) is not None:
                with suppress(SwitchError):  # no worker has to prepare for it, and a late one follows
                    self._await("serving", without.name, self._timings.switch_seconds, threading.Event())
            return len(list_workers(self._folder))

    def count_workers(self) -> Workers:
        """Return how many workers live, and how many of them serve the served state."""
        served = read_desired_state(self._folder / SERVED_FILE)
        wanted = served.name if served else ""
        statuses = read_statuses(self._folder)
        return Workers(len(statuses), sum(status.serves == wanted for status in statuses))

    def give_up_canary(self, canary: DesiredCanary, reason: str) -> None:
        """End the canary in this worker at once, and in the others when they see it."""
        self._failing = (canary, reason)
        logger.warning("the canary %s is given up: %s", canary.version, reason)

    def poll(self) -> None:
        """Load the pending state, if there is one, and switch to the served state, if it is another."""
        # In this order: a pending state that has just gone is the served one by now, or was withdrawn.
        pending = self._read_pending()
        served = read_desired_state(self._folder / SERVED_FILE)
        # Pending before served: if this worker cannot load the served state, the pending one may replace it.
        wanted = next((one for one in (pending, served) if one is not None and one != self._serving.desired), None)
        if wanted is None:
            self._preparation = None
        else:
            if self._preparation is None or self._preparation.desired != wanted:
                tried = "" if wanted == served else (wanted.canary or wanted).id
                self._preparation = Preparation(wanted, partial(self._prepare_tried, tried))
                self._preparation.wait(self._timings.grace_seconds)
            if self._preparation.is_done:
                self._conclude(self._preparation, is_served=wanted == served)
        self._drop_ended_canary()

    def _drop_ended_canary(self) -> None:
        """Forget a canary whose time is over, and end one that this worker gave up for all workers."""
        canary, failing = self._serving.canary, self._failing
        if canary is not None and canary.desired.is_over:
            logger.info("%s", canary.desired.describe_end())
            self._serving = replace(self._serving, canary=None)
        if failing is not None and failing[0] == self._serving.desired.canary:
            self._serving = replace(self._serving, canary=None)
            with suppress(SwitchBusyError), self._alone():  # then at the next poll
                if self._read_served().canary == failing[0]:
                    self._end_canary(failing[1])

    def _find_failure(self, canary: DesiredCanary) -> str:
        """Return why this worker gave up a canary; empty if it did not."""
        failing = self._failing
        return failing[1] if failing is not None and failing[0] == canary else ""

    def _switch(self, choose: Callable[[DesiredState, str], DesiredState], given_up: threading.Event) -> int:
        """Switch every worker to a new state and return how many there are; `choose` gets the served one and an id."""
        with self._alone():
            try:
                desired = choose(self._read_served(), make_id())
                write_desired_state(self._folder / PENDING_FILE, desired)
                self._await("ready", desired.name, self._timings.ready_seconds, given_up)
                write_desired_state(self._folder / SERVED_FILE, desired)
            finally:
                (self._folder / PENDING_FILE).unlink(missing_ok=True)
                self._remove_unserved()
            with suppress(SwitchError):  # all are ready, and a late one follows
                self._await("serving", desired.name, self._timings.switch_seconds, threading.Event())
            return len(list_workers(self._folder))

    def _end_canary(self, reason: str) -> DesiredState | None:
        """Serve the champion alone; None if there was no canary. The caller holds the lock."""
        served = self._read_served()
        if served.canary is None:
            return None
        without = replace(served, canary=None, ended=served.canary.describe_end(reason))
        write_desired_state(self._folder / SERVED_FILE, without)
        self._remove_unserved()
        return without

    def _fetch_tried(self, fetch: FetchBundle, name: str, given_up: threading.Event) -> tuple[str, str, str]:
        """Return folder, version and digest of a bundle; fetch and trial share one time limit."""
        patience = Patience(time.monotonic() + self._timings.trial_seconds, given_up)
        folder, version = fetch(self._folder / MODELS / name, patience)
        return str(folder), version, self._try(folder, patience)

    def _try(self, folder: Path, patience: Patience) -> str:
        """Return the digest of a bundle after its trial, which leaves memory for every worker to load it, too."""
        return self._try_bundle(folder, patience, copies=len(list_workers(self._folder)) + 1)[0]

    def _read_pending(self) -> DesiredState | None:
        """Return the pending state; None if the worker that wrote it has died or should have withdrawn it by now."""
        path = self._folder / PENDING_FILE
        pending = read_desired_state(path)
        if pending is not None:
            with suppress(SwitchBusyError), self._alone():  # the lock is free: its writer is dead
                return None
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > self._timings.ready_seconds + self._timings.switch_seconds:
                    path.unlink()
                    return None
        return pending

    def _conclude(self, preparation: Preparation, *, is_served: bool) -> None:
        """Switch to a served state, or report whether this worker is ready for a pending one."""
        desired = preparation.desired
        if is_served and preparation.prepared is None:
            self._preparation = None
            raise SwitchError(preparation.refusal)  # the next poll tries again
        if is_served and preparation.prepared is not None:
            self._serving, self._preparation = preparation.prepared, None
            self._report(desired, "serving")
            logger.info("this worker answers from model %s", desired.version)
            if desired.canary is not None:
                logger.info("and %.3g of its requests from %s", desired.canary.share, desired.canary.version)
        elif not preparation.is_reported:
            preparation.is_reported = True
            self._report(desired, "ready" if preparation.prepared else "failed", preparation.refusal)

    def _prepare_first(self, initial: DesiredState) -> Prepared:
        """Return the models that the other workers serve, after another trial; else the model of the start."""
        served = read_desired_state(self._folder / SERVED_FILE)
        if served is not None:
            try:
                patience = Patience(time.monotonic() + self._timings.trial_seconds)
                if served.folder != initial.folder:
                    self._try(Path(served.folder), patience)
                champion = load_model(served, self._open_model)
            except (SentimentError, ValueError, OSError) as error:
                logger.warning("this worker cannot open what the others serve, and answers from its first: %s", error)
            else:
                return Prepared(served, champion, self._load_first_canary(served.canary, champion, patience))
        return Prepared(initial, load_model(initial, self._open_model))

    def _load_first_canary(
        self, canary: DesiredCanary | None, champion: LoadedModel, patience: Patience
    ) -> Canary | None:
        if canary is None or canary.is_over:
            return None
        try:
            self._try(Path(canary.folder), patience)
            return load_canary(canary, champion, self._open_model)
        except (SentimentError, ValueError, OSError) as error:
            self.give_up_canary(canary, f"a worker could not open it again ({type(error).__name__})")
            return None

    def _prepare_tried(self, tried: str, desired: DesiredState) -> Prepared:
        """Return the models of a state, after a trial of those that are neither loaded here nor `tried` already."""
        patience = Patience(time.monotonic() + self._timings.trial_seconds)
        serving = self._serving.desired
        known = {tried, serving.id, serving.canary.id if serving.canary else tried}
        for one in (desired, desired.canary):
            if one is not None and one.id not in known:
                self._try(Path(one.folder), patience)
        return self._prepare(desired)

    def _prepare(self, desired: DesiredState) -> Prepared:
        """Return the models of a state; a model that answers already is not loaded again."""
        serving = self._serving
        is_known = desired.id == serving.desired.id
        champion = serving.champion if is_known else load_model(desired, self._open_model)
        if desired.canary is None or desired.canary.is_over:
            return Prepared(desired, champion)
        if serving.canary is not None and serving.canary.desired == desired.canary:
            return Prepared(desired, champion, serving.canary)
        return Prepared(desired, champion, load_canary(desired.canary, champion, self._open_model))

    def _read_served(self) -> DesiredState:
        """Return the state that all workers serve or are about to serve. The caller holds the lock."""
        return read_desired_state(self._folder / SERVED_FILE) or self._serving.desired

    def _await(self, wanted: WorkerProgress, name: str, seconds: float, given_up: threading.Event) -> None:
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
            time.sleep(self._timings.poll_seconds / 4)

    def _remove_unserved(self) -> None:
        """Remove fetched bundles that are not served. The caller holds the lock."""
        served = read_desired_state(self._folder / SERVED_FILE)
        kept = {Path(one.folder) for one in (served, served and served.canary) if one}
        for path in (self._folder / MODELS).glob("*"):
            if path not in kept:
                shutil.rmtree(path, ignore_errors=True)

    def _report(self, desired: DesiredState, progress: WorkerProgress, reason: str = "") -> None:
        """Write down how far this worker is with a state, for the other workers."""
        self._worker.report(WorkerStatus(desired.name, progress, reason, serves=self._serving.desired.name))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        try:
            held = FileLock(self._folder / LOCK_FILE, mode=0o600).acquire(timeout=0)
        except Timeout:
            raise SwitchBusyError("another reload is under way; ask again when it is done") from None
        with held:
            (self._folder / PENDING_FILE).unlink(missing_ok=True)  # left by a worker that died during a reload
            yield
