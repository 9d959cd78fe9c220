"""Trying a version on live requests: start a canary, watch its figures, then promote it or abort."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from mlflow.entities.model_registry import ModelVersion

from release.journal import enter_event
from release.mlflow_registry import PRODUCTION, STAGING, name_version, read_alias, require_version
from release.promotion import check_version, ensure_stored, promote_version
from release.running_services import ANSWERS, FAILURES, CanaryService, choose_canary_service
from sentiment.config.schema import CanarySection
from sentiment.database.canary_figures import read_figures
from sentiment.database.connection import open_database
from sentiment.database.url import locate_database
from sentiment.errors import CanaryError, DatabaseError, SentimentError, ServiceError
from sentiment.governance.canary_rule import CanaryRule, Figures, Verdict, judge_canary
from sentiment.model_name import ModelName

MINUTES_TO_PROMOTE = 5

Interrupts = tuple[type[BaseException], ...]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CanaryStatus:
    """What a service says of its canary: why it ended, if it did, and how many texts the champion answered for it."""

    ended: str = ""
    failures: int = 0


@dataclass(frozen=True)
class Watched:
    """The verdict, and the figures of champion and canary that it rests on."""

    verdict: Verdict
    minutes: float
    champion: Figures
    canary: Figures
    failures: int


def run_canary(
    section: CanarySection,
    version: str,
    service: str = "",
    *,
    key_file: str = "",
    force: str = "",
    watch_only: bool = False,
    interrupts: Interrupts = (KeyboardInterrupt,),
) -> Verdict:
    """Return the verdict on a version that is in production now, or with `watch_only` may go there.

    Raises CanaryError when the canary was aborted.
    """
    if version == STAGING and read_alias(STAGING) is None:
        raise CanaryError("no version waits at the alias 'staging'; name the one to try: make canary VERSION=...")
    found = require_version(version)
    if watch_only:
        return watch_version(found, section)
    production = read_alias(PRODUCTION)
    if production == str(found.version):
        raise CanaryError(f"version {production} is in production already; name another: make canary VERSION=...")
    check_version(found, production, force)
    asked = choose_canary_service(service, key_file)
    return try_version(found, section, asked, force=force, key_file=key_file, interrupts=interrupts)


def try_version(
    version: ModelVersion,
    section: CanarySection,
    service: CanaryService,
    *,
    force: str = "",
    key_file: str = "",
    interrupts: Interrupts = (KeyboardInterrupt,),
) -> Verdict:
    """Let a version answer a share of a service's requests, then promote it. Raises CanaryError when it aborts.

    Whatever ends this before aborts the canary, too; where nobody is left to do that, the service does it.
    """
    name = name_version(version)
    with _open_log() as engine:
        champion = service.require_ready()
        failed_before, answered_before = service.count(FAILURES), service.count(ANSWERS, role="canary")
        ensure_stored(version)
        service.start(str(name), section.share, section.max_minutes + MINUTES_TO_PROMOTE)
        watched: Watched | None = None
        try:
            logger.info("%s answers %.3g of the requests to %s, beside %s", name, section.share, service.url, champion)
            watched = watch(
                _reading(engine, champion, name, section),
                lambda: CanaryStatus(service.find_end(str(name)), service.count(FAILURES) - failed_before),
                section.rule(),
                section.look_seconds,
            )
            ended = watched.verdict.summary
            if watched.verdict.outcome == "promote":
                _enter(name, champion, f"version {name.number} held as a canary: {ended}.", watched)
                _promote(name, champion, service, force, key_file)
                return watched.verdict
            if not watched.canary.answers and (told := service.count(ANSWERS, role="canary") - answered_before):
                ended += f"; the service counts {told:,} and this database none: set DATABASE_URL to the service's"
        except interrupts:
            ended = "the watch was interrupted"
        except SentimentError as error:
            if read_alias(PRODUCTION) == name.number:
                raise  # it is promoted, and the service says why it does not follow
            ended = str(error).rstrip(".")
        except BaseException as error:
            _abort(service, name, champion, f"the watch failed ({type(error).__name__})", watched)
            raise
    raise CanaryError(_abort(service, name, champion, ended, watched))


def watch_version(version: ModelVersion, section: CanarySection) -> Verdict:
    """Return the verdict on a version that others send requests to, and change nothing. Raises CanaryError on harm."""
    if read_alias(PRODUCTION) is None:
        raise CanaryError("nothing is in production to compare a canary with; `make train` puts a model there.")
    champion, name = str(name_version(require_version(PRODUCTION))), name_version(version)
    with _open_log() as engine:
        logger.info("watching %s beside %s in the prediction log", name, champion)
        watched = watch(_reading(engine, champion, name, section), CanaryStatus, section.rule(), section.look_seconds)
    said = watched.verdict.summary
    if watched.verdict.outcome == "promote":
        _enter(name, champion, f"version {name.number} held as a canary that others run: {said}.", watched)
        logger.info("version %s may be promoted: %s", name.number, said)
        return watched.verdict
    summary = f"version {name.number} is to be backed out: {said}."
    _enter(name, champion, summary, watched)
    raise CanaryError(summary)


def watch(
    read: Callable[[], tuple[Figures, Figures]],
    poll: Callable[[], CanaryStatus],
    rule: CanaryRule,
    poll_seconds: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> Watched:
    """Return the first verdict other than to wait. Each interim analysis is a line in the log.

    A service or database that does not answer is passed over: the figures of the poll before stand.
    """
    started = clock()
    status, champion, canary = CanaryStatus(), Figures(), Figures()
    while True:
        sleep(max(0.0, min(poll_seconds, started + 60 * rule.max_minutes - clock())))
        minutes = (clock() - started) / 60
        trouble = ""
        try:
            status = poll()
            champion, canary = read()
        except ServiceError as error:
            trouble = str(error).rstrip(".")
        except (sa.exc.SQLAlchemyError, DatabaseError) as error:
            trouble = f"the database does not answer ({type(error).__name__})"
        if status.ended:
            verdict = Verdict("back out", (status.ended,), ())
        else:
            verdict = judge_canary(champion, canary, status.failures, minutes, rule)
            if trouble and verdict.outcome != "wait":
                verdict = replace(verdict, outcome="back out", reasons=(trouble, *verdict.reasons))
        watched = Watched(verdict, minutes, champion, canary, status.failures)
        logger.info("%s%s", describe_poll(watched), f"; {trouble}" if trouble else "")
        if verdict.outcome != "wait":
            return watched


def describe_poll(watched: Watched) -> str:
    """Return one line on an interim analysis: answers so far, figures of canary and champion, and what follows."""
    champion, canary = watched.champion, watched.canary
    return (
        f"{watched.minutes:.1f} min: {canary.answers:,} answers of the canary and {champion.answers:,} of the champion;"
        f" uncertain {canary.share_of(canary.uncertain):.1%} and {champion.share_of(champion.uncertain):.1%},"
        f" confidence {canary.mean_confidence:.3f} and {champion.mean_confidence:.3f},"
        f" p95 {canary.p95_ms:.0f} and {champion.p95_ms:.0f} ms, failed {watched.failures}; {watched.verdict.outcome}"
    )


def _reading(
    engine: sa.Engine, champion: str, canary: ModelName, section: CanarySection
) -> Callable[[], tuple[Figures, Figures]]:
    """Return what reads the figures from now on."""
    since = datetime.now(UTC)
    return lambda: read_figures(engine, champion, str(canary), (since, datetime.now(UTC)), section.max_latency_ratio)


@contextmanager
def _open_log() -> Iterator[sa.Engine]:
    with ExitStack() as opened:
        try:
            engine = opened.enter_context(open_database(locate_database()))
        except sa.exc.SQLAlchemyError as error:
            raise CanaryError(
                f"the database of the prediction log does not answer ({type(error).__name__}), and its figures decide"
                " on a canary; start it, or set DATABASE_URL to the service's. Nothing was started."
            ) from error
        yield engine


def _promote(name: ModelName, champion: str, service: CanaryService, force: str, key_file: str) -> None:
    """Put the version into production and this service; who started its canary has approved it, if it holds."""
    promote_version(
        name.number,
        reason=f"it held as a canary beside {champion}",
        force=force,
        approve=read_alias(STAGING) == name.number,
        services=[service.url],
        key_file=key_file,
    )


def _abort(service: CanaryService, name: ModelName, champion: str, reason: str, watched: Watched | None) -> str:
    """Let the champion answer alone, write down why, and return it; a service that cannot be told does so later."""
    said = f"version {name.number} was backed out: {reason}."
    _enter(name, champion, said, watched)
    try:
        service.stop(str(name))
    except ServiceError as error:
        return f"{said} {error} A canary ends by itself when its time is over."
    return f"{said} {champion} answers everything."


def _enter(name: ModelName, champion: str, summary: str, watched: Watched | None) -> None:
    details: dict[str, Any] = {"digest": name.digest, "beside": champion}
    enter_event("canary", name.number, summary, {**details, **(asdict(watched) if watched else {})})
