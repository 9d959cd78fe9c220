"""What is read with GET: the card, the health, the counters, the description of the API."""

import asyncio
from dataclasses import asdict
from typing import Any

import bentoml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from service.metrics import NamedModel, State
from service.openapi import describe_api
from service.pages.routes import pages
from service.prediction_log.log import PredictionLog
from service.settings import ServiceSettings
from service.shadow import Shadow
from service.switching import Served, list_workers


async def show_model(_: Request) -> JSONResponse:
    """Answer `GET /model` with the card of the model."""
    service = bentoml.get_current_service()
    served = service.switch.current
    return JSONResponse({"version": served.version, **asdict(served.predictor.bundle.card)})


async def show_health(_: Request) -> JSONResponse:
    """Answer `GET /health` with what works and what does not."""
    service = bentoml.get_current_service()
    log: PredictionLog | None = service.log
    shadow: Shadow | None = service.shadow
    sound = True
    state: object = "off"
    if log is not None:
        status = log.read_status()
        sound = status.is_sound and not log.is_failing
        state = {**asdict(status), "takes_entries": not log.is_failing}
    return JSONResponse(
        {
            "status": "ok" if sound else "degraded",
            "model_version": service.switch.current.version,
            "workers": asdict(service.switch.count_workers()),
            "prediction_log": state,
            "shadow": asdict(shadow.read_status()) if shadow else "off",
        }
    )


async def show_metrics(_: Request) -> Response:
    """Answer `GET /metrics` with what all workers counted."""
    text = await asyncio.to_thread(_render_metrics, bentoml.get_current_service())
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


def _render_metrics(service: Any) -> bytes:
    champion = service.switch.current
    challenger = service.shadow.challenger if service.shadow else None
    state = State(
        champion=_name_model(champion),
        challenger=_name_model(challenger) if challenger else None,
        scores=service.scores.find(champion.predictor.bundle.card.digest),
        log=service.log.read_status() if service.log else None,
        workers=len(list_workers(service.home)),
    )
    rendered: bytes = service.metrics.render(state)
    return rendered


def _name_model(served: Served) -> NamedModel:
    return NamedModel(served.version, served.predictor.bundle.card)


async def show_description(_: Request) -> JSONResponse:
    """Answer `GET /docs.json` with the description of the API."""
    return JSONResponse(describe_api(ServiceSettings()))


readings = Starlette(
    routes=[
        Route("/model", show_model),
        Route("/health", show_health),
        Route("/metrics", show_metrics),
        Route("/docs.json", show_description),
        # Again, for the dashboard: its key need not be one that may predict.
        Route("/dashboard/model", show_model),
        Route("/dashboard/health", show_health),
        *pages,
    ]
)
