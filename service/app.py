"""The BentoML service: it opens the model, batches texts into calls and answers over HTTP."""

from dataclasses import asdict
from http import HTTPStatus
from pathlib import Path
from typing import cast

import bentoml
from bentoml.exceptions import BentoMLException
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from sentiment.predictor import Prediction, open_predictor
from service.batching import MicroBatcher, QueueFullError
from service.edge import Edge, find_problem
from service.model import find_model_tag
from service.schemas import Answer, BatchAnswer, BatchEntry
from service.settings import ServiceSettings

WARM_TEXTS = ("good", "a sentence of some length to warm the model with " * 4)

settings = ServiceSettings()


class OverloadedError(BentoMLException):
    """The queue is full; BentoML answers 503."""

    error_code = HTTPStatus.SERVICE_UNAVAILABLE


async def show_model(_: Request) -> JSONResponse:
    """Answer `GET /model` with the card of the model."""
    service = bentoml.get_current_service()
    return JSONResponse({"version": service.model.tag.version, **asdict(service.predictor.bundle.card)})


pages = Starlette(routes=[Route("/model", show_model)])


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

    @bentoml.on_shutdown
    def stop(self) -> None:
        """End the model thread."""
        self.batcher.close()

    async def _answer(self, texts: list[str]) -> list[Answer]:
        try:
            predictions = await self.batcher.submit(texts)
        except QueueFullError as error:
            raise OverloadedError("too many texts wait for the model") from error
        return [self._to_answer(prediction) for prediction in predictions]

    def _to_answer(self, prediction: Prediction) -> Answer:
        return Answer(
            **asdict(prediction),
            model_version=self.model.tag.version,
            model_digest=self.predictor.bundle.card.digest,
        )


cast("bentoml.Service[SentimentService]", SentimentService).add_asgi_middleware(Edge, settings=settings)
