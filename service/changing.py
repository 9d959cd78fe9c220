"""Requests that change which models answer: a reload, and the start and the end of a canary."""

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from http import HTTPStatus

from sentiment.errors import SentimentError
from service.model import fetch_model
from service.refusals import RefusedError
from service.requests import CURRENT
from service.schemas import CanaryAnswer, CanaryEnd, CanaryRequest, Problem, ReloadAnswer, ReloadRequest
from service.sources import Sources
from service.switching import ModelSwitch, SwitchBusyError, SwitchError

SECONDS_PER_MINUTE = 60
ENDED_BY_CALLER = "the operator asked for it"


async def reload_model(switch: ModelSwitch, wanted: ReloadRequest, sources: Sources) -> ReloadAnswer:
    """Answer from another model in every worker. Raises RefusedError when nothing was changed."""
    workers = await _change(partial(switch.reload, partial(fetch_model, wanted, sources=sources)))
    served = switch.current
    return ReloadAnswer(
        model_version=served.version,
        model_digest=served.predictor.bundle.card.digest,
        workers=workers,
        request_id=CURRENT.get().id,
    )


async def start_canary(switch: ModelSwitch, wanted: CanaryRequest, sources: Sources) -> CanaryAnswer:
    """Answer a share of the requests from another model in every worker. Raises RefusedError when nothing was."""
    seconds = SECONDS_PER_MINUTE * wanted.minutes
    workers = await _change(
        partial(switch.start_canary, partial(fetch_model, wanted, sources=sources), wanted.share, seconds)
    )
    canary = switch.canary
    if canary is None:
        problem = Problem(code="bad_model", message="the canary ended as soon as it was asked; see GET /health.")
        raise RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, problem)
    return CanaryAnswer(
        model_version=canary.served.version,
        model_digest=canary.served.predictor.bundle.card.digest,
        share=wanted.share,
        minutes=wanted.minutes,
        workers=workers,
        request_id=CURRENT.get().id,
    )


async def stop_canary(switch: ModelSwitch) -> CanaryEnd:
    """Let the champion answer alone in every worker. Raises RefusedError while a reload is under way."""
    workers = await _change(lambda _: switch.stop_canary(ENDED_BY_CALLER))
    return CanaryEnd(model_version=switch.current.version, workers=workers, request_id=CURRENT.get().id)


async def _change(change: Callable[[threading.Event], int]) -> int:
    """Return how many workers changed, in a thread; a caller who leaves before the end changes nothing."""
    given_up = threading.Event()
    try:
        return await asyncio.to_thread(change, given_up)
    except asyncio.CancelledError:
        given_up.set()
        raise
    except SwitchBusyError as error:
        raise RefusedError(HTTPStatus.CONFLICT, Problem(code="reload_busy", message=f"{error}.")) from error
    except (SentimentError, SwitchError) as error:
        problem = Problem(code="bad_model", message=f"nothing was changed: {str(error).rstrip('.')}.")
        raise RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, problem) from error
