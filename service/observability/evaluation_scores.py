"""What was last measured of the model that answers, from the table of evaluations, for Prometheus."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from sentiment.database.url import locate_database
from service.background.database_import import load_database

KEPT_SECONDS = 60.0
PATIENCE_SECONDS = 2.0


@dataclass(frozen=True)
class EvaluationScores:
    """What the newest evaluation on a dataset measured."""

    dataset: str
    macro_f1: float
    accuracy: float
    calibration_error: float


class LatestScores:
    """Asks the database in a thread of its own, once a minute at most; where it is away there are no scores."""

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
        """Return the scores of a bundle by its digest; none where the database does not answer within 2 s."""
        with self._lock:
            old = self._digest != digest or self._clock() - self._asked >= KEPT_SECONDS
            if self._found is None or (old and self._found.done()):
                self._found = self._start(digest)
                self._digest, self._asked = digest, self._clock()
            if self._digest != digest:
                return ()
            found = self._found
        try:
            return found.result(self._patience_seconds)
        except Exception:  # noqa: BLE001 - whatever keeps the scores away, the counters are there
            return ()

    def _start(self, digest: str) -> Future[list[EvaluationScores]]:
        future: Future[list[EvaluationScores]] = Future()

        def run() -> None:
            try:
                future.set_result(self._read(digest))
            except Exception as error:  # noqa: BLE001 - it is raised where the result is waited for
                future.set_exception(error)

        # A daemon: the service ends even while a database hangs.
        threading.Thread(target=run, name="scores", daemon=True).start()
        return future


def read_scores(digest: str) -> list[EvaluationScores]:
    """Return the newest evaluation of a bundle on each dataset, from the database of `DATABASE_URL`."""
    load_database()
    from sentiment.database.evaluations import read_newest_evaluations

    return [
        EvaluationScores(record.dataset, record.macro_f1, record.accuracy, record.calibration_error)
        for record in read_newest_evaluations(locate_database(), digest)
    ]
