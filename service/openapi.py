"""The description of the API, from the same models that check requests and shape answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import models_json_schema

from sentiment.bundle import Card
from service.pages.queries import Everything, Search, Window
from service.schemas import (
    Answer,
    BatchAnswer,
    BatchPredictRequest,
    CanaryAnswer,
    CanaryEnd,
    CanaryRequest,
    Explanation,
    FeedbackAnswer,
    FeedbackRequest,
    Health,
    PredictRequest,
    Problem,
    ReloadAnswer,
    ReloadRequest,
)
from service.settings import ServiceSettings

REFERENCE = "#/components/schemas/{model}"
TITLE, VERSION = "Sentigate", "1"
DESCRIPTION = "Sentiment of texts in English, from a model that passed its gate."
PREDICTION = "01a1ff09-456f-7fb4-b238-6d5c6adb3231"
EXAMPLE_ANSWER = {
    "label": "positive",
    "confidence": 0.91,
    "scores": {"negative": 0.03, "neutral": 0.06, "positive": 0.91},
    "tokens": 5,
    "uncertain": False,
    "truncated": False,
    "model_version": "2-a05d755c5da3",
    "model_digest": "a05d755c" * 8,
    "prediction_id": PREDICTION,
    "request_id": "mine-1",
}
PROBLEMS: Mapping[int, str] = {
    400: "The body is not JSON.",
    401: "There is no API key, or it is not known or has expired.",
    403: "The key has not the scope.",
    408: "The body did not come in time.",
    413: "A text, the batch or the body is over its limit, which is named.",
    422: "The body has another shape, or what it names is not there.",
    429: "Too many requests for this key.",
    500: "The service failed; the error is in its log.",
    503: "Too many texts wait for the model.",
    504: "The answer took too long.",
}
RETRIED = (429, 503)
A_WORD = r"[^\s\x1c-\x1f\x85\u200b\u200c\u2060\ufeff]"
REQUEST_ID = {"X-Request-ID": {"description": "The id of the request.", "schema": {"type": "string"}}}
RETRY_AFTER = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}


@dataclass(frozen=True)
class Route:
    """A path that changes something: what it does, what it takes and gives, and problems that are its own."""

    path: str
    summary: str
    request: type[BaseModel] | None
    answer: type[BaseModel]
    example: Mapping[str, Any]
    example_answer: Mapping[str, Any]
    problems: Mapping[int, str]
    method: str = "post"


UNRECORDED = {507: "What is asked for cannot be kept in the audit log."}
UNLOGGED = {507: "The answer cannot be kept in the prediction log."}
ROUTES = (
    Route(
        "/predict",
        "The sentiment of one text",
        PredictRequest,
        Answer,
        {"text": "what a day"},
        EXAMPLE_ANSWER,
        UNLOGGED,
    ),
    Route(
        "/batch_predict",
        "The sentiment of each text, in order",
        BatchPredictRequest,
        BatchAnswer,
        {"texts": ["what a day", ""]},
        {
            "predictions": [
                EXAMPLE_ANSWER,
                {
                    "error": {
                        "code": "empty_text",
                        "message": "the text is empty or only spaces; send at least one word.",
                    }
                },
            ]
        },
        UNLOGGED,
    ),
    Route(
        "/explain",
        "The sentiment of one text, and what each word adds to it",
        PredictRequest,
        Explanation,
        {"text": "great day"},
        {
            **EXAMPLE_ANSWER,
            "base": 0.33,
            "words": [
                {"text": "great", "start": 0, "end": 5, "weight": 0.55},
                {"text": "day", "start": 6, "end": 9, "weight": 0.03},
            ],
        },
        UNLOGGED,
    ),
    Route(
        "/feedback",
        "Keep what an answer should have been, beside it in the log",
        FeedbackRequest,
        FeedbackAnswer,
        {"prediction_id": PREDICTION, "label": "negative"},
        {
            "feedback_id": "01a1ff09-4578-77df-8a7f-d66eaca5bc2e",
            "prediction_id": PREDICTION,
            "request_id": "mine-2",
        },
        {409: "There is no prediction log.", **UNLOGGED},
    ),
    Route(
        "/reload",
        "Answer from another model in every worker, or change nothing",
        ReloadRequest,
        ReloadAnswer,
        {"version": "3"},
        {
            "model_version": "3-7dfa72db3c90",
            "model_digest": "7dfa72db" * 8,
            "workers": 2,
            "request_id": "mine-3",
        },
        {409: "Another reload is under way.", **UNRECORDED},
    ),
    Route(
        "/canary",
        "Answer a share of the requests from another model in every worker, or change nothing",
        CanaryRequest,
        CanaryAnswer,
        {"version": "4", "share": 0.1, "minutes": 30},
        {
            "model_version": "4-0b9c5dd1f27e",
            "model_digest": "0b9c5dd1" * 8,
            "share": 0.1,
            "minutes": 30,
            "workers": 2,
            "request_id": "mine-4",
        },
        {409: "Another reload is under way.", **UNRECORDED},
    ),
    Route(
        "/canary",
        "Let the champion answer alone in every worker",
        None,
        CanaryEnd,
        {},
        {"model_version": "3-7dfa72db3c90", "workers": 2, "request_id": "mine-5"},
        {409: "A reload is under way.", **UNRECORDED},
        "delete",
    ),
)
NAME = {
    "name": "X-Request-ID",
    "in": "header",
    "description": "A name for the request, up to 128 letters, digits and `_ . : -`; another is replaced.",
    "schema": {"type": "string"},
}
READS = {
    "/model": "The card of the model that answers",
    "/health": "What works and what does not",
    "/livez": "Whether the process lives",
    "/readyz": "Whether the model is ready",
    "/metrics": "For Prometheus",
    "/docs.json": "This description",
    "/dashboard/activity": "How much was answered per period, version and label",
    "/dashboard/latencies": "How long answers took per period",
    "/dashboard/feedback": "What was said against what it should have been",
    "/dashboard/agreement": "What models in the shadow said against the one in service",
    "/dashboard/predictions": "The prediction history, newest first",
    "/dashboard/evaluations": "What evaluations measured",
}
MODEL, HEALTH = "ModelCard", "Health"
READ_SCHEMAS: Mapping[str, Mapping[str, Any]] = {
    "/model": {"$ref": REFERENCE.format(model=MODEL)},
    "/health": {"$ref": REFERENCE.format(model=HEALTH)},
    "/dashboard/evaluations": {"type": "array", "items": {"type": "object"}},
}
QUERIES: Mapping[str, type[BaseModel]] = {
    "/dashboard/activity": Window,
    "/dashboard/latencies": Window,
    "/dashboard/feedback": Window,
    "/dashboard/agreement": Window,
    "/dashboard/predictions": Search,
    "/dashboard/evaluations": Everything,
}
QUERY_PROBLEMS: Mapping[int, str] = {
    409: "There is no prediction log.",
    422: "A parameter is not known or cannot be read.",
    503: "The database does not answer.",
}
WITHOUT_KEY = ("/livez", "/readyz")
PLAIN = ("/livez", "/readyz", "/metrics")


def describe_api(settings: ServiceSettings) -> dict[str, Any]:
    """Return the OpenAPI 3.1 description, with the limits of the settings."""
    models: set[type[BaseModel]] = {route.answer for route in ROUTES} | {Problem, Health}
    models |= {route.request for route in ROUTES if route.request}
    changes: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        changes.setdefault(route.path, {})[route.method] = _describe_route(route)
    ordered = sorted(models, key=lambda model: model.__name__)
    _, schemas = models_json_schema([(model, "validation") for model in ordered], ref_template=REFERENCE)
    return {
        "openapi": "3.1.0",
        "info": {"title": TITLE, "version": VERSION, "description": DESCRIPTION},
        "paths": {
            **changes,
            **{path: {"get": _describe_read(path, summary)} for path, summary in READS.items()},
        },
        "components": {
            "schemas": {**_bound_requests(schemas["$defs"], settings), MODEL: _describe_card()},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
        "security": [{"bearer": []}, {"header": []}, {}],
    }


def _bound_requests(schemas: Mapping[str, Any], settings: ServiceSettings) -> Mapping[str, Any]:
    """Add what the edge asks of texts, beyond their types."""
    text = {"minLength": 1, "maxLength": settings.max_text_chars, "pattern": A_WORD}
    schemas[PredictRequest.__name__]["properties"]["text"] |= text
    schemas[BatchPredictRequest.__name__]["properties"]["texts"] |= {
        "minItems": 1,
        "maxItems": settings.max_batch_texts,
    }
    return schemas


def _describe_card() -> dict[str, Any]:
    card = TypeAdapter(Card).json_schema()
    canary = {"type": ["object", "null"], "description": "Its card, version and share, where there is one."}
    properties = {"version": {"type": "string"}, **card["properties"], "canary": canary}
    return {**card, "title": MODEL, "properties": properties, "required": list(properties)}


def _describe_route(route: Route) -> dict[str, Any]:
    problems = {**PROBLEMS, **route.problems}
    name = route.path.strip("/")
    return {
        "summary": route.summary,
        "operationId": name if route.method == "post" else f"{route.method}_{name}",
        "parameters": [NAME],
        **(_describe_body(route.request, route.example) if route.request else {}),
        "responses": {
            "200": {
                "description": HTTPStatus.OK.phrase,
                "headers": REQUEST_ID,
                "content": _describe_content(route.answer, route.example_answer),
            },
            **{
                str(status): {
                    "description": said,
                    "headers": {**REQUEST_ID, **(RETRY_AFTER if status in RETRIED else {})},
                    "content": _describe_content(Problem, None),
                }
                for status, said in sorted(problems.items())
            },
        },
    }


def _describe_body(request: type[BaseModel], example: Mapping[str, Any]) -> dict[str, Any]:
    required = bool(request.model_json_schema().get("required"))
    return {"requestBody": {"required": required, "content": _describe_content(request, example)}}


def _describe_read(path: str, summary: str) -> dict[str, Any]:
    kind = "text/plain" if path in PLAIN else "application/json"
    schema = {"type": "string"} if path in PLAIN else READ_SCHEMAS.get(path, {"type": "object"})
    responses: dict[str, Any] = {
        "200": {"description": HTTPStatus.OK.phrase, "headers": REQUEST_ID, "content": {kind: {"schema": schema}}}
    }
    if path not in WITHOUT_KEY:
        problems = {status: PROBLEMS[status] for status in (401, 403, 429)}
        for status, said in {**problems, **(QUERY_PROBLEMS if path in QUERIES else {})}.items():
            responses[str(status)] = {"description": said, "content": _describe_content(Problem, None)}
    name = path.strip("/").split(".")[0].replace("/", "_")
    described: dict[str, Any] = {"summary": summary, "operationId": name, "responses": responses}
    if path in QUERIES:
        described["parameters"] = _describe_query(QUERIES[path])
    return {**described, "security": []} if path in WITHOUT_KEY else described


def _describe_query(query: type[BaseModel]) -> list[dict[str, Any]]:
    properties = query.model_json_schema().get("properties", {})
    # A parameter has no null: it is left out, or empty.
    sound = {name: {"anyOf": [schema.get("anyOf", [schema])[0], {"const": ""}]} for name, schema in properties.items()}
    return [{"name": name, "in": "query", "schema": schema} for name, schema in sound.items()]


def _describe_content(model: type[BaseModel], example: Mapping[str, Any] | None) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": {"$ref": REFERENCE.format(model=model.__name__)}}
    return {"application/json": content if example is None else {**content, "example": dict(example)}}
