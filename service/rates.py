"""How often somebody may ask, by the time that passes: a clock that is set locks nobody out and lets nobody in."""

import math
import time
from collections import defaultdict, deque
from collections.abc import Callable

from limits import RateLimitItem


class RateCounter:
    """Lets each name ask as often as the rate says within any stretch of its time; `clock` is in seconds."""

    def __init__(self, rate: RateLimitItem, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate = rate
        self._clock = clock
        self._asked: defaultdict[str, deque[float]] = defaultdict(deque)

    def find_wait(self, name: str) -> int:
        """Return 0 and count the request, or after how many seconds the name may ask again."""
        now, seconds, asked = self._clock(), self.rate.get_expiry(), self._asked[name]
        while asked and asked[0] + seconds <= now:
            asked.popleft()
        if len(asked) < self.rate.amount:
            asked.append(now)
            return 0
        return 1 + math.floor(asked[0] + seconds - now)
