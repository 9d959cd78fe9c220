"""The prediction log as the service sees it: it has every acknowledged prediction, whatever dies."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sentiment.bundle.predictor import Prediction
from service.api.context import RequestContext
from service.api.ids import make_id
from service.prediction_log.entries import FeedbackEntry, PredictionEntry, ShadowEntry, write_line
from service.prediction_log.pseudonyms import digest_subject
from service.prediction_log.redaction import KeptText, keep_text
from service.prediction_log.shipper import LOG_TIMINGS, LogStatus, LogTimings, Shipper, read_status
from service.prediction_log.spool import Spool, SpoolError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answered:
    """A text, its prediction, and the model that made it."""

    text: str
    prediction: Prediction
    model_version: str
    model_digest: str


class PredictionLog:
    """Adds entries to the spool before they are acknowledged; a shipper moves them to the database.

    With `required` an entry that cannot be made safe raises SpoolError; without, the request is answered. Both are
    counted and logged.
    """

    def __init__(
        self,
        folder: Path,
        url: str,
        *,
        kept_text: KeptText,
        key: bytes,
        required: bool,
        max_bytes: int,
        sync: bool,
        retention_days: int,
        timings: LogTimings = LOG_TIMINGS,
    ) -> None:
        self._folder = folder
        self._kept_text = kept_text
        self._key = key
        self._required = required
        self._timings = timings
        self._warned = -timings.seconds_between_warnings
        self._unlogged = 0
        self._failing = False
        self._spool = Spool(folder, max_bytes=max_bytes, sync=sync)
        self._shipper = Shipper(folder, self._spool, url, retention_days=retention_days, timings=timings)
        self._shipper.start()

    def record(self, answered: Sequence[Answered], request: RequestContext) -> list[str]:
        """Add predictions and return their ids. Raises SpoolError as the class says."""
        now, latency_ms = time.time(), 1000 * request.elapsed_seconds
        subject = self._digest_subject(request)
        ids, lines = [], []
        for item in answered:
            kept, text_digest = keep_text(item.text, self._kept_text, self._key)
            entry = PredictionEntry(
                id=make_id(),
                at=now,
                request_id=request.id,
                text=kept,
                text_digest=text_digest,
                characters=len(item.text),
                **vars(item.prediction),
                model_version=item.model_version,
                model_digest=item.model_digest,
                latency_ms=round(latency_ms, 3),
                subject=subject,
            )
            ids.append(entry.id)
            lines.append(write_line(entry))
        self._append(lines)
        return ids

    def record_feedback(self, prediction_id: str, label: str, request: RequestContext) -> str:
        """Add feedback and return its id. Raises SpoolError as the class says."""
        entry = FeedbackEntry(make_id(), time.time(), prediction_id, label, request.id, self._digest_subject(request))
        self._append([write_line(entry)])
        return entry.id

    def record_shadow(self, entry: ShadowEntry) -> None:
        """Keep a prediction of the shadow model. Raises SpoolError as the class says."""
        self._append([write_line(entry)])

    def read_status(self) -> LogStatus:
        """Return the status of the log, whichever worker ships."""
        return read_status(self._folder, time.time())

    @property
    def is_failing(self) -> bool:
        """Whether the last entry of this worker could not be made safe."""
        return self._failing

    def close(self) -> None:
        """Ship what is there, and stop."""
        self._shipper.close()

    def _digest_subject(self, request: RequestContext) -> str | None:
        return digest_subject(request.subject, self._key) if request.subject else None

    def _append(self, lines: Sequence[bytes]) -> None:
        try:
            self._spool.append(lines)
            self._failing = False
        except SpoolError as error:
            self._failing = True
            self._unlogged += len(lines)
            if time.monotonic() - self._warned >= self._timings.seconds_between_warnings:
                self._warned = time.monotonic()
                fate = "were refused" if self._required else "are not in the log"
                logger.warning("%s; %d entries %s so far", error, self._unlogged, fate)
            if self._required:
                raise
