"""The description of the API, from the same models that check requests and shape answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from service.schemas import (
    Answer,
    BatchAnswer,
    BatchPredictRequest,
    Explanation,
    FeedbackAnswer,
    FeedbackRequest,
    PredictRequest,
    Problem,
    ReloadAnswer,
    ReloadRequest,
)

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
    413: "A text, the batch or the body is over its limit, which is named.",
    422: "The body has another shape, or what it names is not there.",
    429: "Too many requests for this key.",
    500: "The service failed; the error is in its log.",
    503: "Too many texts wait for the model.",
    504: "The answer took too long.",
}
RETRIED = (429, 503)
REQUEST_ID = {"X-Request-ID": {"description": "The id of the request.", "schema": {"type": "string"}}}
RETRY_AFTER = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}


@dataclass(frozen=True)
class Route:
    """A path that takes a POST: what it does, what it takes and gives, and problems that are its own."""

    path: str
    summary: str
    request: type[BaseModel]
    answer: type[BaseModel]
    example: Mapping[str, Any]
    example_answer: Mapping[str, Any]
    problems: Mapping[int, str]


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
        {409: "Another reload is under way."},
    ),
)
READS = {
    "/model": "The card of the model that answers",
    "/health": "What works and what does not",
    "/livez": "Whether the process lives",
    "/readyz": "Whether the model is ready",
    "/metrics": "For Prometheus",
    "/dashboard/activity": "How much was answered per period, version and label",
    "/dashboard/latencies": "How long answers took per period",
    "/dashboard/feedback": "What was said against what it should have been",
    "/dashboard/agreement": "What models in the shadow said against the one in service",
    "/dashboard/predictions": "The prediction history, newest first",
    "/dashboard/evaluations": "What evaluations measured",
}
WITHOUT_KEY = ("/livez", "/readyz")
PLAIN = ("/livez", "/readyz", "/metrics")


def describe_api() -> dict[str, Any]:
    """Return the OpenAPI 3.1 description."""
    models = {model for route in ROUTES for model in (route.request, route.answer)} | {Problem}
    ordered = sorted(models, key=lambda model: model.__name__)
    _, schemas = models_json_schema([(model, "validation") for model in ordered], ref_template=REFERENCE)
    return {
        "openapi": "3.1.0",
        "info": {"title": TITLE, "version": VERSION, "description": DESCRIPTION},
        "paths": {
            **{route.path: {"post": _describe_route(route)} for route in ROUTES},
            **{path: {"get": _describe_read(path, summary)} for path, summary in READS.items()},
        },
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
        "security": [{"bearer": []}, {"header": []}, {}],
    }


def _describe_route(route: Route) -> dict[str, Any]:
    problems = {**PROBLEMS, **route.problems}
    return {
        "summary": route.summary,
        "operationId": route.path.strip("/"),
        "requestBody": {"required": True, "content": _describe_content(route.request, route.example)},
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


def _describe_read(path: str, summary: str) -> dict[str, Any]:
    kind = "text/plain" if path in PLAIN else "application/json"
    schema = {"type": "string"} if path in PLAIN else {"type": "object"}
    responses: dict[str, Any] = {
        "200": {"description": HTTPStatus.OK.phrase, "headers": REQUEST_ID, "content": {kind: {"schema": schema}}}
    }
    if path not in WITHOUT_KEY:
        for status in (401, 403, 429):
            responses[str(status)] = {"description": PROBLEMS[status], "content": _describe_content(Problem, None)}
    name = path.strip("/").replace("/", "_")
    described: dict[str, Any] = {"summary": summary, "operationId": name, "responses": responses}
    return {**described, "security": []} if path in WITHOUT_KEY else described


def _describe_content(model: type[BaseModel], example: Mapping[str, Any] | None) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": {"$ref": REFERENCE.format(model=model.__name__)}}
    return {"application/json": content if example is None else {**content, "example": dict(example)}}
