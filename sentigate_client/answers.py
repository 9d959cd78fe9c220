"""What the service answers, as frozen values. Fields that a later service adds are ignored."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")


@dataclass(frozen=True)
class Prediction:
    """The sentiment of one text.

    `scores` has the calibrated probability of each label; they sum to 1, and `confidence` is the highest. `uncertain`
    is true below the threshold of the model, `truncated` if the model read only the first `tokens` of the text.
    """

    label: str
    confidence: float
    scores: Mapping[str, float]
    tokens: int
    uncertain: bool
    truncated: bool
    model_version: str
    model_digest: str
    prediction_id: str
    request_id: str


@dataclass(frozen=True)
class WordWeight:
    """What the characters from `start` to `end` (Unicode, exclusive) add to the probability of the label."""

    text: str
    start: int
    end: int
    weight: float


@dataclass(frozen=True)
class Explanation(Prediction):
    """A prediction and its reasons: `base`, the probability of the label without any word, plus all weights."""

    base: float
    words: tuple[WordWeight, ...]


@dataclass(frozen=True)
class Problem:
    """Why one text of a batch has no prediction; `limit` is the limit that it exceeds."""

    code: str
    message: str
    limit: int | None


@dataclass(frozen=True)
class Feedback:
    """The service keeps the feedback under this id."""

    feedback_id: str
    prediction_id: str
    request_id: str


@dataclass(frozen=True)
class Workers:
    """How many workers live, and how many of them answer from the model that was chosen last."""

    living: int
    current: int


@dataclass(frozen=True)
class LogHealth:
    """The prediction log. `database` is ok, unreachable or unknown, `lag_seconds` the age of its oldest entry."""

    database: str
    lag_seconds: float
    shipped: int
    rejected: int
    takes_entries: bool


@dataclass(frozen=True)
class OtherHealth:
    """A model beside the champion. `status` is on or ended for a canary; `reason` says why it ended or fails.

    In the shadow it is opening, ok, failing, other_labels or unavailable.
    """

    model_version: str | None
    share: float
    status: str
    reason: str


@dataclass(frozen=True)
class Health:
    """What works. `status` is ok or degraded; a part that is off is None."""

    status: str
    model_version: str
    workers: Workers
    prediction_log: LogHealth | None
    canary: OtherHealth | None
    shadow: OtherHealth | None


@dataclass(frozen=True)
class ModelCard:
    """The model that answers: its labels in order, how it was made and how good it measured.

    `metrics` and `latency_ms` are by name. A text is uncertain at a confidence below `uncertain_below`.
    """

    version: str
    digest: str
    labels: tuple[str, ...]
    max_tokens: int
    candidate: str
    dataset: str
    created_at: str
    uncertain_below: float
    size_bytes: int
    latency_ms: Mapping[str, float]
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Champion:
    """The model that answers every request again, in so many workers."""

    model_version: str
    workers: int
    request_id: str


@dataclass(frozen=True)
class Reloaded(Champion):
    """The model that every one of the `workers` answers from now."""

    model_digest: str


@dataclass(frozen=True)
class Canary(Reloaded):
    """The model that answers a `share` of the requests in every worker, for so many minutes at most."""

    share: float
    minutes: float


def read_answer(shape: type[T], found: object) -> T:
    """Return an answer of this shape. Raises ValueError that names the field which is missing or of another type."""
    values = found if isinstance(found, dict) else {}
    kinds = _list_fields(cast("Hashable", shape))
    return shape(**{name: _convert(kind, values.get(name), name) for name, kind in kinds.items()})


@cache
def _list_fields(shape: Hashable) -> dict[str, Any]:
    kinds = get_type_hints(cast("Any", shape))
    return {one.name: kinds[one.name] for one in fields(cast("Any", shape))}


def _convert(kind: Any, value: Any, name: str) -> Any:
    """Return a value as the type of its field. What is missing, null or "off" is None where the field may be None."""
    inner = get_args(kind)
    if get_origin(kind) is UnionType:
        return None if value in (None, "off") else _convert(inner[0], value, name)
    if is_dataclass(kind) and isinstance(value, dict):
        return read_answer(cast("type[object]", kind), value)
    if get_origin(kind) is tuple and isinstance(value, list):
        return tuple(_convert(inner[0], one, name) for one in value)
    if get_origin(kind) is Mapping and isinstance(value, dict):
        return {key: _convert(inner[1], one, name) for key, one in value.items()}
    if kind is float and type(value) in {int, float}:
        return float(value)
    if type(value) is kind:
        return value
    raise ValueError(f"{name} is missing or of another type")
