"""The BentoML service: its APIs, what it is made of, and what stands before it."""

import gc
import logging
import os
from functools import cache, partial
from pathlib import Path
from typing import Literal, cast

import bentoml
from starlette.middleware.cors import CORSMiddleware

from sentiment.database.url import locate_database
from sentiment.paths import locate_state, protect_state
from service.api.errors import quieten_refusals
from service.api.routes import RouteTable
from service.api.schemas import (
    Answer,
    BatchAnswer,
    Explanation,
    FeedbackAnswer,
    ReloadAnswer,
    ReloadRequest,
)
from service.edge.dispatch import Dispatch, Operation
from service.edge.endpoints import readings
from service.edge.middleware import Edge
from service.edge.uvicorn_protocol import bound_connections
from service.inference.predictions import PredictionService
from service.models.desired_state import Choice
from service.models.fetch.sources import read_sources
from service.models.operations import reload_model, start_canary, stop_canary
from service.models.shadow import Shadow, open_challenger
from service.models.sources import find_admitted_tag
from service.models.switch import ModelSwitch
from service.models.trust import choose_opener, choose_trial
from service.models.workers import open_server_folder
from service.observability.evaluation_scores import LatestScores, read_scores
from service.observability.log_filters import keep_callers_out
from service.observability.metrics import Metrics
from service.pages.assets import list_names
from service.pages.database_reader import DatabaseReader
from service.prediction_log.log import PredictionLog
from service.prediction_log.pseudonyms import open_key, read_key
from service.security.access import open_access
from service.settings import ServiceSettings
from service.startup import check_settings

SECONDS_TO_SAY_SO = 5
EVERYTHING = ".*"

settings = check_settings()
logger = logging.getLogger(__name__)


@cache
def find_home() -> Path:
    """Return the folder that the workers of this server share."""
    return open_server_folder(protect_state().serving)


@cache
def open_metrics() -> Metrics:
    """Return the counters of this worker."""
    return Metrics(find_home() / "metrics")


# BentoML's own metrics have a label for each path that anybody asks for, so that they grow for ever. Its tracing costs
# a third of what it needs for a request, sampled or not. Its access log fails in the middle of an answer over a content
# type that is not UTF-8.
@bentoml.service(
    name="sentigate",
    workers=settings.workers or "cpu_count",
    traffic={"timeout": settings.timeout_seconds + SECONDS_TO_SAY_SO},
    metrics={"enabled": False},
    logging={"access": {"enabled": settings.access_log, "request_content_type": False}},
    tracing={} if settings.tracing else {"excluded_urls": EVERYTHING},
)
@bentoml.asgi_app(readings, path="/")
class SentimentService:
    """Sentiment of texts in English, from a model that passed the gate."""

    model = bentoml.models.BentoModel(find_admitted_tag(signed=settings.require_signature))

    def __init__(self) -> None:
        self.home = find_home()
        self.metrics = open_metrics()
        initial = Choice("", str(self.model.path), str(self.model.tag.version))
        self.switch = ModelSwitch(self.home, initial, choose_opener(settings), choose_trial(settings))
        self.switch.start()
        self.sources = read_sources(settings.reload_sources)
        self.log = open_log(settings) if settings.log_predictions else None
        self.database = DatabaseReader(locate_database())
        self.scores = LatestScores(read_scores)
        self.shadow = self._open_shadow()
        self.answering = PredictionService(self.switch, self.metrics, settings, log=self.log, shadow=self.shadow)
        gc.collect()
        gc.freeze()  # what lives as long as the service need not be looked through again

    # For BentoML's client, its description and the Bento: over HTTP the operations below answer.
    @bentoml.api
    async def predict(self, text: str) -> Answer:
        """The sentiment of one text."""
        return await self.answering.answer_text(text)

    @bentoml.api
    async def batch_predict(self, texts: list[str]) -> BatchAnswer:
        """The sentiment of each text, in order; a text that cannot be answered carries its own error."""
        return await self.answering.answer_texts(texts)

    @bentoml.api
    async def explain(self, text: str) -> Explanation:
        """The sentiment of one text, and what each word adds to it."""
        return await self.answering.explain(text)

    @bentoml.api
    async def feedback(self, prediction_id: str, label: str) -> FeedbackAnswer:
        """Keep what the answer with this id should have been, beside it in the log."""
        return await self.answering.take_feedback(prediction_id, label)

    @bentoml.api
    async def reload(
        self,
        alias: Literal["production"] | None = None,
        version: str | None = None,
        folder: str | None = None,
        uri: str | None = None,
    ) -> ReloadAnswer:
        """Answer from another model in every worker, or change nothing."""
        wanted = ReloadRequest(alias=alias, version=version, folder=folder, uri=uri)
        return await reload_model(self.switch, wanted, self.sources)

    @bentoml.on_shutdown
    def stop(self) -> None:
        """End the model thread, and ship what is in the log."""
        self.answering.close()
        self.switch.close()
        if self.shadow is not None:
            self.shadow.close()
        if self.log is not None:
            self.log.close()

    def _open_shadow(self) -> Shadow | None:
        """Return the challenger that the settings name, which is opened behind the service; None without one."""
        if not settings.shadow_model or not settings.shadow_share:
            return None
        if self.log is None:
            logger.warning("SENTIMENT_SHADOW_MODEL has no effect: its answers go to the prediction log, which is off")
            return None
        shadow = Shadow(
            settings.shadow_share,
            open_challenger=partial(
                open_challenger,
                settings.shadow_model,
                self.home,
                choose_opener(settings),
                choose_trial(settings),
                copies=settings.workers or os.cpu_count() or 1,
            ),
            read_labels=lambda: self.switch.current.predictor.labels,
            record=self.log.record_shadow,
            watch=self.metrics.note_shadow,
        )
        shadow.start()
        return shadow


OPERATIONS: dict[str, Operation] = {
    "predict": lambda service, asked: service.answering.answer_text(asked.text),
    "batch_predict": lambda service, asked: service.answering.answer_texts(asked.texts),
    "explain": lambda service, asked: service.answering.explain(asked.text),
    "feedback": lambda service, asked: service.answering.take_feedback(asked.prediction_id, asked.label),
    "reload": lambda service, asked: reload_model(service.switch, asked, service.sources),
    "canary": lambda service, asked: start_canary(service.switch, asked, service.sources),
    "delete_canary": lambda service, _: stop_canary(service.switch),
}
"""Answers to the routes of these names."""


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


quieten_refusals()
keep_callers_out()
bound_connections(settings.timeout_seconds + SECONDS_TO_SAY_SO, settings.max_connections, settings.trusted_proxies)
service = cast("bentoml.Service[SentimentService]", SentimentService)
if origins := [origin.strip() for origin in settings.cors_origins.split(",") if origin.strip()]:
    service.add_asgi_middleware(
        CORSMiddleware,
        allow_origins=origins,
        allow_methods=["GET", "POST"],
        allow_headers=["authorization", "content-type", "x-api-key", "x-request-id", "x-subject"],
        expose_headers=["x-request-id", "retry-after"],
    )
service.add_asgi_middleware(
    Edge,
    settings=settings,
    routes=RouteTable(list_names()),
    open_access=lambda: open_access(settings, find_home() / "rates"),
    open_metrics=open_metrics,
)
service.add_asgi_middleware(Dispatch, operations=OPERATIONS)
