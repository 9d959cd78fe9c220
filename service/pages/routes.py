"""The two pages and their files, which everybody may have, and what the dashboard shows, which wants a key."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import cache, partial
from http import HTTPStatus
from typing import TYPE_CHECKING

import bentoml
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from service.api.errors import ApiError
from service.api.schemas import Everything, Problem, Search, Window
from service.pages.assets import find_headers, list_names, read_asset
from service.pages.queries import Query, check_query, find_evaluations, find_in_window, find_predictions
from service.settings import ServiceSettings

if TYPE_CHECKING:
    import sqlalchemy as sa

LOG_UNREAD = Problem(
    code="log_off",
    message="there is no prediction log to show; the operator has turned it off (SENTIMENT_LOG_PREDICTIONS=false).",
)

TRY_IT, DASHBOARD = "index.html", "dashboard.html"
Endpoint = Callable[[Request], Awaitable[Response]]


async def show_try_it(request: Request) -> Response:
    """Answer `GET /` with the page to try the model."""
    return await _send(request, TRY_IT)


async def show_dashboard(request: Request) -> Response:
    """Answer `GET /dashboard` with the page on how the service is doing."""
    return await _send(request, DASHBOARD)


async def send_file(request: Request) -> Response:
    """Answer `GET /static/...` with a file of the pages."""
    return await _send(request, request.path_params["name"])


@cache
def read_frame_origins() -> tuple[str, ...]:
    """Return the origins that may show the pages in a frame, as the settings of the service name them."""
    return ServiceSettings().list_frame_origins()


async def _send(request: Request, name: str) -> Response:
    if name not in list_names():
        return Response(status_code=HTTPStatus.NOT_FOUND)
    asset = await asyncio.to_thread(read_asset, name)
    headers = {**find_headers(read_frame_origins()), "etag": asset.etag}
    known = request.headers.get("if-none-match", "")
    if asset.etag in known or known == "*":
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(asset.compressed, headers={**headers, "content-encoding": "gzip"}, media_type=asset.kind)
    return Response(asset.content, headers=headers, media_type=asset.kind)


def answer_from_database(
    shape: type[Query], find: "Callable[[Query, sa.Engine], object]", *, of_log: bool = True
) -> Endpoint:
    """Return an endpoint that answers with what is found for the parameters of a request, where there is a log."""

    async def answer(request: Request) -> Response:
        service = bentoml.get_current_service()
        if of_log and service.log is None:
            return Response(status_code=ApiError(HTTPStatus.CONFLICT, LOG_UNREAD).error_code)
        try:
            found = await service.database.read(partial(find, check_query(shape, request.query_params)))
        except ApiError as refused:
            return Response(status_code=refused.error_code)
        return Response(to_json(found), headers={"cache-control": "no-store"}, media_type="application/json")

    return answer


PAGES: dict[str, Endpoint] = {
    "try_it": show_try_it,
    "dashboard": show_dashboard,
    "dashboard_activity": answer_from_database(Window, find_in_window("read_activity")),
    "dashboard_latencies": answer_from_database(Window, find_in_window("read_latencies")),
    "dashboard_feedback": answer_from_database(Window, find_in_window("read_feedback")),
    "dashboard_agreement": answer_from_database(Window, find_in_window("read_agreement")),
    "dashboard_predictions": answer_from_database(Search, find_predictions),
    "dashboard_evaluations": answer_from_database(Everything, find_evaluations, of_log=False),
}
"""Answers to the routes of these names."""
