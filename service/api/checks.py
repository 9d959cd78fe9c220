"""Checks of what callers send: bodies, texts, parameters and the `X-Subject` header, each within its limits."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from sentiment.data.text_normalization import normalise_text
from service.api.context import read_subject
from service.api.errors import ApiError
from service.api.routes import Route
from service.api.schemas import BatchPredictRequest, PredictRequest, Problem

Query = TypeVar("Query", bound=BaseModel)

EMPTY_BATCH = Problem(code="empty_batch", message="texts is empty; send at least one text.")
BAD_SUBJECT = Problem(
    code="bad_subject",
    message="X-Subject is not one id of 1 to 256 visible ASCII characters; send such an id once, or leave it out.",
)
CURSOR_REASONS = {"string_pattern_mismatch": "it is not the cursor of a page"}


class Limits(Protocol):
    """The settings that bound what a request may hold."""

    @property
    def max_text_chars(self) -> int: ...

    @property
    def max_batch_texts(self) -> int: ...


def check_body(body: bytes, route: Route, shape: type[BaseModel], limits: Limits) -> BaseModel:
    """Return the request that a body holds. Raises ApiError, without a word of what the body said."""
    if not body and not route.needs_body:
        body = b"{}"
    try:
        request = shape.model_validate_json(body)
    except ValidationError as error:
        raise _refuse_invalid(error, route.wanted) from None
    if isinstance(request, PredictRequest):
        problem = find_problem(request.text, limits)
        if problem is not None:
            too_long = problem.limit is not None
            status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE if too_long else HTTPStatus.UNPROCESSABLE_ENTITY
            raise ApiError(status, problem)
    elif isinstance(request, BatchPredictRequest):
        _check_batch(request.texts, limits.max_batch_texts)
    return request


def find_problem(text: str, limits: Limits) -> Problem | None:
    """Return the problem that keeps a text from being answered, or None."""
    if not normalise_text(text):
        return Problem(code="empty_text", message="the text is empty or only spaces; send at least one word.")
    if len(text) > limits.max_text_chars:
        return Problem(
            code="text_too_long",
            message=f"the text has {len(text):,} characters, the limit is {limits.max_text_chars:,};"
            " shorten or split it.",
            limit=limits.max_text_chars,
        )
    return None


def check_subject(headers: Sequence[tuple[bytes, bytes]]) -> str:
    """Return the id in `X-Subject`, empty without one. Raises ApiError if it is no id."""
    try:
        return read_subject(headers)
    except ValueError:
        raise ApiError(HTTPStatus.BAD_REQUEST, BAD_SUBJECT) from None


def check_query(shape: type[Query], sent: Mapping[str, str]) -> Query:
    """Return the parameters of a request; an empty one counts as left out. Raises ApiError."""
    try:
        return shape.model_validate({name: value for name, value in sent.items() if value})
    except ValidationError as error:
        mistake = error.errors(include_url=False, include_input=False, include_context=False)[0]
        known = ", ".join(shape.model_fields) or "none"
        reason = (
            f"there is a parameter that is not known here; wanted {known}."
            if mistake["type"] == "extra_forbidden"
            else f"{mistake['loc'][0]} cannot be read: {CURSOR_REASONS.get(mistake['type'], mistake['msg'].lower())}."
        )
        raise ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, Problem(code="bad_query", message=reason)) from None


def count_texts(body: BaseModel | None) -> int:
    """Return how many texts a request counts as, for the rate of its caller."""
    return len(body.texts) if isinstance(body, BatchPredictRequest) else 1


def _check_batch(texts: Sequence[str], limit: int) -> None:
    if not texts:
        raise ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, EMPTY_BATCH)
    if len(texts) > limit:
        said = f"texts has {len(texts):,} entries, the limit is {limit:,}; send them in several requests."
        problem = Problem(code="batch_too_large", message=said, limit=limit)
        raise ApiError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, problem)


def _refuse_invalid(error: ValidationError, wanted: str) -> ApiError:
    mistake = error.errors(include_url=False, include_input=False)[0]
    bounds = mistake.get("ctx", {})
    if mistake["type"] == "json_invalid":
        problem = Problem(code="malformed", message=f"the body is not JSON in UTF-8; wanted {wanted}.")
        return ApiError(HTTPStatus.BAD_REQUEST, problem)
    place = ".".join(str(part) for part in mistake["loc"]) or "the body"
    reasons = {
        "missing": f"{place} is missing",
        "extra_forbidden": "the body has a key that is not known here",
        "value_error": "the body names more than one model",
        "greater_than": f"{place} is not above {bounds.get('gt')}",
        "less_than_equal": f"{place} is above {bounds.get('le')}",
        "string_pattern_mismatch": f"{place} is not an id that a prediction answered with",
    }
    reason = reasons.get(mistake["type"], f"{place} has the wrong type")
    problem = Problem(code="wrong_type", message=f"{reason}; wanted {wanted}.")
    return ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, problem)
