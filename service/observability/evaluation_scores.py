"""The newest evaluation scores of the model that answers, from the table of evaluations, for Prometheus."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

from sentiment.database.url import locate_database
from service.background.daemon_call import call_in_daemon
from service.background.database_import import load_database

KEPT_SECONDS = 60.0
PATIENCE_SECONDS = 2.0


@dataclass(frozen=True)
class EvaluationScores:
    """The scores of the newest evaluation on a dataset."""

    dataset: str
    macro_f1: float
    accuracy: float
    calibration_error: float


class LatestScores:
    """Reads the database in a daemon thread, at most once a minute; without the database there are no scores."""

    def __init__(
        self,
        read: Callable[[str], list[EvaluationScores]],
        *,
        patience_seconds: float = PATIENCE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read = read
        self._patience_seconds = patience_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._digest = ""
        self._asked = 0.0
        self._found: Future[list[EvaluationScores]] | None = None

    def find(self, digest: str) -> Sequence[EvaluationScores]:
        """Return the scores of a bundle by its digest; none if the database does not answer in time."""
        with self._lock:
            old = self._digest != digest or self._clock() - self._asked >= KEPT_SECONDS
            if self._found is None or (old and self._found.done()):
                self._found = call_in_daemon("scores", partial(self._read, digest))
                self._digest, self._asked = digest, self._clock()
            if self._digest != digest:
                return ()
            found = self._found
        try:
            return found.result(self._patience_seconds)
        except Exception:  # noqa: BLE001 - the counters are shown in any case
            return ()


def read_scores(digest: str) -> list[EvaluationScores]:
    """Return the newest evaluation of a bundle on each dataset, from the database of `DATABASE_URL`."""
    load_database()
    from sentiment.database.evaluations import read_newest_evaluations

    return [
        EvaluationScores(record.dataset, record.macro_f1, record.accuracy, record.calibration_error)
        for record in read_newest_evaluations(locate_database(), digest)
    ]
