"""What is read with GET: the card, the health, the counters, the description of the API."""

import asyncio
from dataclasses import asdict
from functools import partial

import bentoml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from service.openapi import describe_api
from service.pages.routes import pages
from service.prediction_log.log import PredictionLog
from service.switching import list_workers


async def show_model(_: Request) -> JSONResponse:
    """Answer `GET /model` with the card of the model."""
    service = bentoml.get_current_service()
    served = service.switch.current
    return JSONResponse({"version": served.version, **asdict(served.predictor.bundle.card)})


async def show_health(_: Request) -> JSONResponse:
    """Answer `GET /health` with what works and what does not."""
    service = bentoml.get_current_service()
    log: PredictionLog | None = service.log
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
            "prediction_log": state,
        }
    )


async def show_metrics(_: Request) -> Response:
    """Answer `GET /metrics` with what all workers counted."""
    service = bentoml.get_current_service()
    served, log = service.switch.current, service.log
    status = log.read_status() if log else None
    text = await asyncio.to_thread(
        service.metrics.render,
        served.version,
        served.predictor.bundle.card,
        status,
        partial(list_workers, service.home),
    )
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


async def show_description(_: Request) -> JSONResponse:
    """Answer `GET /docs.json` with the description of the API."""
    return JSONResponse(describe_api())


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
