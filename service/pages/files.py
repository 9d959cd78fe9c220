"""The files that a browser gets: pages, style, scripts, and the charting library from an installed package."""

from functools import cache
from os import PathLike, stat_result
from pathlib import Path

from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from service.api.routes import STATIC as PREFIX

STATIC = Path(__file__).with_name("static")
CHARTS = "chart.js"
CHART_PACKAGE = ("chartkick", "django/static/chartkick")
NAMES = {"/": "index.html", "/dashboard": "dashboard.html", f"{PREFIX}{CHARTS}": "Chart.bundle.js"}
"""The files of paths that are named otherwise than they are."""
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
NOBODY = "'none'"
NO_CONTENT_FROM_ELSEWHERE = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "connect-src 'self'",
    "img-src 'self' data:",
    "base-uri 'none'",
    "form-action 'none'",
)
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "cache-control": "no-cache",  # a browser keeps a file, and asks each time: the ETag says whether it changed
    "vary": "accept-encoding",
}


class Files:
    """ASGI app of the two pages and their files, compressed for callers who accept that.

    Pages of `frame_origins` may show ours in a frame, others may not.
    """

    def __init__(self, frame_origins: tuple[str, ...] = ()) -> None:
        framed_by = f"frame-ancestors {' '.join(frame_origins) or NOBODY}"
        policy = "; ".join((*NO_CONTENT_FROM_ELSEWHERE, framed_by))
        self._app = GZipMiddleware(_Folder({**HEADERS, "content-security-policy": policy}))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


class _Folder(StaticFiles):
    """Adds headers to each response, and finds files by the paths of our routes."""

    def __init__(self, headers: dict[str, str]) -> None:
        super().__init__(directory=STATIC, packages=[CHART_PACKAGE])
        self._headers = headers

    def get_path(self, scope: Scope) -> str:
        return NAMES.get(scope["path"]) or super().get_path({**scope, "path": scope["path"].removeprefix(PREFIX)})

    def file_response(
        self, full_path: "str | PathLike[str]", stat_result: stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        # The table of types that `mimetypes` reads differs from one machine to the next.
        response.headers.update({**self._headers, "content-type": KINDS[Path(full_path).suffix]})
        return response


@cache
def list_names() -> frozenset[str]:
    """Return the names of the files: paths within the static folder, and the charting library."""
    own = (path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*") if path.suffix in KINDS)
    return frozenset({CHARTS, *own})
