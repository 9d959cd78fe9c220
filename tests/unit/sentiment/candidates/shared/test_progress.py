"""Log lines of long work, and silence on short work."""

import logging

import pytest

from sentiment.candidates.shared.progress import Progress

LOGGER = logging.getLogger("progress under test")


class Clock:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def reach(clock: Clock, caplog, total: int, *steps: tuple[float, int]) -> list[str]:
    caplog.set_level(logging.INFO, logger=LOGGER.name)
    progress = Progress(LOGGER, "embedding texts", total, clock)
    for seconds, done in steps:
        clock.now = 100.0 + seconds
        progress.reach(done)
    return caplog.messages


def test_short_work_is_quiet(clock, caplog):
    """Work of less than five seconds tells nothing."""
    assert reach(clock, caplog, 4, (1.0, 1), (3.0, 2), (4.99, 3)) == []


def test_after_five_seconds_a_line_tells_how_far_it_is(clock, caplog, sentence):
    """A line names the work, the part done and the time left at the pace so far."""
    assert reach(clock, caplog, 4, (5.0, 1)) == [sentence]


def test_lines_are_five_seconds_apart(clock, caplog, sentence):
    """After a line, the next comes five seconds later."""
    lines = reach(clock, caplog, 10, (5.0, 1), (6.0, 2), (9.9, 3), (10.0, 4))
    assert [line.split(",")[0] for line in lines] == [sentence, sentence]


def test_the_time_left_counts_from_the_start(clock, caplog, sentence):
    """The time left follows the whole work so far, not the last stretch."""
    assert reach(clock, caplog, 10, (5.0, 1), (20.0, 5))[-1] == sentence


@pytest.mark.parametrize("done", [4, 5])
def test_the_end_is_quiet(clock, caplog, done):
    """Work that is done needs no line, however long it took."""
    assert reach(clock, caplog, 4, (60.0, done)) == []


def test_large_numbers_have_separators(clock, caplog, sentence):
    """Large counts are written so that they can be read."""
    assert reach(clock, caplog, 20_000, (5.0, 10_000)) == [sentence]


def test_lines_are_information(clock, caplog):
    """Progress is logged as information, not as a warning."""
    reach(clock, caplog, 4, (5.0, 1))
    assert [record.levelno for record in caplog.records] == [logging.INFO]
