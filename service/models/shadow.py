"""The shadow model: it answers a share of live texts after the champion, and no caller waits for it or sees it."""

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
from service.api.ids import make_id
from service.api.schemas import ReloadRequest
from service.models.fetch.sources import WANTED, Sources, parse_location
from service.models.loaded import LoadedModel, OpenModel, TryBundle
from service.models.sources import fetch_bundle
from service.prediction_log.entries import ShadowEntry
from service.prediction_log.log import Answered

MAX_WAITING = 256
OPEN_SECONDS = 120.0
NICENESS = 10
SAMPLED_DIGITS = 8
SAMPLED_RANGE = 0x1_0000_0000

ShadowState = Literal["opening", "ok", "failing", "other_labels", "unavailable"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ShadowStatus:
    """How the shadow model of one worker is doing; `reason` is a sentence if it does not answer."""

    model_version: str | None
    share: float
    status: ShadowState
    reason: str
    waiting: int


@dataclass(frozen=True)
class ShadowWork:
    """A text that the champion has answered, and its label."""

    text: str
    prediction_id: str
    champion_label: str


class Shadow:
    """Answers a share of the texts that the champion answered, in a thread with a lower priority than all others.

    A failure of `open_shadow_model` or of the model is logged once and changes nothing else. `record` keeps a
    prediction. `watch` gets whether it agrees with the champion's, or None if there is no prediction.
    """

    def __init__(
        self,
        share: float,
        *,
        open_shadow_model: Callable[[], LoadedModel],
        read_labels: Callable[[], Sequence[str]],
        record: Callable[[ShadowEntry], None],
        watch: Callable[[bool | None], None],
    ) -> None:
        self._share = share
        self._open_shadow_model = open_shadow_model
        self._read_labels = read_labels
        self._record = record
        self._watch = watch
        self._waiting: SimpleQueue[ShadowWork | None] = SimpleQueue()
        self._state: ShadowState = "opening"
        self._reason = ""
        self._deadline = float("inf")
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
        self.model: LoadedModel | None = None

    def start(self) -> None:
        """Open the model and answer what is offered, in the thread."""
        self._thread.start()

    def offer(self, answered: Sequence[Answered], ids: Sequence[str]) -> None:
        """Queue the share of these texts that the model answers; texts that do not fit are dropped."""
        if self._state == "unavailable":
            return
        for item, prediction_id in zip(answered, ids, strict=True):
            if is_sampled(prediction_id, self._share):
                if self._waiting.qsize() < MAX_WAITING:
                    self._waiting.put(ShadowWork(item.text, prediction_id, item.prediction.label))
                else:
                    self._watch(None)

    def read_status(self) -> ShadowStatus:
        """Return how the model is doing."""
        version = self.model.version if self.model else None
        return ShadowStatus(version, self._share, self._state, self._reason, self._waiting.qsize())

    def close(self, seconds: float = 2.0) -> None:
        """Answer what is queued for at most so many seconds, and stop."""
        self._deadline = time.monotonic() + seconds
        self._waiting.put(None)
        if self._thread.ident is not None:
            self._thread.join(2 * seconds)

    def _run(self) -> None:
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        try:
            self.model = self._open_shadow_model()
        except Exception as error:  # noqa: BLE001 - the champion answers in any case
            reason = str(error) if isinstance(error, SentimentError) else type(error).__name__
            self._change("unavailable", f"the shadow model cannot be opened ({reason.rstrip('.')})")
            return
        if self._has_labels_of_champion(self.model):
            self._change("ok")
        while (work := self._waiting.get()) is not None and time.monotonic() < self._deadline:
            self._watch(self._try_to_answer(self.model, work))

    def _try_to_answer(self, model: LoadedModel, work: ShadowWork) -> bool | None:
        """Return whether the model agrees with the champion; None if there is no prediction that could be kept."""
        if not self._has_labels_of_champion(model):
            return None
        started = time.perf_counter()
        try:
            (prediction,) = model.predictor.predict([work.text])
            entry = ShadowEntry(
                id=make_id(),
                at=time.time(),
                prediction_id=work.prediction_id,
                champion_label=work.champion_label,
                label=prediction.label,
                confidence=prediction.confidence,
                scores=prediction.scores,
                model_version=model.version,
                model_digest=model.predictor.bundle.card.digest,
                latency_ms=round(1000 * (time.perf_counter() - started), 3),
            )
            self._record(entry)
        except Exception as error:  # noqa: BLE001 - no text may end the thread
            # Not the error itself, which may repeat the text of a user.
            self._change("failing", f"the shadow model {model.version} fails ({type(error).__name__})")
            return None
        self._change("ok")
        return prediction.label == work.champion_label

    def _has_labels_of_champion(self, model: LoadedModel) -> bool:
        own, wanted = model.predictor.labels, self._read_labels()
        if set(own) == set(wanted):
            return True
        reason = f"the shadow model {model.version} says {', '.join(own)} and the champion {', '.join(wanted)}"
        self._change("other_labels", reason)
        return False

    def _change(self, state: ShadowState, reason: str = "") -> None:
        """Log a change of the state."""
        if state != self._state and reason:
            logger.warning("%s; the champion answers on", reason)
        elif state != self._state and self.model:
            logger.info("the shadow model %s answers %.3g of the texts, too", self.model.version, self._share)
        self._state, self._reason = state, reason


def is_sampled(prediction_id: str, share: float) -> bool:
    """Return whether the shadow model answers a prediction, too; the id of the prediction decides it."""
    return int(prediction_id[-SAMPLED_DIGITS:], 16) < share * SAMPLED_RANGE


def open_shadow_model(
    name: str,
    parent: Path,
    open_model: OpenModel = open_sound_model,
    try_model: TryBundle = try_bundle,
    copies: int = 1,
) -> LoadedModel:
    """Return the model of a version, a folder or a URI after its trial. Raises BundleError if it is not sound."""
    wanted, patience = describe_source(name), Patience(time.monotonic() + OPEN_SECONDS)
    try:
        place = wanted.uri or wanted.folder
        sources = Sources((parse_location(place),) if place else ())  # whoever sets its name may name its source
    except ValueError as error:
        raise BundleError(f"the shadow model's name cannot be used: {error}; {WANTED}.") from error
    with TemporaryDirectory(dir=parent, prefix="shadow-") as scratch:
        folder, version = fetch_bundle(wanted, Path(scratch) / "bundle", patience, sources)
        try_model(folder, patience, copies=copies)
        return LoadedModel(open_model(folder), version)


def describe_source(name: str) -> ReloadRequest:
    """Return the source of a name: `s3://bucket/bundle` is a URI, `path/to/bundle` a folder, `4` a version."""
    if "://" in name:
        return ReloadRequest(uri=name)
    if "/" in name or Path(name).is_dir():
        return ReloadRequest(folder=str(Path(name).absolute()))
    return ReloadRequest(version=name)
