"""A thread that does one thing again and again, and does not end when it fails once."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from sentiment.errors import DatabaseError
from service.background import periodic_thread as ticking
from service.background.periodic_thread import PeriodicThread

GUARD_SECONDS = 10


class Action:
    """Notes when it is done; raises the errors it was given, one after the other, where it was given one."""

    def __init__(self, *errors: Exception | None) -> None:
        self.times: list[float] = []
        self.threads: set[str] = set()
        self._errors = list(errors)
        self._done = threading.Condition()

    def __call__(self) -> str:
        with self._done:
            self.times.append(time.monotonic())
            self.threads.add(threading.current_thread().name)
            self._done.notify_all()
        error = self._errors.pop(0) if self._errors else None
        if error is not None:
            raise error
        return "ignored"

    def wait(self, count: int) -> None:
        """Return when it was done that often."""
        with self._done:
            assert self._done.wait_for(lambda: len(self.times) >= count, GUARD_SECONDS)


class Pauses:
    """Stands for the event that a ticker waits on: notes how long it would wait, and ends after so many times."""

    def __init__(self, count: int) -> None:
        self.seconds: list[float] = []
        self._count = count

    def wait(self, seconds: float) -> bool:
        self.seconds.append(seconds)
        return len(self.seconds) > self._count

    def set(self) -> None:
        """Let what was begun go on to its end."""


@pytest.fixture
def start() -> Iterator[Callable[..., PeriodicThread]]:
    """What starts a ticker and ends it after the test."""
    started = []

    def start(action: Callable[[], object], seconds: float = 0.001) -> PeriodicThread:
        ticker = PeriodicThread("counting sheep", action, seconds)
        started.append(ticker)
        ticker.start()
        return ticker

    yield start
    for ticker in started:
        ticker.stop(GUARD_SECONDS)


def list_pauses(*errors: Exception | None, seconds: float) -> list[float]:
    """Return how long a ticker waits before each try, where its tries end like this."""
    ticker = PeriodicThread("counting sheep", Action(*errors), seconds)
    ticker._stop = pauses = Pauses(len(errors))
    ticker.start()
    assert ticker.stop(GUARD_SECONDS)
    return pauses.seconds


def test_an_action_is_done_again_and_again(start):
    """The action goes on until the ticker is stopped, whatever it returns."""
    action = Action()
    start(action)

    action.wait(5)


def test_an_action_has_a_thread_of_its_own(start):
    """All that the action does happens in one thread, named after it, which lets the process end."""
    action = Action()
    start(action)
    action.wait(3)

    (thread,) = [thread for thread in threading.enumerate() if thread.name == "counting sheep"]
    assert (action.threads, thread.daemon) == ({"counting sheep"}, True)


def test_a_ticker_waits_before_it_acts_for_the_first_time(start):
    """Nothing is done before the first pause is over."""
    action = Action()
    ticker = start(action, GUARD_SECONDS)

    assert (ticker.stop(GUARD_SECONDS), action.times) == (True, [])


def test_a_stop_does_not_wait_for_the_end_of_a_pause(start):
    """A service ends when it should, however seldom a thread of it acts."""
    ticker = start(Action(), 60)
    begun = time.monotonic()

    assert ticker.stop(GUARD_SECONDS) is True
    assert time.monotonic() - begun < 1


def test_nothing_is_done_after_a_stop(start):
    """A ticker that was stopped does not act again."""
    action = Action()
    ticker = start(action)
    action.wait(1)
    ticker.stop(GUARD_SECONDS)
    count = len(action.times)
    time.sleep(0.02)

    assert len(action.times) == count


def test_an_action_that_hangs_is_left_behind(start):
    """A stop says that the action is not done, rather than wait for it for ever."""
    released, entered = threading.Event(), threading.Event()

    def hang() -> None:
        entered.set()
        released.wait(GUARD_SECONDS)

    ticker = start(hang)
    assert entered.wait(GUARD_SECONDS)

    assert ticker.stop(0.01) is False
    released.set()
    assert ticker.stop(GUARD_SECONDS) is True


def test_a_ticker_that_never_started_has_stopped():
    """What did not start need not be waited for."""
    assert PeriodicThread("counting sheep", Action(), 0.001).stop(GUARD_SECONDS) is True


def test_a_second_stop_is_none(start):
    """A ticker may be stopped twice."""
    ticker = start(Action())

    assert (ticker.stop(GUARD_SECONDS), ticker.stop(GUARD_SECONDS)) == (True, True)


@pytest.mark.parametrize("error", [OSError(28, "full"), ValueError("bad"), KeyError(), AssertionError()], ids=repr)
def test_an_action_that_fails_is_tried_again(start, error):
    """Whatever an action raises, the next try is made."""
    action = Action(error)
    start(action)

    action.wait(3)


def test_a_failure_is_said_once_until_it_is_over(monkeypatch, caplog, sentence):
    """The operator reads when something began to fail and when it went on, and not one line a try."""
    list_pauses(None, OSError("a"), ValueError("b"), OSError("a"), None, None, KeyError("c"), None, seconds=0.0)

    assert caplog.messages == [
        sentence,
        "counting sheep goes on",
        sentence,
        "counting sheep goes on",
    ]


def test_a_failure_is_said_without_what_it_says(caplog, sentence):
    """The log repeats nothing of what a user wrote: an error may hold it."""
    list_pauses(ValueError("marmalade"), seconds=0.0)

    assert caplog.messages == [sentence]
    assert "marmalade" not in caplog.text


def test_what_keeps_the_database_away_is_said_in_its_sentence(caplog, sentence):
    """A certificate or a right that is missing is for the operator to mend, and holds nothing of a user."""
    list_pauses(DatabaseError("the role may not change it; run `make migrate`."), seconds=0.0)

    assert caplog.messages == [sentence]


def test_an_action_that_goes_well_says_nothing(caplog):
    """A log without failures is empty."""
    list_pauses(None, None, None, seconds=0.0)

    assert caplog.messages == []


def test_an_action_that_fails_is_done_less_and_less_often():
    """Each failure doubles the pause, up to five seconds; the first try that goes well ends that."""
    away = OSError("away")
    pauses = list_pauses(None, *[away] * 5, None, away, None, seconds=0.5)

    assert pauses == [0.5, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 0.5, 1.0, 0.5]


def test_the_longest_pause_is_five_seconds():
    """What is back is noticed within five seconds."""
    assert ticking.LONGEST_PAUSE_SECONDS == 5.0
