"""Requests that change the models that answer: a reload, and the start and the end of a canary."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from http import HTTPStatus

from sentiment.errors import SentimentError
from service.api.context import RequestContext
from service.api.errors import UNRECORDED, ApiError
from service.api.schemas import CanaryAnswer, CanaryEnd, CanaryRequest, Problem, ReloadAnswer, ReloadRequest
from service.models.fetch.sources import Sources
from service.models.sources import fetch_bundle
from service.models.switch import ModelSwitch, SwitchBusyError
from service.security.audit import MAX_CHARS, AuditError, AuditOutcome, ModelDigests, describe_wanted, open_audit

SECONDS_PER_MINUTE = 60
NOT_ADMIN = Problem(code="scope", message="this wants the scope admin.")
ENDED_BY_CALLER = "the operator asked for it"


async def reload_model(
    switch: ModelSwitch, wanted: ReloadRequest, sources: Sources, request: RequestContext
) -> ReloadAnswer:
    """Switch every worker to another model. Raises ApiError if nothing was changed."""
    change = partial(switch.reload, partial(fetch_bundle, wanted, sources=sources))
    workers = await _change(switch, request, "POST /reload", describe_wanted(wanted), change)
    served = switch.current
    return ReloadAnswer(
        model_version=served.version,
        model_digest=served.predictor.bundle.card.digest,
        workers=workers,
        request_id=request.id,
    )


async def start_canary(
    switch: ModelSwitch, wanted: CanaryRequest, sources: Sources, request: RequestContext
) -> CanaryAnswer:
    """Start a canary in every worker. Raises ApiError if nothing was changed."""
    seconds = SECONDS_PER_MINUTE * wanted.minutes
    fetch = partial(fetch_bundle, wanted, sources=sources)
    change = partial(switch.start_canary, fetch, wanted.share, seconds)
    workers = await _change(switch, request, "POST /canary", describe_wanted(wanted), change)
    canary = switch.canary
    if canary is None:
        problem = Problem(code="bad_model", message="the canary ended as soon as it was asked; see GET /health.")
        raise ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, problem)
    return CanaryAnswer(
        model_version=canary.model.version,
        model_digest=canary.model.predictor.bundle.card.digest,
        share=wanted.share,
        minutes=wanted.minutes,
        workers=workers,
        request_id=request.id,
    )


async def stop_canary(switch: ModelSwitch, request: RequestContext) -> CanaryEnd:
    """End the canary in every worker. Raises ApiError while a reload is under way."""
    workers = await _change(switch, request, "DELETE /canary", "", lambda _: switch.stop_canary(ENDED_BY_CALLER))
    return CanaryEnd(model_version=switch.current.version, workers=workers, request_id=request.id)


async def _change(
    switch: ModelSwitch, request: RequestContext, action: str, source: str, change: Callable[[threading.Event], int]
) -> int:
    """Return how many workers changed, with an entry in the audit log before the change and one after it.

    Raises ApiError if nothing was changed. The scope is checked here, too, in case a route lets a request through.
    """
    if "admin" not in request.caller.scopes:
        raise ApiError(HTTPStatus.FORBIDDEN, NOT_ADMIN)
    audit, told = open_audit(), {"source": source, "before": _list_digests(switch)}
    try:
        await asyncio.to_thread(audit.record, request, action, "asked", **told)
    except AuditError as error:
        raise ApiError(HTTPStatus.INSUFFICIENT_STORAGE, UNRECORDED) from error
    outcome: AuditOutcome = "failed"
    try:
        workers = await _switch(change)
        outcome = "done"
    except asyncio.CancelledError:
        outcome = "given_up"
        raise
    except ApiError as error:
        outcome, problem = "refused", error.problem
        told |= {"code": problem.code, "reason": problem.message[:MAX_CHARS]}
        raise
    finally:
        with suppress(AuditError):  # what is done is done, and the log of the service says so
            audit.record(request, action, outcome, **told, after=_list_digests(switch))
    return workers


def _list_digests(switch: ModelSwitch) -> ModelDigests:
    served = {"model": switch.current, "canary": switch.canary.model if switch.canary else None}
    return {role: one.predictor.bundle.card.digest if one else None for role, one in served.items()}


async def _switch(change: Callable[[threading.Event], int]) -> int:
    """Return how many workers changed; if the caller leaves before the end, none does."""
    given_up = threading.Event()
    try:
        return await asyncio.to_thread(change, given_up)
    except asyncio.CancelledError:
        given_up.set()
        raise
    except SwitchBusyError as error:
        raise ApiError(HTTPStatus.CONFLICT, Problem(code="reload_busy", message=f"{error}.")) from error
    except SentimentError as error:
        problem = Problem(code="bad_model", message=f"nothing was changed: {str(error).rstrip('.')}.")
        raise ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, problem) from error
