"""The description of the API, from the table of routes and the models that check requests and shape answers."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import models_json_schema

from sentiment.bundle.bundle import Card
from service.api.checks import Limits
from service.api.routes import JSON, ROUTES, Route
from service.api.schemas import BatchPredictRequest, PredictRequest, Problem

REFERENCE = "#/components/schemas/{model}"
TITLE, VERSION = "Sentigate", "1"
DESCRIPTION = "Sentiment of texts in English, from a model that passed its gate."
PROBLEMS: Mapping[int, str] = {
    400: "The body is not JSON, or a header cannot be used.",
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
OF_READS = (401, 403, 429)
A_WORD = r"[^\s\x1c-\x1f\x85\u200b\u200c\u2060\ufeff]"
KEYS: list[dict[str, list[str]]] = [{"bearer": []}, {"header": []}]
REQUEST_ID = {"X-Request-ID": {"description": "The id of the request.", "schema": {"type": "string"}}}
RETRY_AFTER = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}


NAME = {
    "name": "X-Request-ID",
    "in": "header",
    "description": "A name for the request, up to 128 letters, digits and `_ . : -`; another is replaced.",
    "schema": {"type": "string"},
}
SUBJECT = {
    "name": "X-Subject",
    "in": "header",
    "description": "Your id of the person whose text it is; kept as an HMAC, by which rows are found and forgotten.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,256}$"},
}
OF_PERSONS = ("predict", "feedback")
"""The scopes whose routes take a text, or an opinion on one, of a person."""
MODEL = "ModelCard"
OWN_SCHEMAS: Mapping[str, Mapping[str, Any]] = {
    "model": {"$ref": REFERENCE.format(model=MODEL)},
    "dashboard_evaluations": {"type": "array", "items": {"type": "object"}},
}
"""Schemas of answers that are no models of the wire, by the names of their routes."""


def describe_api(limits: Limits) -> dict[str, Any]:
    """Return the OpenAPI 3.1 description, with the limits of texts and batches."""
    described = [route for route in ROUTES if route.summary]
    models = {model for route in described for model in (route.request, route.answer) if model} | {Problem}
    ordered = sorted(models, key=lambda model: model.__name__)
    _, schemas = models_json_schema([(model, "validation") for model in ordered], ref_template=REFERENCE)
    paths: dict[str, dict[str, Any]] = {}
    for route in described:
        paths.setdefault(route.path, {})[route.method.lower()] = _describe_route(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": TITLE, "version": VERSION, "description": DESCRIPTION},
        "paths": paths,
        "components": {
            "schemas": {**_bound_requests(schemas["$defs"], limits), MODEL: _describe_card()},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
        "security": [*KEYS, {}],
    }


def _bound_requests(schemas: Mapping[str, Any], limits: Limits) -> Mapping[str, Any]:
    """Add what the edge asks of texts, beyond their types."""
    text = {"minLength": 1, "maxLength": limits.max_text_chars, "pattern": A_WORD}
    schemas[PredictRequest.__name__]["properties"]["text"] |= text
    schemas[BatchPredictRequest.__name__]["properties"]["texts"] |= {
        "minItems": 1,
        "maxItems": limits.max_batch_texts,
    }
    return schemas


def _describe_card() -> dict[str, Any]:
    card = TypeAdapter(Card).json_schema()
    canary = {"type": ["object", "null"], "description": "Its card, version and share, where there is one."}
    properties = {"version": {"type": "string"}, **card["properties"], "canary": canary}
    return {**card, "title": MODEL, "properties": properties, "required": list(properties)}


def _describe_route(route: Route) -> dict[str, Any]:
    described: dict[str, Any] = {"summary": route.summary, "operationId": route.name}
    if route.is_open or route.is_guarded:
        described["security"] = [] if route.is_open else KEYS
    if route.method != "GET":
        described["parameters"] = [NAME, *([SUBJECT] if route.scope in OF_PERSONS else [])]
    elif route.query:
        described["parameters"] = _describe_query(route.query)
    if route.request:
        content = _describe_content(route.request, route.example)
        described["requestBody"] = {"required": route.needs_body, "content": content}
    success = {"description": HTTPStatus.OK.phrase, "headers": REQUEST_ID, "content": _describe_answer(route)}
    return {**described, "responses": {"200": success, **_describe_problems(route)}}


def _describe_answer(route: Route) -> dict[str, Any]:
    if route.method != "GET":
        return _describe_content(route.answer, route.example_answer)
    schema = OWN_SCHEMAS.get(route.name, _refer_to(route.answer) if route.media_type == JSON else {"type": "string"})
    return {route.media_type: {"schema": schema}}


def _describe_problems(route: Route) -> dict[str, Any]:
    """Return the errors of a route by their statuses. An open one has none: it asks for no key and reads nothing."""
    if route.is_open:
        return {}
    content = _describe_content(Problem, None)
    if route.method == "GET":
        problems = {**{status: PROBLEMS[status] for status in OF_READS}, **route.problems}
        return {str(status): {"description": said, "content": content} for status, said in problems.items()}
    return {
        str(status): {
            "description": said,
            "headers": {**REQUEST_ID, **(RETRY_AFTER if status in RETRIED else {})},
            "content": content,
        }
        for status, said in sorted({**PROBLEMS, **route.problems}.items())
    }


def _describe_query(query: type[BaseModel]) -> list[dict[str, Any]]:
    properties = query.model_json_schema().get("properties", {})
    # A parameter has no null: it is left out, or empty.
    sound = {name: {"anyOf": [schema.get("anyOf", [schema])[0], {"const": ""}]} for name, schema in properties.items()}
    return [{"name": name, "in": "query", "schema": schema} for name, schema in sound.items()]


def _describe_content(model: type[BaseModel] | None, example: Mapping[str, Any] | None) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": _refer_to(model)}
    return {JSON: content if example is None else {**content, "example": dict(example)}}


def _refer_to(model: type[BaseModel] | None) -> Mapping[str, Any]:
    return {"$ref": REFERENCE.format(model=model.__name__)} if model else {"type": "object"}
