"""The challenger in the shadow: it answers a share of live texts behind the champion, and nobody waits for it."""

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from typing import Literal

from sentiment.bundle.trial import Patience, try_bundle
from sentiment.bundle.verify import open_sound_model
from sentiment.errors import BundleError, SentimentError
from service.api.schemas import ReloadRequest
from service.models.fetch.sources import WANTED, Sources, parse_location
from service.models.loaded import OpenModel, Served, TryBundle
from service.models.sources import fetch_model
from service.prediction_log.entries import ShadowEntry, make_id
from service.prediction_log.log import Answered

MAX_WAITING = 256
OPEN_SECONDS = 120.0
NICENESS = 10
SAMPLED_DIGITS = 8
SAMPLED_RANGE = 0x1_0000_0000

State = Literal["opening", "ok", "failing", "other_labels", "unavailable"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ShadowStatus:
    """How the challenger of one worker is doing; `reason` is a sentence where it does not answer."""

    model_version: str | None
    share: float
    status: State
    reason: str
    waiting: int


@dataclass(frozen=True)
class ShadowWork:
    """A text that the champion has answered."""

    text: str
    prediction_id: str
    champion_label: str


class Shadow:
    """Answers a share of what the champion answered, in a thread that gives way to all others.

    `open_challenger` and the challenger itself may fail as they like: it is said once, and nothing else changes.
    `record` keeps an answer; `watch` hears of each, whether it agrees with the champion's, None where there is none.
    """

    def __init__(
        self,
        share: float,
        *,
        open_challenger: Callable[[], Served],
        read_labels: Callable[[], Sequence[str]],
        record: Callable[[ShadowEntry], None],
        watch: Callable[[bool | None], None],
    ) -> None:
        self._share = share
        self._open_challenger = open_challenger
        self._read_labels = read_labels
        self._record = record
        self._watch = watch
        self._waiting: SimpleQueue[ShadowWork | None] = SimpleQueue()
        self._state: State = "opening"
        self._reason = ""
        self._deadline = float("inf")
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
        self.challenger: Served | None = None

    def start(self) -> None:
        """Open the challenger and answer what is offered, behind the service."""
        self._thread.start()

    def offer(self, answered: Sequence[Answered], ids: Sequence[str]) -> None:
        """Take the share of these answers that the challenger is to answer, too; what finds no room is dropped."""
        if self._state == "unavailable":
            return
        for item, prediction_id in zip(answered, ids, strict=True):
            if is_sampled(prediction_id, self._share):
                if self._waiting.qsize() < MAX_WAITING:
                    self._waiting.put(ShadowWork(item.text, prediction_id, item.prediction.label))
                else:
                    self._watch(None)

    def read_status(self) -> ShadowStatus:
        """Return how it is doing."""
        version = self.challenger.version if self.challenger else None
        return ShadowStatus(version, self._share, self._state, self._reason, self._waiting.qsize())

    def close(self, seconds: float = 2.0) -> None:
        """Answer what waits, as far as that takes no longer, and stop."""
        self._deadline = time.monotonic() + seconds
        self._waiting.put(None)
        if self._thread.ident is not None:
            self._thread.join(2 * seconds)

    def _run(self) -> None:
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        try:
            self.challenger = self._open_challenger()
        except Exception as error:  # noqa: BLE001 - whatever it is, the champion answers on
            reason = str(error) if isinstance(error, SentimentError) else type(error).__name__
            self._change("unavailable", f"the challenger cannot be opened ({reason.rstrip('.')})")
            return
        if self._has_labels_of_champion(self.challenger):
            self._change("ok")
        while (work := self._waiting.get()) is not None and time.monotonic() < self._deadline:
            self._watch(self._try_to_answer(self.challenger, work))

    def _try_to_answer(self, challenger: Served, work: ShadowWork) -> bool | None:
        """Return whether the challenger agrees with the champion; None where it gave no answer that could be kept."""
        if not self._has_labels_of_champion(challenger):
            return None
        started = time.perf_counter()
        try:
            (prediction,) = challenger.predictor.predict([work.text])
            entry = ShadowEntry(
                id=make_id(),
                at=time.time(),
                prediction_id=work.prediction_id,
                champion_label=work.champion_label,
                label=prediction.label,
                confidence=prediction.confidence,
                scores=prediction.scores,
                model_version=challenger.version,
                model_digest=challenger.predictor.bundle.card.digest,
                latency_ms=round(1000 * (time.perf_counter() - started), 3),
            )
            self._record(entry)
        except Exception as error:  # noqa: BLE001 - whatever a text does to the challenger, it has no part in the answer
            # Not the error itself: it may hold what a user wrote.
            self._change("failing", f"the challenger {challenger.version} fails ({type(error).__name__})")
            return None
        self._change("ok")
        return prediction.label == work.champion_label

    def _has_labels_of_champion(self, challenger: Served) -> bool:
        own, wanted = challenger.predictor.labels, self._read_labels()
        if set(own) == set(wanted):
            return True
        reason = f"the challenger {challenger.version} says {', '.join(own)} and the champion {', '.join(wanted)}"
        self._change("other_labels", reason)
        return False

    def _change(self, state: State, reason: str = "") -> None:
        """Say in the log what is new; the champion answers on, whatever it is."""
        if state != self._state and reason:
            logger.warning("%s; the champion answers on", reason)
        elif state != self._state and self.challenger:
            logger.info("the challenger %s answers %.3g of the texts, too", self.challenger.version, self._share)
        self._state, self._reason = state, reason


def is_sampled(prediction_id: str, share: float) -> bool:
    """Return whether a prediction is one of the share that the challenger answers, which its id alone decides."""
    return int(prediction_id[-SAMPLED_DIGITS:], 16) < share * SAMPLED_RANGE


def open_challenger(
    name: str,
    parent: Path,
    open_model: OpenModel = open_sound_model,
    try_model: TryBundle = try_bundle,
    copies: int = 1,
) -> Served:
    """Return the model of a version, a folder or a URI, once it was tried. Raises BundleError when it is not sound."""
    wanted, patience = describe_source(name), Patience(time.monotonic() + OPEN_SECONDS)
    try:
        place = wanted.uri or wanted.folder
        sources = Sources((parse_location(place),) if place else ())  # who sets its name may name its source
    except ValueError as error:
        raise BundleError(f"the challenger's name cannot be used: {error}; {WANTED}.") from error
    with TemporaryDirectory(dir=parent, prefix="shadow-") as scratch:
        folder, version = fetch_model(wanted, Path(scratch) / "bundle", patience, sources)
        try_model(folder, patience, copies=copies)
        return Served(open_model(folder), version)


def describe_source(name: str) -> ReloadRequest:
    """Return which source a name means: `s3://bucket/bundle` a URI, `path/to/bundle` a folder, `4` a version."""
    if "://" in name:
        return ReloadRequest(uri=name)
    if "/" in name or Path(name).is_dir():
        return ReloadRequest(folder=str(Path(name).absolute()))
    return ReloadRequest(version=name)
