"""How much work one caller may ask for."""

import subprocess
import sys
import time

import pytest

from sentiment.paths import CHECKOUT
from service.security import rate_limit as rates
from service.security.rate_limit import RateLimiter

SPEND = """
import sys
from pathlib import Path
from service.security.rate_limit import RateLimiter
limiter = RateLimiter(Path(sys.argv[1]), "100/hour")
print(sum(limiter.find_excess("a", 1) is None for _ in range(100)))
"""


class Clock:
    """Shows the time that it was set to."""

    def __init__(self) -> None:
        self.seconds = 50.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def wait_for(limiter: RateLimiter, name: str, units: int = 1) -> int:
    """Return the seconds that a caller is told to wait; 0 where it may go on."""
    excess = limiter.find_excess(name, units)
    return excess.wait_seconds if excess else 0


@pytest.mark.parametrize("units", [1, 3])
def test_a_rate_holds_in_every_stretch_of_its_time(clock, tmp_path, units):
    """Nobody gets twice as much around the end of a minute, one at a time or several at once."""
    limiter = RateLimiter(tmp_path, f"{3 * units}/minute", clock)
    passed = []
    for _ in range(600):
        clock.seconds += 0.5
        if not wait_for(limiter, "a", units):
            passed.append(clock.seconds)

    assert len(passed) == 15
    assert min(later - sooner for sooner, later in zip(passed, passed[3:], strict=False)) >= 60


@pytest.mark.parametrize("begun", [0.1, 7.0, 1e9 + 1 / 3])
def test_who_waits_as_long_as_was_said_passes(clock, tmp_path, begun):
    """A caller is told a number of whole seconds that is enough, and not much more than that."""
    clock.seconds = begun
    limiter = RateLimiter(tmp_path, "1/10second", clock)
    assert wait_for(limiter, "a") == 0
    clock.seconds += 3.2
    wait = wait_for(limiter, "a")
    clock.seconds += wait

    assert (wait, wait_for(limiter, "a")) == (7, 0)


def test_names_are_counted_apart(clock, tmp_path):
    """One who asks too often keeps nobody else out."""
    limiter = RateLimiter(tmp_path, "1/hour", clock)

    assert [wait_for(limiter, name) > 0 for name in ("a", "b", "a")] == [False, False, True]


def test_the_rate_is_of_all_workers_together(tmp_path):
    """Two processes at once let through what one would, to the last unit."""
    command = [sys.executable, "-c", SPEND, str(tmp_path)]
    workers = [subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) for _ in range(2)]

    assert sum(int(worker.communicate(timeout=60)[0]) for worker in workers) == 100


def test_every_rate_holds(clock, tmp_path):
    """What one rate refuses is not counted for another."""
    limiter = RateLimiter(tmp_path, "2/second;3/hour", clock)
    waits = [wait_for(limiter, "a") for _ in range(3)]
    clock.seconds += 2
    waits += [wait_for(limiter, "a") for _ in range(2)]

    assert [bool(wait) for wait in waits] == [False, False, True, False, True]
    assert 1 <= waits[2] <= 2
    assert waits[4] > 3500


def test_more_than_a_rate_has_room_for_passes_alone(clock, tmp_path):
    """A batch over the rate waits until nothing else counts, and then keeps others waiting."""
    limiter = RateLimiter(tmp_path, "10/minute", clock)

    assert (wait_for(limiter, "a", 25), wait_for(limiter, "a") > 59) == (0, True)
    clock.seconds += 62
    assert (wait_for(limiter, "a"), wait_for(limiter, "a", 25) > 59) == (0, True)


def test_what_was_done_is_charged_without_room(clock, tmp_path):
    """Work that is done counts although there was no room for it."""
    limiter = RateLimiter(tmp_path, "1/hour", clock)
    limiter.charge("a", 1)
    limiter.charge("a", 1)

    assert wait_for(limiter, "a") > 0


def test_a_file_that_is_half_written_counts_anew(clock, tmp_path):
    """A worker that was killed in the middle locks nobody out."""
    limiter = RateLimiter(tmp_path, "1/hour", clock)
    limiter.charge("a", 1)
    (file,) = tmp_path.iterdir()
    file.write_text("[{")

    assert [wait_for(limiter, "a") > 0 for _ in range(2)] == [False, True]


def test_names_that_are_idle_are_forgotten(clock, tmp_path):
    """Callers from ever new addresses do not fill the disk."""
    limiter = RateLimiter(tmp_path, "1/second", clock)
    for number in range(3 * rates.NAMES_BETWEEN_LOOKS):
        clock.seconds += 0.1
        limiter.charge(str(number), 1)

    assert len(list(tmp_path.iterdir())) <= rates.NAMES_BETWEEN_LOOKS + 11


@pytest.mark.parametrize("jump", [-3600, 3600])
def test_a_clock_that_is_set_changes_no_rate(monkeypatch, tmp_path, jump):
    """Rates go by the time that passes: whoever sets the clock locks nobody out and lets nobody in."""
    limiter = RateLimiter(tmp_path, "1/minute")
    first = wait_for(limiter, "a")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + jump)

    assert (first, 59 <= wait_for(limiter, "a") <= 61) == (0, True)
