"""A thread that repeats one action, and goes on when the action fails."""

import logging
import threading
from collections.abc import Callable

from sentiment.errors import DatabaseError

LONGEST_PAUSE_SECONDS = 5.0

logger = logging.getLogger(__name__)


class PeriodicThread:
    """Calls `action` every `seconds`; while it raises, less and less often, up to every `longest_pause_seconds`.

    `what` names the action in the log.
    """

    def __init__(
        self,
        what: str,
        action: Callable[[], object],
        seconds: float,
        longest_pause_seconds: float = LONGEST_PAUSE_SECONDS,
    ) -> None:
        self._what = what
        self._action = action
        self._seconds = seconds
        self._longest_pause_seconds = longest_pause_seconds
        self._stop = threading.Event()
        self._failing = False
        self._thread = threading.Thread(target=self._run, name=what, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, seconds: float) -> bool:
        """Return whether the thread ended within so many seconds."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        pause = self._seconds
        while not self._stop.wait(pause):
            try:
                self._action()
            except Exception as error:  # noqa: BLE001 - whatever it is, the next try may go well
                pause = min(2 * pause, self._longest_pause_seconds)
                if not self._failing:
                    # Only errors of ours, because others may repeat the text of a user.
                    said = str(error).rstrip(".") if isinstance(error, DatabaseError) else type(error).__name__
                    logger.warning("%s failed (%s); tried again", self._what, said)
                self._failing = True
            else:
                if self._failing:
                    logger.warning("%s goes on", self._what)
                self._failing, pause = False, self._seconds
