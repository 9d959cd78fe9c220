"""The files that a browser gets: pages, style, scripts, and the charting library out of an installed package."""

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

STATIC = Path(__file__).with_name("static")
CHARTS = "chart.js"
NOBODY = "'none'"
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
NO_CONTENT_FROM_ELSEWHERE = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "connect-src 'self'",
    "img-src 'self' data:",
    "base-uri 'none'",
    "form-action 'none'",
)
HEADERS: Mapping[str, str] = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "cache-control": "no-cache",  # kept, and asked about each time: the ETag says whether it changed
    "vary": "accept-encoding",
}


@dataclass(frozen=True)
class Asset:
    """A file as it goes out; `etag` is made of its content."""

    content: bytes
    compressed: bytes
    etag: str
    kind: str


@cache
def find_headers(frame_origins: tuple[str, ...]) -> Mapping[str, str]:
    """Return the headers of every page and file; pages of these origins may show ours in a frame, others may not."""
    framed_by = f"frame-ancestors {' '.join(frame_origins) or NOBODY}"
    return {**HEADERS, "content-security-policy": "; ".join((*NO_CONTENT_FROM_ELSEWHERE, framed_by))}


@cache
def list_names() -> frozenset[str]:
    """Return the names that `find_asset` knows: paths within the static folder, and the charting library."""
    own = (path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*") if path.suffix in KINDS)
    return frozenset({CHARTS, *own})


@cache
def read_asset(name: str) -> Asset:
    """Return one of the files of `list_names`, read when it is first asked for."""
    source = files("chartkick") / "django/static/chartkick/Chart.bundle.js" if name == CHARTS else STATIC / name
    content = source.read_bytes()
    return Asset(
        content=content,
        compressed=gzip.compress(content, mtime=0),
        etag=f'W/"{sha256(content).hexdigest()[:32]}"',
        kind=KINDS[Path(name).suffix],
    )
