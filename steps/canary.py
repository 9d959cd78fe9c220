"""The step that tries a version on live requests: start, watch, then promote it or back it out."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Annotated, Any

import sqlalchemy as sa
from mlflow.entities.model_registry import ModelVersion
from zenml import step
from zenml.exceptions import RunInterruptedException

from release.journal import enter_event
from release.mlflow_registry import (
    PRODUCTION,
    STAGING,
    find_version,
    identify_version,
    name_version,
    read_alias,
    require_version,
)
from release.running_services import ANSWERS, FAILURES, CanaryService, choose_canary_service
from sentiment.config.schema import CanarySection
from sentiment.database.canary_figures import read_figures
from sentiment.database.connection import open_database
from sentiment.database.url import locate_database
from sentiment.errors import CanaryError, DatabaseError, SentimentError, ServiceError
from sentiment.governance.canary_rule import CanaryRule, Figures, Verdict, judge_canary
from steps.materializers import RecordMaterializer
from steps.promotion import check_version, ensure_stored, promote_version

MINUTES_TO_PROMOTE = 5

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Look:
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


@step(enable_cache=False, output_materializers={"verdict": RecordMaterializer})
def try_canary(
    canary: CanarySection, version: str, service: str, key_file: str, force: str, watch_only: bool
) -> Annotated[Verdict, "verdict"]:
    """Return the verdict on a version that is in production now. Raises CanaryError when it was backed out."""
    found = _choose_version(version)
    if watch_only:
        return watch_version(found, canary)
    production = read_alias(PRODUCTION)
    if production == str(found.version):
        raise CanaryError(f"version {production} is in production already; name another: make canary VERSION=...")
    check_version(found, production, force)
    return try_version(found, canary, choose_canary_service(service, key_file), force=force, key_file=key_file)


def try_version(
    version: ModelVersion, section: CanarySection, service: CanaryService, *, force: str = "", key_file: str = ""
) -> Verdict:
    """Let a version answer a share of a service's requests, then promote it. Raises CanaryError when it backs it out.

    Whatever ends this before, the version is backed out; where nobody is left to do that, the service does it.
    """
    name, number = name_version(version), str(version.version)
    with _open_log() as engine:
        champion = service.require_ready()
        failed_before, answered_before = service.count(FAILURES), service.count(ANSWERS, role="canary")
        ensure_stored(version)
        service.start(name, section.share, section.max_minutes + MINUTES_TO_PROMOTE)
        watched: Watched | None = None
        try:
            logger.info("%s answers %.3g of the requests to %s, beside %s", name, section.share, service.url, champion)
            watched = watch(
                _reading(engine, champion, name, section),
                lambda: Look(service.find_end(name), service.count(FAILURES) - failed_before),
                section.rule(),
                section.look_seconds,
            )
            ended = watched.verdict.summary
            if watched.verdict.outcome == "promote":
                _enter(version, champion, f"version {number} held as a canary: {ended}.", watched)
                _promote(number, champion, service, force, key_file)
                return watched.verdict
            if not watched.canary.answers and (told := service.count(ANSWERS, role="canary") - answered_before):
                ended += f"; the service counts {told:,} and this database none: set DATABASE_URL to the service's"
        except (KeyboardInterrupt, RunInterruptedException):
            ended = "the watch was interrupted"
        except SentimentError as error:
            if read_alias(PRODUCTION) == number:
                raise  # it is promoted, and the service says why it does not follow
            ended = str(error).rstrip(".")
        except BaseException as error:
            _back_out(service, version, champion, f"the watch failed ({type(error).__name__})", watched)
            raise
    raise CanaryError(_back_out(service, version, champion, ended, watched))


def watch_version(version: ModelVersion, section: CanarySection) -> Verdict:
    """Return the verdict on a version that others send requests to, and change nothing. Raises CanaryError on harm."""
    production = find_version(PRODUCTION)
    if production is None:
        raise CanaryError("nothing is in production to compare a canary with; `make train` puts a model there.")
    champion, name = name_version(identify_version(production)), name_version(version)
    with _open_log() as engine:
        logger.info("watching %s beside %s in the prediction log", name, champion)
        watched = watch(_reading(engine, champion, name, section), Look, section.rule(), section.look_seconds)
    said = watched.verdict.summary
    if watched.verdict.outcome == "promote":
        _enter(version, champion, f"version {version.version} held as a canary that others run: {said}.", watched)
        logger.info("version %s may be promoted: %s", version.version, said)
        return watched.verdict
    _enter(version, champion, f"version {version.version} is to be backed out: {said}.", watched)
    raise CanaryError(f"version {version.version} is to be backed out: {said}.")


def watch(
    read: Callable[[], tuple[Figures, Figures]],
    look: Callable[[], Look],
    rule: CanaryRule,
    look_seconds: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> Watched:
    """Return the first verdict other than to wait, after looks at a distance, each a line in the log.

    What does not answer at a look is passed over: the figures of the look before stand.
    """
    started = clock()
    seen, champion, canary = Look(), Figures(), Figures()
    while True:
        sleep(max(0.0, min(look_seconds, started + 60 * rule.max_minutes - clock())))
        minutes = (clock() - started) / 60
        trouble = ""
        try:
            seen = look()
            champion, canary = read()
        except ServiceError as error:
            trouble = str(error).rstrip(".")
        except (sa.exc.SQLAlchemyError, DatabaseError) as error:
            trouble = f"the database does not answer ({type(error).__name__})"
        if seen.ended:
            verdict = Verdict("back out", (seen.ended,), ())
        else:
            verdict = judge_canary(champion, canary, seen.failures, minutes, rule)
            if trouble and verdict.outcome != "wait":
                verdict = replace(verdict, outcome="back out", reasons=(trouble, *verdict.reasons))
        watched = Watched(verdict, minutes, champion, canary, seen.failures)
        logger.info("%s%s", say_look(watched), f"; {trouble}" if trouble else "")
        if verdict.outcome != "wait":
            return watched


def say_look(watched: Watched) -> str:
    """Return one line on a look: answers so far, figures of canary and champion, and what follows."""
    champion, canary = watched.champion, watched.canary
    return (
        f"{watched.minutes:.1f} min: {canary.answers:,} answers of the canary and {champion.answers:,} of the champion;"
        f" uncertain {canary.share_of(canary.uncertain):.1%} and {champion.share_of(champion.uncertain):.1%},"
        f" confidence {canary.mean_confidence:.3f} and {champion.mean_confidence:.3f},"
        f" p95 {canary.p95_ms:.0f} and {champion.p95_ms:.0f} ms, failed {watched.failures}; {watched.verdict.outcome}"
    )


def _choose_version(wanted: str) -> ModelVersion:
    if wanted == STAGING and read_alias(STAGING) is None:
        raise CanaryError("no version waits at the alias 'staging'; name the one to try: make canary VERSION=...")
    return identify_version(require_version(wanted))


def _reading(
    engine: sa.Engine, champion: str, canary: str, section: CanarySection
) -> Callable[[], tuple[Figures, Figures]]:
    """Return what reads the figures from now on."""
    since = datetime.now(UTC)
    return lambda: read_figures(engine, champion, canary, (since, datetime.now(UTC)), section.max_latency_ratio)


@contextmanager
def _open_log() -> Iterator[sa.Engine]:
    try:
        opened = open_database(locate_database())
        engine = opened.__enter__()
    except sa.exc.SQLAlchemyError as error:
        raise CanaryError(
            f"the database of the prediction log does not answer ({type(error).__name__}), and its figures decide on a"
            " canary; start it, or set DATABASE_URL to the service's. Nothing was started."
        ) from error
    try:
        yield engine
    finally:
        opened.__exit__(None, None, None)


def _promote(number: str, champion: str, service: CanaryService, force: str, key_file: str) -> None:
    """Put the version into production and this service; who started its canary has approved it, if it holds."""
    promote_version(
        number,
        reason=f"it held as a canary beside {champion}",
        force=force,
        approve=read_alias(STAGING) == number,
        services=[service.url],
        key_file=key_file,
    )


def _back_out(
    service: CanaryService, version: ModelVersion, champion: str, reason: str, watched: Watched | None
) -> str:
    """Let the champion answer alone, write down why, and return it; a service that cannot be told does so later."""
    said = f"version {version.version} was backed out: {reason}."
    _enter(version, champion, said, watched)
    try:
        service.stop(name_version(version))
    except ServiceError as error:
        return f"{said} {error} A canary ends by itself when its time is over."
    return f"{said} {champion} answers everything."


def _enter(version: ModelVersion, champion: str, summary: str, watched: Watched | None) -> None:
    details: dict[str, Any] = {"digest": version.tags["digest"], "beside": champion}
    enter_event("canary", str(version.version), summary, {**details, **(asdict(watched) if watched else {})})
