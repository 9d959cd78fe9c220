"""The handlers of the dashboard's data, which they read from the database."""

from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json
from starlette.responses import Response

from service.api.context import RequestContext
from service.api.errors import ApiError
from service.api.routes import JSON
from service.api.schemas import Problem
from service.pages.queries import find_evaluations, find_in_window, find_predictions
from service.worker import Handler, Worker

if TYPE_CHECKING:
    import sqlalchemy as sa

LOG_UNREAD = Problem(
    code="log_off",
    message="there is no prediction log to show; the operator has turned it off (SENTIMENT_LOG_PREDICTIONS=false).",
)


def answer_from_database(find: "Callable[[Any, sa.Engine], object]", *, of_log: bool = True) -> Handler:
    """Return a handler that answers with what `find` finds. Data `of_log` need a service with a prediction log."""

    async def answer(worker: Worker, query: object, _: RequestContext) -> Response:
        if of_log and worker.log is None:
            raise ApiError(HTTPStatus.CONFLICT, LOG_UNREAD)
        found = await worker.database.read(partial(find, query))
        return Response(to_json(found), headers={"cache-control": "no-store"}, media_type=JSON)

    return answer


HANDLERS: Mapping[str, Handler] = {
    "dashboard_activity": answer_from_database(find_in_window("read_activity")),
    "dashboard_latencies": answer_from_database(find_in_window("read_latencies")),
    "dashboard_feedback": answer_from_database(find_in_window("read_feedback")),
    "dashboard_agreement": answer_from_database(find_in_window("read_agreement")),
    "dashboard_predictions": answer_from_database(find_predictions),
    "dashboard_evaluations": answer_from_database(find_evaluations, of_log=False),
}
