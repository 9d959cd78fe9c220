"""The two pages and their files, which everybody may have; what they show is asked for with the caller's key."""

import asyncio
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.pages.assets import HEADERS, list_names, read_asset

TRY_IT, DASHBOARD = "index.html", "dashboard.html"


async def show_try_it(request: Request) -> Response:
    """Answer `GET /` with the page to try the model."""
    return await _send(request, TRY_IT)


async def show_dashboard(request: Request) -> Response:
    """Answer `GET /dashboard` with the page on how the service is doing."""
    return await _send(request, DASHBOARD)


async def send_file(request: Request) -> Response:
    """Answer `GET /static/...` with a file of the pages."""
    return await _send(request, request.path_params["name"])


async def _send(request: Request, name: str) -> Response:
    if name not in list_names():
        return Response(status_code=HTTPStatus.NOT_FOUND)
    asset = await asyncio.to_thread(read_asset, name)
    headers = {**HEADERS, "etag": asset.etag}
    known = request.headers.get("if-none-match", "")
    if asset.etag in known or known == "*":
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(asset.compressed, headers={**headers, "content-encoding": "gzip"}, media_type=asset.kind)
    return Response(asset.content, headers=headers, media_type=asset.kind)


pages = [
    Route("/", show_try_it),
    Route("/dashboard", show_dashboard),
    Route("/static/{name:path}", send_file),
]
