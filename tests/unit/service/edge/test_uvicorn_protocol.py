"""The part of uvicorn that the bounds of connections lean on."""

import inspect

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.edge.uvicorn_protocol import BoundedHttpProtocol, bound_connections

CALLBACKS = [name for name in vars(BoundedHttpProtocol) if inspect.isfunction(vars(BoundedHttpProtocol)[name])]


def test_a_server_of_bentoml_uses_our_protocol(monkeypatch):
    """uvicorn resolves our class where nobody names a protocol, as BentoML names none."""
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "")
    monkeypatch.setitem(uvicorn.config.HTTP_PROTOCOLS, "auto", uvicorn.config.HTTP_PROTOCOLS["auto"])
    monkeypatch.setattr(BoundedHttpProtocol, "seconds", BoundedHttpProtocol.seconds)
    monkeypatch.setattr(BoundedHttpProtocol, "most", BoundedHttpProtocol.most)
    bound_connections(7, 8, "10.0.0.0/8")
    config = uvicorn.Config("nowhere:app", factory=True)
    config.app = lambda: None
    config.load()

    assert config.http_protocol_class is BoundedHttpProtocol, (
        "uvicorn no longer looks up its HTTP protocol in uvicorn.config.HTTP_PROTOCOLS; connections would be unbounded."
    )
    assert (BoundedHttpProtocol.seconds, BoundedHttpProtocol.most) == (7, 8)


@pytest.mark.parametrize("name", [name for name in CALLBACKS if not name.startswith("_")])
def test_uvicorn_still_calls_what_is_overridden(name):
    """Each method of ours overrides one of uvicorn's, which would otherwise never be called."""
    assert hasattr(HttpToolsProtocol, name), f"uvicorn's HttpToolsProtocol has no {name} any more."
