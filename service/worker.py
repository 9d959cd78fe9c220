"""What one worker process is made of, and the type of the handlers that answer from it."""

import gc
import logging
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from starlette.types import ASGIApp

from sentiment.database.url import locate_database
from sentiment.paths import locate_state, protect_state
from service.api.context import RequestContext
from service.inference.predictions import PredictionService
from service.models.desired_state import DesiredState
from service.models.fetch.sources import Sources, read_sources
from service.models.shadow import Shadow, open_shadow_model
from service.models.switch import ModelSwitch
from service.models.trust import choose_opener, choose_trial
from service.models.workers import open_server_folder
from service.observability.evaluation_scores import LatestScores, read_scores
from service.observability.metrics import Metrics
from service.pages.database_reader import DatabaseReader
from service.pages.files import Files
from service.prediction_log.log import PredictionLog
from service.prediction_log.pseudonyms import open_key, read_key
from service.settings import ServiceSettings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Worker:
    """The parts of one worker."""

    settings: ServiceSettings
    home: Path
    metrics: Metrics
    switch: ModelSwitch
    sources: Sources
    log: PredictionLog | None
    shadow: Shadow | None
    predictions: PredictionService
    database: DatabaseReader
    scores: LatestScores
    files: Files

    def close(self) -> None:
        """End the model threads, and ship what is in the log."""
        self.predictions.close()
        self.switch.close()
        if self.shadow is not None:
            self.shadow.close()
        if self.log is not None:
            self.log.close()


Handler = Callable[[Worker, Any, RequestContext], Awaitable[BaseModel | ASGIApp]]
"""Answers a request of a route with a model, or with a response of Starlette.

The second argument is the checked body or the checked parameters of the route, None for a route without any.
"""


@cache
def find_home() -> Path:
    """Return the folder that the workers of this server share."""
    return open_server_folder(protect_state().serving)


@cache
def open_metrics() -> Metrics:
    """Return the counters of this worker."""
    return Metrics(find_home() / "metrics")


def open_worker(settings: ServiceSettings, folder: Path, version: str) -> Worker:
    """Return the parts of this worker, which answers from the bundle in `folder` until the switch changes it."""
    home, metrics = find_home(), open_metrics()
    switch = ModelSwitch(home, DesiredState("", str(folder), version), choose_opener(settings), choose_trial(settings))
    switch.start()
    log = open_log(settings) if settings.log_predictions else None
    shadow = open_shadow(settings, home, switch, log, metrics)
    worker = Worker(
        settings=settings,
        home=home,
        metrics=metrics,
        switch=switch,
        sources=read_sources(settings.reload_sources),
        log=log,
        shadow=shadow,
        predictions=PredictionService(switch, metrics, settings, log=log, shadow=shadow),
        database=DatabaseReader(locate_database()),
        scores=LatestScores(read_scores),
        files=Files(settings.list_frame_origins()),
    )
    gc.collect()
    gc.freeze()  # what lives as long as the service need not be looked through again
    return worker


def open_log(settings: ServiceSettings) -> PredictionLog:
    """Return the prediction log as the settings want it, in the database of `DATABASE_URL`."""
    return PredictionLog(
        settings.spool_folder or locate_state().spool,
        locate_database(),
        kept_text=settings.log_text,
        key=read_key(settings.hash_key_file) if settings.hash_key_file else open_key(locate_state().hash_key),
        required=settings.log_required,
        max_bytes=settings.spool_max_bytes,
        sync=settings.log_sync,
        retention_days=settings.log_retention_days,
    )


def open_shadow(
    settings: ServiceSettings, home: Path, switch: ModelSwitch, log: PredictionLog | None, metrics: Metrics
) -> Shadow | None:
    """Return the shadow model that the settings name, which opens behind the service; None without one."""
    if not settings.shadow_model or not settings.shadow_share:
        return None
    if log is None:
        logger.warning("SENTIMENT_SHADOW_MODEL has no effect: its answers go to the prediction log, which is off")
        return None
    shadow = Shadow(
        settings.shadow_share,
        open_shadow_model=partial(
            open_shadow_model,
            settings.shadow_model,
            home,
            choose_opener(settings),
            choose_trial(settings),
            copies=settings.workers or os.cpu_count() or 1,
        ),
        read_labels=lambda: switch.current.predictor.labels,
        record=log.record_shadow,
        watch=metrics.note_shadow,
    )
    shadow.start()
    return shadow
