"""Rate limits: how much work one caller may request within a time, counted by all workers of a server together.

It reads the monotonic clock, which all processes share: setting the wall clock neither locks a caller out nor lets
one in.
"""

import fcntl
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from limits import RateLimitItem, parse_many

SLICES = 64  # of a rate's time: work is forgotten up to a slice late, never early
NAMES_BETWEEN_LOOKS = 256


@dataclass(frozen=True)
class Excess:
    """The rate that a caller has used up, and the seconds until there is room again."""

    rate: RateLimitItem
    wait_seconds: int


class RateLimiter:
    """Counts units of work per name, in a folder that the workers share: a file per name with the units of each slice.

    It is not `limits.strategies.MovingWindowRateLimiter`, whose memory storage reads the wall clock and belongs to one
    process; the library only parses the rates. Each file is its own lock, by flock.
    """

    def __init__(self, folder: Path, rates: str, clock: Callable[[], float] = time.monotonic) -> None:
        """`rates` are as `600/minute;100000/day`; `clock` is in seconds."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder
        self._rates = parse_many(rates)
        self._clock = clock
        self._names = 0

    def find_excess(self, name: str, units: int) -> Excess | None:
        """Count the units and return None, or return which rate has no room for them.

        More units than a rate has room for at all pass where nothing else was counted.
        """
        return self._count(name, units, is_limited=True)

    def charge(self, name: str, units: int) -> None:
        """Count units of work that is done, even without room for them."""
        self._count(name, units, is_limited=False)

    def _count(self, name: str, units: int, *, is_limited: bool) -> Excess | None:
        path = self._folder / sha256(name.encode("utf-8", "replace")).hexdigest()
        if not path.exists():
            self._forget_idle()
        with os.fdopen(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600), "r+", encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            counted = self._read(file.read())
            if is_limited:
                for rate, slices in zip(self._rates, counted, strict=True):
                    if wait := self._find_wait(rate, slices, units):
                        return Excess(rate, wait)
            for rate, slices in zip(self._rates, counted, strict=True):
                now = str(math.floor(self._clock() / _find_width(rate)))
                slices[now] = slices.get(now, 0) + units
            file.seek(0)
            file.write(json.dumps(counted))
            file.truncate()
        return None

    def _read(self, content: str) -> list[dict[str, int]]:
        """Return, for each rate, the units of the slices that still count, by the number of the slice."""
        try:
            counted = json.loads(content)
        except ValueError:  # a new file, or a worker that was killed while it wrote
            counted = [{} for _ in self._rates]
        oldest = [math.floor(self._clock() / _find_width(rate)) - SLICES for rate in self._rates]
        return [
            {number: units for number, units in slices.items() if int(number) >= first}
            for slices, first in zip(counted, oldest, strict=True)
        ]

    def _find_wait(self, rate: RateLimitItem, slices: dict[str, int], units: int) -> int:
        """Return the whole seconds until there is room for so many units; 0 if there is."""
        wanted = sum(slices.values()) + min(units, rate.amount) - rate.amount
        for number, freed in sorted((int(number), freed) for number, freed in slices.items()):
            if wanted <= 0:
                break
            wanted -= freed
            if wanted <= 0:
                return 1 + math.floor((number + SLICES + 1) * _find_width(rate) - self._clock())
        return 0

    def _forget_idle(self) -> None:
        """Remove the files of idle callers, once in a while."""
        self._names += 1
        if self._names % NAMES_BETWEEN_LOOKS == 0:
            for path in self._folder.iterdir():
                if not any(self._read(path.read_text(encoding="ascii"))):
                    path.unlink(missing_ok=True)


def _find_width(rate: RateLimitItem) -> float:
    """Return the seconds of a slice."""
    return rate.get_expiry() / SLICES
