"""The table of routes: each method and path, who may call it, and its bodies. A path that is not in it is not found.

The edge, access control, metrics, handlers and the description of the API follow it. Tests hold nginx, Ingress, the
load balancer and the docs to it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from pydantic import BaseModel

from service.api.schemas import (
    Answer,
    BatchAnswer,
    BatchPredictRequest,
    CanaryAnswer,
    CanaryEnd,
    CanaryRequest,
    Everything,
    Explanation,
    FeedbackAnswer,
    FeedbackRequest,
    Health,
    PredictRequest,
    ReloadAnswer,
    ReloadRequest,
    Search,
    Window,
)

Method = Literal["GET", "POST", "DELETE"]
Scope = Literal["predict", "feedback", "read", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

STATIC, DASHBOARD = "/static/", "/dashboard/"
FOLDERS = (STATIC, DASHBOARD)
JSON, PLAIN = "application/json", "text/plain"

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
UNLOGGED = {507: "The answer cannot be kept in the prediction log."}
NO_LOG = {409: "There is no prediction log."}
UNRECORDED = {507: "What is asked for cannot be kept in the audit log."}
BUSY = {409: "Another reload is under way.", **UNRECORDED}
QUERY_PROBLEMS = {
    **NO_LOG,
    422: "A parameter is not known or cannot be read.",
    503: "The database does not answer.",
}
ONE_TEXT = '{"text": "..."}'


@dataclass(frozen=True)
class Route:
    """A method of a path.

    `name` is what handlers and clients call it by. `scope` is what a key must be good for; None is any key. An open
    route wants no key at all; a guarded one wants the token of the installation even where no keys are set up. A
    public one may be published to other machines by what stands in front of the service. A route without a `summary`
    is not described. A route without a `request` takes no body, one without a `query` no parameters.
    """

    name: str
    path: str
    method: Method = "GET"
    summary: str = ""
    scope: Scope | None = None
    is_open: bool = False
    is_guarded: bool = False
    is_public: bool = False
    request: type[BaseModel] | None = None
    wanted: str = ""
    query: type[BaseModel] | None = None
    answer: type[BaseModel] | None = None
    media_type: str = JSON
    example: Mapping[str, Any] = field(default_factory=dict)
    example_answer: Mapping[str, Any] = field(default_factory=dict)
    problems: Mapping[int, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """What metrics call it: its path, or one label for all of its folder."""
        return next((f"{folder}*" for folder in FOLDERS if self.path.startswith(folder)), self.path)

    @property
    def needs_body(self) -> bool:
        """Whether something has to be in the body; otherwise an empty one is `{}`."""
        return self.request is not None and bool(self.request.model_json_schema().get("required"))


ROUTES = (
    Route(
        "predict",
        "/predict",
        "POST",
        "The sentiment of one text",
        scope="predict",
        is_public=True,
        request=PredictRequest,
        wanted=ONE_TEXT,
        answer=Answer,
        example={"text": "what a day"},
        example_answer=EXAMPLE_ANSWER,
        problems=UNLOGGED,
    ),
    Route(
        "batch_predict",
        "/batch_predict",
        "POST",
        "The sentiment of each text, in order",
        scope="predict",
        is_public=True,
        request=BatchPredictRequest,
        wanted='{"texts": ["...", "..."]}',
        answer=BatchAnswer,
        example={"texts": ["what a day", ""]},
        example_answer={
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
        problems=UNLOGGED,
    ),
    Route(
        "explain",
        "/explain",
        "POST",
        "The sentiment of one text, and what each word adds to it",
        scope="predict",
        is_public=True,
        request=PredictRequest,
        wanted=ONE_TEXT,
        answer=Explanation,
        example={"text": "great day"},
        example_answer={
            **EXAMPLE_ANSWER,
            "base": 0.33,
            "words": [
                {"text": "great", "start": 0, "end": 5, "weight": 0.55},
                {"text": "day", "start": 6, "end": 9, "weight": 0.03},
            ],
        },
        problems=UNLOGGED,
    ),
    Route(
        "feedback",
        "/feedback",
        "POST",
        "Keep what an answer should have been, beside it in the log",
        scope="feedback",
        is_public=True,
        request=FeedbackRequest,
        wanted='{"prediction_id": "...", "label": "..."}',
        answer=FeedbackAnswer,
        example={"prediction_id": PREDICTION, "label": "negative"},
        example_answer={
            "feedback_id": "01a1ff09-4578-77df-8a7f-d66eaca5bc2e",
            "prediction_id": PREDICTION,
            "request_id": "mine-2",
        },
        problems={**NO_LOG, **UNLOGGED},
    ),
    Route(
        "reload",
        "/reload",
        "POST",
        "Answer from another model in every worker, or change nothing",
        scope="admin",
        is_guarded=True,
        request=ReloadRequest,
        wanted='{"alias": "production"}, or a version, a folder or a uri',
        answer=ReloadAnswer,
        example={"version": "3"},
        example_answer={
            "model_version": "3-7dfa72db3c90",
            "model_digest": "7dfa72db" * 8,
            "workers": 2,
            "request_id": "mine-3",
        },
        problems=BUSY,
    ),
    Route(
        "canary",
        "/canary",
        "POST",
        "Answer a share of the requests from another model in every worker, or change nothing",
        scope="admin",
        is_guarded=True,
        request=CanaryRequest,
        wanted='{"version": "3", "share": 0.1, "minutes": 30}, or a folder or a uri instead of the version',
        answer=CanaryAnswer,
        example={"version": "4", "share": 0.1, "minutes": 30},
        example_answer={
            "model_version": "4-0b9c5dd1f27e",
            "model_digest": "0b9c5dd1" * 8,
            "share": 0.1,
            "minutes": 30,
            "workers": 2,
            "request_id": "mine-4",
        },
        problems=BUSY,
    ),
    Route(
        "delete_canary",
        "/canary",
        "DELETE",
        "Let the champion answer alone in every worker",
        scope="admin",
        is_guarded=True,
        answer=CanaryEnd,
        example_answer={"model_version": "3-7dfa72db3c90", "workers": 2, "request_id": "mine-5"},
        problems={409: "A reload is under way.", **UNRECORDED},
    ),
    Route(
        "model",
        "/model",
        summary="The card of the model that answers",
        scope="read",
        is_public=True,
    ),
    Route("health", "/health", summary="What works and what does not", is_public=True, answer=Health),
    Route(
        "livez",
        "/livez",
        summary="Whether the process lives",
        is_open=True,
        is_public=True,
        media_type=PLAIN,
    ),
    Route(
        "readyz",
        "/readyz",
        summary="Whether the model is ready",
        is_open=True,
        is_public=True,
        media_type=PLAIN,
    ),
    Route("metrics", "/metrics", summary="For Prometheus", scope="read", media_type=PLAIN),
    Route("docs", "/docs.json", summary="This description", is_public=True),
    Route("schema", "/schema.json"),  # what BentoML's client reads first
    Route("try_it", "/", is_open=True, is_public=True),
    Route("dashboard", "/dashboard", is_open=True),
    *(
        Route(
            f"dashboard_{name}",
            f"{DASHBOARD}{name}",
            summary=summary,
            scope="read",
            is_guarded=True,
            query=query,
            problems=QUERY_PROBLEMS,
        )
        for name, summary, query in (
            ("activity", "How much was answered per period, version and label", Window),
            ("latencies", "How long answers took per period", Window),
            ("feedback", "What was said against what it should have been", Window),
            ("agreement", "What models in the shadow said against the one in service", Window),
            ("predictions", "The prediction history, newest first", Search),
            ("evaluations", "What evaluations measured", Everything),
        )
    ),
)


class RouteTable:
    """The routes, and one for each file of the pages, found by exactly their paths."""

    def __init__(self, files: Iterable[str] = ()) -> None:
        """`files` are names within the folder of static files."""
        own = (Route("file", f"{STATIC}{name}", is_open=True, is_public=True) for name in files)
        self.paths: dict[str, dict[str, Route]] = {}
        for route in (*ROUTES, *own):
            methods = self.paths.setdefault(route.path, {})
            methods[route.method] = route
            if route.method == "GET":
                methods["HEAD"] = route

    def find(self, path: str, raw_path: bytes | None) -> Mapping[str, Route]:
        """Return the routes of a path by method, none where the path is not in the table letter by letter.

        `path` is decoded, `raw_path` as it was sent: what was encoded is another path, whatever it would decode to.
        """
        if raw_path is not None and raw_path != path.encode("utf-8", "surrogatepass"):
            return {}
        return self.paths.get(path, {})
