"""What is read with GET: the card, the health, the counters, the description of the API, the pages."""

import asyncio
from dataclasses import asdict
from typing import Any

import bentoml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from service.api.openapi import describe_api
from service.api.routes import ROUTES, STATIC
from service.models.loaded import Canary, Served
from service.models.shadow import Shadow
from service.models.workers import list_workers
from service.observability.metrics import NamedModel, State
from service.pages.routes import PAGES, Endpoint, send_file
from service.prediction_log.log import PredictionLog
from service.settings import ServiceSettings


async def show_model(_: Request) -> JSONResponse:
    """Answer `GET /model` with the card of the model."""
    service = bentoml.get_current_service()
    canary: Canary | None = service.switch.canary
    shown = {"share": canary.choice.share, **_show_card(canary.served)} if canary else None
    return JSONResponse({**_show_card(service.switch.current), "canary": shown})


async def show_health(_: Request) -> JSONResponse:
    """Answer `GET /health` with what works and what does not."""
    service = bentoml.get_current_service()
    log: PredictionLog | None = service.log
    shadow: Shadow | None = service.shadow
    canary = service.switch.read_canary_status()
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
            "canary": asdict(canary) if canary else "off",
            "shadow": asdict(shadow.read_status()) if shadow else "off",
        }
    )


async def show_metrics(_: Request) -> Response:
    """Answer `GET /metrics` with what all workers counted."""
    text = await asyncio.to_thread(_render_metrics, bentoml.get_current_service())
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


def _render_metrics(service: Any) -> bytes:
    champion = service.switch.current
    canary = service.switch.canary
    challenger = service.shadow.challenger if service.shadow else None
    state = State(
        champion=_name_model(champion),
        canary=_name_model(canary.served) if canary else None,
        challenger=_name_model(challenger) if challenger else None,
        scores=service.scores.find(champion.predictor.bundle.card.digest),
        log=service.log.read_status() if service.log else None,
        workers=len(list_workers(service.home)),
    )
    rendered: bytes = service.metrics.render(state)
    return rendered


def _show_card(served: Served) -> dict[str, object]:
    return {"version": served.version, **asdict(served.predictor.bundle.card)}


def _name_model(served: Served) -> NamedModel:
    return NamedModel(served.version, served.predictor.bundle.card)


async def show_description(_: Request) -> JSONResponse:
    """Answer `GET /docs.json` with the description of the API."""
    return JSONResponse(describe_api(ServiceSettings()))


READINGS: dict[str, Endpoint] = {
    "model": show_model,
    "health": show_health,
    "metrics": show_metrics,
    "docs": show_description,
    **PAGES,
}
"""Answers to the routes of these names."""

readings = Starlette(
    routes=[
        *(Route(route.path, READINGS[route.name]) for route in ROUTES if route.name in READINGS),
        Route(f"{STATIC}{{name:path}}", send_file),
    ]
)
