"""Predictions for checked requests, from the model or its canary: logged, counted, offered to the shadow model."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus

from service.api.checks import find_problem
from service.api.context import RequestContext
from service.api.errors import LOG_OFF, OVERLOADED, RELOADED, UNLOGGED, ApiError
from service.api.ids import make_id
from service.api.schemas import Answer, BatchAnswer, BatchEntry, Explanation, FeedbackAnswer, Problem
from service.inference.canary import CanaryCaller, Results, is_chosen
from service.inference.explanations import explain_text
from service.inference.micro_batcher import MicroBatcher, QueueFullError
from service.models.shadow import Shadow
from service.models.switch import ModelSwitch
from service.observability.metrics import Metrics, Role
from service.prediction_log.log import Answered, PredictionLog
from service.prediction_log.spool import SpoolError
from service.settings import ServiceSettings


class PredictionService:
    """Predictions of the model that a switch holds, for requests that the edge has checked.

    Every method raises ApiError if too many texts wait for the model, or if the prediction log cannot keep an answer.
    """

    def __init__(
        self,
        switch: ModelSwitch,
        metrics: Metrics,
        settings: ServiceSettings,
        *,
        log: PredictionLog | None,
        shadow: Shadow | None,
    ) -> None:
        self._switch = switch
        self._metrics = metrics
        self._settings = settings
        self._log = log
        self._shadow = shadow
        self._batcher = MicroBatcher(
            self._predict,
            max_texts_per_call=settings.max_texts_per_call,
            max_queued_texts=settings.max_queued_texts,
            threads=settings.engine_threads,
            watch=metrics.note_call,
        )
        self._canary = CanaryCaller(switch, settings, metrics.note_call)

    def close(self) -> None:
        """Take no more texts; calls under way end."""
        self._batcher.close()
        self._canary.close()

    async def answer_text(self, text: str, request: RequestContext) -> Answer:
        """Return the answer to one text."""
        return (await self._answer([text], request))[0]

    async def answer_texts(self, texts: list[str], request: RequestContext) -> BatchAnswer:
        """Return an answer or an error for each text."""
        problems = [find_problem(text, self._settings) for text in texts]
        sound = [text for text, problem in zip(texts, problems, strict=True) if problem is None]
        for problem in problems:
            if problem is not None:
                self._metrics.note_problem(problem.code)
        answers = iter(await self._answer(sound, request) if sound else [])
        return BatchAnswer(
            predictions=[
                BatchEntry(error=problem) if problem else BatchEntry(**vars(next(answers))) for problem in problems
            ]
        )

    async def explain(self, text: str, request: RequestContext) -> Explanation:
        """Return the answer to one text, and what each word adds to it; both are the champion's."""
        answer = self._conclude([text], await self._submit([text]), request)[0]

        async def score(texts: Sequence[str]) -> list[float]:
            results = await self._submit(texts)
            request.owed_texts += len(texts)
            if any(served.predictor.bundle.card.digest != answer.model_digest for _, served in results):
                raise ApiError(HTTPStatus.SERVICE_UNAVAILABLE, RELOADED)
            return [prediction.scores[answer.label] for prediction, _ in results]

        base, words = await explain_text(
            self._switch.current.predictor.cut(text),
            score,
            max_parts=self._settings.explain_max_parts,
            max_evaluations=self._settings.explain_max_evaluations,
            max_words=self._settings.explain_max_words,
        )
        return Explanation(**answer.model_dump(), base=base, words=words)

    async def take_feedback(self, prediction_id: str, label: str, request: RequestContext) -> FeedbackAnswer:
        """Keep what the answer with this id should have been. Raises ApiError for a label that is not known."""
        labels = self._switch.current.predictor.labels
        if label not in labels:
            raise ApiError(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                Problem(
                    code="unknown_label",
                    message=f"the model does not know this label; wanted one of {', '.join(labels)}.",
                ),
            )
        if self._log is None:
            raise ApiError(HTTPStatus.CONFLICT, LOG_OFF)
        with _refusing_unlogged():
            feedback_id = self._log.record_feedback(prediction_id, label, request)
        return FeedbackAnswer(feedback_id=feedback_id, prediction_id=prediction_id, request_id=request.id)

    async def _answer(self, texts: list[str], request: RequestContext) -> list[Answer]:
        canary = self._switch.canary
        if canary is None:
            return self._conclude(texts, await self._submit(texts), request)
        results: Results | str = ""
        if is_chosen(request.id, canary.desired):
            results = await self._canary.try_to_answer(texts, canary)
        role: Role = "champion" if isinstance(results, str) else "canary"
        if isinstance(results, str):
            failure, results = results, await self._submit(texts)
            if failure:
                self._canary.note_failure(canary, failure)
                self._metrics.note_canary_failure(len(texts))
        self._metrics.note_role(role, len(texts), request.elapsed_seconds)
        return self._conclude(texts, results, request, role)

    def _conclude(
        self, texts: Sequence[str], results: Results, request: RequestContext, role: Role = "champion"
    ) -> list[Answer]:
        """Return the answers once they are kept and counted."""
        answered = [
            Answered(text, prediction, served.version, served.predictor.bundle.card.digest)
            for text, (prediction, served) in zip(texts, results, strict=True)
        ]
        if self._log is None:
            ids = [make_id() for _ in texts]
        else:
            with _refusing_unlogged():
                ids = self._log.record(answered, request)
        for prediction, _ in results:
            self._metrics.note_prediction(prediction)
        if self._shadow is not None and role == "champion":
            self._shadow.offer(answered, ids)
        return [
            Answer(
                **vars(item.prediction),
                model_version=item.model_version,
                model_digest=item.model_digest,
                prediction_id=prediction_id,
                request_id=request.id,
            )
            for item, prediction_id in zip(answered, ids, strict=True)
        ]

    async def _submit(self, texts: Sequence[str]) -> Results:
        try:
            return await self._batcher.submit(texts)
        except QueueFullError as error:
            raise ApiError(HTTPStatus.SERVICE_UNAVAILABLE, OVERLOADED) from error

    def _predict(self, texts: Sequence[str]) -> Results:
        """Return each prediction with what made it: a reload may come between two calls."""
        served = self._switch.current
        return [(prediction, served) for prediction in served.predictor.predict(texts)]


@contextmanager
def _refusing_unlogged() -> Iterator[None]:
    """Refuse the request where an entry cannot be made safe."""
    try:
        yield
    except SpoolError as error:
        raise ApiError(HTTPStatus.INSUFFICIENT_STORAGE, UNLOGGED) from error
