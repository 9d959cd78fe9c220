"""The BentoML service: it opens the model, batches texts into calls and answers over HTTP."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from http import HTTPStatus
from pathlib import Path
from typing import cast

import bentoml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from sentiment.predictor import open_predictor
from sentiment.state import locate_database, locate_state
from service.batching import MicroBatcher, QueueFullError
from service.edge import Edge, find_problem
from service.model import find_model_tag
from service.prediction_log.entries import make_id
from service.prediction_log.log import PredictionLog
from service.prediction_log.spool import SpoolError
from service.refusals import LOG_OFF, OVERLOADED, UNLOGGED, RefusedError, quieten_refusals
from service.requests import CURRENT
from service.schemas import Answer, BatchAnswer, BatchEntry, FeedbackAnswer, Problem
from service.settings import ServiceSettings

WARM_TEXTS = ("good", "a sentence of some length to warm the model with " * 4)

settings = ServiceSettings()


async def show_model(_: Request) -> JSONResponse:
    """Answer `GET /model` with the card of the model."""
    service = bentoml.get_current_service()
    return JSONResponse({"version": service.model.tag.version, **asdict(service.predictor.bundle.card)})


async def show_health(_: Request) -> JSONResponse:
    """Answer `GET /health` with what works and what does not."""
    service = bentoml.get_current_service()
    log = service.log.read_status() if service.log else None
    status = "degraded" if log and log.database == "unreachable" else "ok"
    return JSONResponse(
        {
            "status": status,
            "model_version": service.model.tag.version,
            "prediction_log": asdict(log) if log else "off",
        }
    )


pages = Starlette(routes=[Route("/model", show_model), Route("/health", show_health)])


@bentoml.service(name="sentigate", traffic={"timeout": 30})
@bentoml.asgi_app(pages, path="/")
class SentimentService:
    """Sentiment of texts in English, from a model that passed the gate."""

    model = bentoml.models.BentoModel(find_model_tag())

    def __init__(self) -> None:
        self.predictor = open_predictor(Path(self.model.path), threads=settings.engine_threads)
        self.predictor.predict(WARM_TEXTS)
        self.batcher = MicroBatcher(
            self.predictor.predict,
            max_texts_per_call=settings.max_texts_per_call,
            max_queued_texts=settings.max_queued_texts,
        )
        self.log = open_log(settings) if settings.log_predictions else None

    @bentoml.api
    async def predict(self, text: str) -> Answer:
        """The sentiment of one text."""
        return (await self._answer([text]))[0]

    @bentoml.api
    async def batch_predict(self, texts: list[str]) -> BatchAnswer:
        """The sentiment of each text, in order; a text that cannot be answered carries its own error."""
        problems = [find_problem(text, settings) for text in texts]
        sound = [text for text, problem in zip(texts, problems, strict=True) if problem is None]
        answers = iter(await self._answer(sound) if sound else [])
        return BatchAnswer(
            predictions=[
                BatchEntry(error=problem) if problem else BatchEntry(**next(answers).model_dump())
                for problem in problems
            ]
        )

    @bentoml.api
    async def feedback(self, prediction_id: str, label: str) -> FeedbackAnswer:
        """Keep what the answer with this id should have been, beside it in the log."""
        request, labels = CURRENT.get(), self.predictor.labels
        if label not in labels:
            raise RefusedError(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                Problem(
                    code="unknown_label",
                    message=f"the model does not know this label; wanted one of {', '.join(labels)}.",
                ),
            )
        if self.log is None:
            raise RefusedError(HTTPStatus.CONFLICT, LOG_OFF)
        with _refusing_unlogged():
            feedback_id = self.log.record_feedback(prediction_id, label, request)
        return FeedbackAnswer(feedback_id=feedback_id, prediction_id=prediction_id, request_id=request.id)

    @bentoml.on_shutdown
    def stop(self) -> None:
        """End the model thread, and ship what is in the log."""
        self.batcher.close()
        if self.log is not None:
            self.log.close()

    async def _answer(self, texts: list[str]) -> list[Answer]:
        try:
            predictions = await self.batcher.submit(texts)
        except QueueFullError as error:
            raise RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, OVERLOADED) from error
        request = CURRENT.get()
        version, digest = self.model.tag.version, self.predictor.bundle.card.digest
        if self.log is None:
            ids = [make_id() for _ in texts]
        else:
            with _refusing_unlogged():
                ids = self.log.record(texts, predictions, version, digest, request)
        return [
            Answer(
                **asdict(prediction),
                model_version=version,
                model_digest=digest,
                prediction_id=prediction_id,
                request_id=request.id,
            )
            for prediction, prediction_id in zip(predictions, ids, strict=True)
        ]


def open_log(settings: ServiceSettings) -> PredictionLog:
    """Return the prediction log as the settings want it, in the database of `DATABASE_URL`."""
    return PredictionLog(
        settings.spool_folder or locate_state().spool,
        locate_database(),
        kept_text=settings.log_text,
        required=settings.log_required,
        max_bytes=settings.spool_max_bytes,
        sync=settings.log_sync,
        retention_days=settings.log_retention_days,
    )


@contextmanager
def _refusing_unlogged() -> Iterator[None]:
    """Refuse the request where an entry cannot be made safe."""
    try:
        yield
    except SpoolError as error:
        raise RefusedError(HTTPStatus.INSUFFICIENT_STORAGE, UNLOGGED) from error


quieten_refusals()
cast("bentoml.Service[SentimentService]", SentimentService).add_asgi_middleware(Edge, settings=settings)
