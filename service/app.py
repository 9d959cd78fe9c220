"""The BentoML service: what BentoML is told of it, and the edge before it."""

from typing import Literal, cast

import bentoml
from starlette.middleware.cors import CORSMiddleware

from service.api.context import RequestContext
from service.api.routes import RouteTable
from service.api.schemas import Answer, BatchAnswer, Explanation, FeedbackAnswer, ReloadAnswer, ReloadRequest
from service.edge.endpoints import HANDLERS
from service.edge.middleware import Edge
from service.edge.uvicorn_protocol import bound_connections
from service.models.operations import reload_model
from service.observability.log_filters import keep_callers_out
from service.pages.files import list_names
from service.security.access import open_access
from service.startup import prepare_start
from service.worker import Worker, find_home, open_metrics, open_worker

SECONDS_TO_SAY_SO = 5
EVERYTHING = ".*"

settings, model_tag = prepare_start()


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
class SentimentService:
    """Sentiment of texts in English, from a model that passed the gate.

    The edge answers all requests before BentoML's dispatch, which takes a third of a request, reads bodies without a
    bound and writes their values into its log. The methods exist because BentoML reads their signatures: `schema.json`,
    its client and the description of the Bento come from them. No request over HTTP calls one.
    """

    model = bentoml.models.BentoModel(model_tag)

    def __init__(self) -> None:
        self.worker = open_worker(settings, self.model.path, str(self.model.tag.version))

    @bentoml.api
    async def predict(self, text: str) -> Answer:
        """The sentiment of one text."""
        return await self.worker.predictions.answer_text(text, RequestContext())

    @bentoml.api
    async def batch_predict(self, texts: list[str]) -> BatchAnswer:
        """The sentiment of each text, in order; a text that cannot be answered carries its own error."""
        return await self.worker.predictions.answer_texts(texts, RequestContext())

    @bentoml.api
    async def explain(self, text: str) -> Explanation:
        """The sentiment of one text, and what each word adds to it."""
        return await self.worker.predictions.explain(text, RequestContext())

    @bentoml.api
    async def feedback(self, prediction_id: str, label: str) -> FeedbackAnswer:
        """Keep what the answer with this id should have been, beside it in the log."""
        return await self.worker.predictions.take_feedback(prediction_id, label, RequestContext())

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
        return await reload_model(self.worker.switch, wanted, self.worker.sources, RequestContext())

    @bentoml.on_shutdown
    def stop(self) -> None:
        """End the model thread, and ship what is in the log."""
        self.worker.close()


def find_worker() -> Worker:
    """Return the parts of the worker that runs here."""
    return cast("SentimentService", bentoml.get_current_service()).worker


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
    handlers=HANDLERS,
    find_worker=find_worker,
    open_access=lambda: open_access(settings, find_home() / "rates"),
    open_metrics=open_metrics,
)
