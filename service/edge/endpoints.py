"""The handlers, one for each route that is not BentoML's own."""

import asyncio
from collections.abc import Mapping
from dataclasses import asdict

from starlette.responses import JSONResponse, Response

from service.api.context import RequestContext
from service.api.openapi import describe_api
from service.api.schemas import (
    Answer,
    BatchAnswer,
    BatchPredictRequest,
    CanaryAnswer,
    CanaryEnd,
    CanaryRequest,
    Explanation,
    FeedbackAnswer,
    FeedbackRequest,
    PredictRequest,
    ReloadAnswer,
    ReloadRequest,
)
from service.edge import dashboard
from service.models.loaded import LoadedModel
from service.models.operations import reload_model, start_canary, stop_canary
from service.models.workers import list_workers
from service.observability.metrics import NamedModel, ServiceState
from service.pages.files import Files
from service.worker import Handler, Worker


async def predict(worker: Worker, asked: PredictRequest, request: RequestContext) -> Answer:
    """Answer `POST /predict`."""
    return await worker.predictions.answer_text(asked.text, request)


async def batch_predict(worker: Worker, asked: BatchPredictRequest, request: RequestContext) -> BatchAnswer:
    """Answer `POST /batch_predict`."""
    return await worker.predictions.answer_texts(asked.texts, request)


async def explain(worker: Worker, asked: PredictRequest, request: RequestContext) -> Explanation:
    """Answer `POST /explain`."""
    return await worker.predictions.explain(asked.text, request)


async def take_feedback(worker: Worker, asked: FeedbackRequest, request: RequestContext) -> FeedbackAnswer:
    """Answer `POST /feedback`."""
    return await worker.predictions.take_feedback(asked.prediction_id, asked.label, request)


async def reload(worker: Worker, asked: ReloadRequest, request: RequestContext) -> ReloadAnswer:
    """Answer `POST /reload`."""
    return await reload_model(worker.switch, asked, worker.sources, request)


async def post_canary(worker: Worker, asked: CanaryRequest, request: RequestContext) -> CanaryAnswer:
    """Answer `POST /canary`."""
    return await start_canary(worker.switch, asked, worker.sources, request)


async def delete_canary(worker: Worker, _: None, request: RequestContext) -> CanaryEnd:
    """Answer `DELETE /canary`."""
    return await stop_canary(worker.switch, request)


async def show_model(worker: Worker, _: None, __: RequestContext) -> Response:
    """Answer `GET /model` with the card of the model."""
    canary = worker.switch.canary
    shown = {"share": canary.desired.share, **_show_card(canary.model)} if canary else None
    return JSONResponse({**_show_card(worker.switch.current), "canary": shown})


async def show_health(worker: Worker, _: None, __: RequestContext) -> Response:
    """Answer `GET /health` with the status of each part."""
    canary = worker.switch.read_canary_status()
    sound = True
    state: object = "off"
    if worker.log is not None:
        status = worker.log.read_status()
        sound = status.is_sound and not worker.log.is_failing
        state = {**asdict(status), "takes_entries": not worker.log.is_failing}
    return JSONResponse(
        {
            "status": "ok" if sound else "degraded",
            "model_version": worker.switch.current.version,
            "workers": asdict(worker.switch.count_workers()),
            "prediction_log": state,
            "canary": asdict(canary) if canary else "off",
            "shadow": asdict(worker.shadow.read_status()) if worker.shadow else "off",
        }
    )


async def show_metrics(worker: Worker, _: None, __: RequestContext) -> Response:
    """Answer `GET /metrics` with what all workers counted."""
    text = await asyncio.to_thread(_render_metrics, worker)
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


async def show_description(worker: Worker, _: None, __: RequestContext) -> Response:
    """Answer `GET /docs.json` with the description of the API."""
    return JSONResponse(describe_api(worker.settings))


async def send_file(worker: Worker, _: None, __: RequestContext) -> Files:
    """Answer `GET /`, `GET /dashboard` and `GET /static/...` with a file."""
    return worker.files


HANDLERS: Mapping[str, Handler] = {
    "predict": predict,
    "batch_predict": batch_predict,
    "explain": explain,
    "feedback": take_feedback,
    "reload": reload,
    "canary": post_canary,
    "delete_canary": delete_canary,
    "model": show_model,
    "health": show_health,
    "metrics": show_metrics,
    "docs": show_description,
    "try_it": send_file,
    "dashboard": send_file,
    "file": send_file,
    **dashboard.HANDLERS,
}
"""The handlers by the names of their routes."""


def _render_metrics(worker: Worker) -> bytes:
    champion, canary = worker.switch.current, worker.switch.canary
    shadow_model = worker.shadow.model if worker.shadow else None
    return worker.metrics.render(
        ServiceState(
            champion=_name_model(champion),
            canary=_name_model(canary.model) if canary else None,
            shadow_model=_name_model(shadow_model) if shadow_model else None,
            scores=worker.scores.find(champion.predictor.bundle.card.digest),
            log=worker.log.read_status() if worker.log else None,
            workers=len(list_workers(worker.home)),
        )
    )


def _show_card(served: LoadedModel) -> dict[str, object]:
    return {"version": served.version, **asdict(served.predictor.bundle.card)}


def _name_model(served: LoadedModel) -> NamedModel:
    return NamedModel(served.version, served.predictor.bundle.card)
