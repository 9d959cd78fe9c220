"""Watching a canary: poll after poll, until the figures say something or its time is over."""

from dataclasses import replace

import sqlalchemy as sa

from release.canary import CanaryStatus, Watched, describe_poll, watch
from sentiment.errors import ServiceError
from sentiment.governance.canary_rule import Figures
from tests.unit.sentiment.governance.test_canary_rule import CHAMPION, RULE, make_figures


class Clock:
    """Time that passes while somebody sleeps."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


def watch_figures(figures, statuses=None) -> Watched:
    """Watch what comes poll by poll; what is an error is raised."""
    coming, saying, clock = iter(figures), iter(statuses or []), Clock()

    def read() -> tuple[Figures, Figures]:
        found = next(coming)
        if isinstance(found, Exception):
            raise found
        return CHAMPION, found

    def poll() -> CanaryStatus:
        found = next(saying, CanaryStatus())
        if isinstance(found, Exception):
            raise found
        return found

    return watch(read, poll, RULE, 60, clock=clock, sleep=clock.sleep)


def test_it_waits_until_the_figures_say_something():
    """The first verdict other than to wait ends the watch."""
    watched = watch_figures([make_figures(answers) for answers in (100, 300, 2000, 9000)])
    assert (watched.verdict.outcome, watched.minutes, watched.canary.answers) == ("promote", 3, 2000)


def test_it_ends_when_its_time_is_over():
    """Too little traffic backs a canary out at the last minute, and says so."""
    watched = watch_figures([make_figures(100)] * 40)
    assert (watched.verdict.outcome, watched.minutes) == ("back out", 30)
    assert "too few" in watched.verdict.summary


def test_a_canary_that_the_service_gave_up_is_backed_out(sentence):
    """What the service says of the end is the reason, whatever the figures say."""
    watched = watch_figures([make_figures(2000)] * 3, [CanaryStatus("5 ended: it failed 3 requests (RuntimeError)", 3)])
    assert watched.verdict.summary == sentence


def test_nothing_is_promoted_while_somebody_does_not_answer(sentence):
    """A database or a service that is away is passed over; figures of before promote nothing."""
    away = sa.exc.OperationalError("select", {}, Exception("gone"))
    watched = watch_figures(
        [away, make_figures(100), away, make_figures(2000)], [CanaryStatus(), ServiceError("gone."), CanaryStatus()]
    )
    assert watched.verdict.outcome == "promote"
    ended = watch_figures([make_figures(100), *[away] * 40])
    assert (ended.verdict.outcome, ended.verdict.reasons[0]) == (
        "back out",
        sentence,
    )


def test_a_poll_is_one_line(sentence):
    """Answers, figures of both, and what follows."""
    watched = watch_figures([make_figures(2000)])
    assert describe_poll(replace(watched, minutes=1.25)) == sentence
