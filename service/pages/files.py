"""The files that a browser gets: pages, style, scripts, and the charting library from an installed package."""

import gzip
from functools import cache, lru_cache
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

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


class Files(StaticFiles):
    """ASGI app of the two pages and their files, compressed for callers who accept that.

    Pages of `frame_origins` may show ours in a frame, others may not.
    """

    def __init__(self, frame_origins: tuple[str, ...] = ()) -> None:
        # A link out of the folder is how some installers lay a package; the table of routes names what is asked for.
        super().__init__(directory=STATIC, packages=[CHART_PACKAGE], follow_symlink=True)
        framed_by = f"frame-ancestors {' '.join(frame_origins) or NOBODY}"
        self._headers = {**HEADERS, "content-security-policy": "; ".join((*NO_CONTENT_FROM_ELSEWHERE, framed_by))}

    def get_path(self, scope: Scope) -> str:
        """Return the name of the file that a path of our routes means."""
        return NAMES.get(scope["path"]) or super().get_path({**scope, "path": scope["path"].removeprefix(PREFIX)})

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return a file, or that the caller has it already."""
        response = await super().get_response(path, scope)
        response.headers.update(self._headers)
        if isinstance(response, FileResponse):
            # `mimetypes` reads tables that differ from one machine to the next.
            response.headers["content-type"] = KINDS[Path(path).suffix]
            if "gzip" in Headers(scope=scope).get("accept-encoding", ""):
                content = await run_in_threadpool(_compress, str(response.path), response.headers["etag"])
                del response.headers["content-length"]
                return Response(content, headers={**response.headers, "content-encoding": "gzip"})
        return response


# Starlette's GZipMiddleware would compress the megabyte of charts for each caller, in the loop that answers requests.
# A file that changes under a running service has another ETag.
@lru_cache(maxsize=64)
def _compress(path: str, _etag: str) -> bytes:
    return gzip.compress(Path(path).read_bytes(), mtime=0)


@cache
def list_names() -> frozenset[str]:
    """Return the names of the files: paths within the static folder, and the charting library."""
    own = (path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*") if path.suffix in KINDS)
    return frozenset({CHARTS, *own})
