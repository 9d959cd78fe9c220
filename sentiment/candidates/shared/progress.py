"""Progress of long work as log lines with the time left; quiet on short work."""

import logging
import time
from collections.abc import Callable

SECONDS_BETWEEN_LINES = 5.0


class Progress:
    """Tells a logger how far a piece of work is, at most every five seconds."""

    def __init__(
        self, logger: logging.Logger, what: str, total: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._logger = logger
        self._what = what
        self._total = total
        self._clock = clock
        self._started = self._told = clock()

    def reach(self, done: int) -> None:
        """Note that `done` of the total are behind us."""
        now = self._clock()
        if 0 < done < self._total and now - self._told >= SECONDS_BETWEEN_LINES:
            self._told = now
            left = (now - self._started) / done * (self._total - done)
            self._logger.info("%s: %s of %s, about %.0f s left", self._what, f"{done:,}", f"{self._total:,}", left)
