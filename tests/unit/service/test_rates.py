"""How often somebody may ask."""

import time

import pytest
from limits import parse

from service.rates import RateCounter


class Clock:
    """Shows the time that it was set to."""

    def __init__(self) -> None:
        self.seconds = 50.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_rate_holds_in_every_stretch_of_its_time(clock):
    """Nobody asks twice as often around the end of a minute."""
    counter = RateCounter(parse("3/minute"), clock)
    passed = []
    for _ in range(600):
        clock.seconds += 0.5
        if not counter.find_wait("a"):
            passed.append(clock.seconds)

    assert len(passed) == 15
    assert min(later - sooner for sooner, later in zip(passed, passed[3:], strict=False)) >= 60


@pytest.mark.parametrize("begun", [0.1, 7.0, 1e9 + 1 / 3])
def test_who_waits_as_long_as_was_said_passes(clock, begun):
    """A caller is told a number of whole seconds that is enough, and not much more than that."""
    clock.seconds = begun
    counter = RateCounter(parse("1/10second"), clock)
    assert counter.find_wait("a") == 0
    clock.seconds += 3.3
    wait = counter.find_wait("a")
    clock.seconds += wait

    assert (wait, counter.find_wait("a")) == (7, 0)


def test_names_are_counted_apart(clock):
    """One who asks too often keeps nobody else out."""
    counter = RateCounter(parse("1/hour"), clock)

    assert [counter.find_wait(name) for name in ("a", "b", "a")] == [0, 0, 3601]


@pytest.mark.parametrize("jump", [-3600, 3600])
def test_a_clock_that_is_set_changes_no_rate(monkeypatch, jump):
    """Rates go by the time that passes: whoever sets the clock locks nobody out and lets nobody in."""
    counter = RateCounter(parse("1/minute"))
    first = counter.find_wait("a")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + jump)

    assert (first, 59 <= counter.find_wait("a") <= 61) == (0, True)
