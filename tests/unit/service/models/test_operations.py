"""Who may change which models answer."""

import asyncio

import pytest

from service.api.context import STRANGER, Caller, RequestContext
from service.api.errors import ApiError
from service.api.routes import SCOPES
from service.api.schemas import CanaryRequest, ReloadRequest
from service.models.fetch.sources import read_sources
from service.models.operations import reload_model, start_canary, stop_canary


class Untouched:
    """A switch that nobody may lay a hand on."""

    current = None

    def touch(self, *_: object) -> int:
        raise AssertionError

    reload = start_canary = stop_canary = touch


CHANGES = {
    "reload": lambda switch, request: reload_model(switch, ReloadRequest(), read_sources(""), request),
    "start a canary": lambda switch, request: start_canary(
        switch, CanaryRequest(share=0.1, minutes=1), read_sources(""), request
    ),
    "stop a canary": stop_canary,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize(
    "caller", [STRANGER, Caller("client", frozenset(SCOPES) - {"admin"})], ids=["a stranger", "all scopes but admin"]
)
def test_who_is_no_admin_changes_nothing(change, caller):
    """Whatever let a request come this far: without the scope nothing is touched, not even looked at."""
    with pytest.raises(ApiError) as refused:
        asyncio.run(change(Untouched(), RequestContext("r-1", caller=caller)))

    assert (refused.value.status, refused.value.problem.code) == (403, "scope")
