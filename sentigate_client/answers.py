"""What the service answers, as frozen values. Fields that a later service adds are passed over."""

from collections.abc import Hashable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

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
    limit: int | None = None


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
    """The prediction log. `database` is ok, unreachable or unknown; `lag_seconds` the age of its oldest entry."""

    database: str
    lag_seconds: float
    shipped: int
    rejected: int
    takes_entries: bool


@dataclass(frozen=True)
class CanaryHealth:
    """The canary. `status` is on or ended; `reason` says why it ended."""

    model_version: str | None
    share: float
    status: str
    reason: str
    seconds_left: float


@dataclass(frozen=True)
class ShadowHealth:
    """The model in the shadow. `status` is opening, ok, failing, other_labels or unavailable."""

    model_version: str | None
    share: float
    status: str
    reason: str
    waiting: int


@dataclass(frozen=True)
class Health:
    """What works. `status` is ok or degraded; a part that is off is None."""

    status: str
    model_version: str
    workers: Workers
    prediction_log: LogHealth | None
    canary: CanaryHealth | None
    shadow: ShadowHealth | None


@dataclass(frozen=True)
class ModelCard:
    """The model that answers: its labels in order, how it was made and how good it measured.

    `latency_ms` and `metrics` are by name. A text is uncertain at a confidence below `uncertain_below`.
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
    latency_ms: Mapping[str, float] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    canary: "Canary | None" = None


@dataclass(frozen=True)
class Canary:
    """The model that answers a share of the requests."""

    share: float
    version: str
    digest: str


@dataclass(frozen=True)
class Reloaded:
    """The model that every one of the `workers` answers from now."""

    model_version: str
    model_digest: str
    workers: int
    request_id: str


@dataclass(frozen=True)
class CanaryStarted(Reloaded):
    """The model that answers a `share` of the requests in every worker, for so many minutes at most."""

    share: float
    minutes: float


@dataclass(frozen=True)
class CanaryStopped:
    """The model that answers every request again, in so many workers."""

    model_version: str
    workers: int
    request_id: str


def read_answer(shape: type[T], found: object) -> T:
    """Return an answer of this shape. Raises ValueError that names the field which is missing or of another type."""
    if not isinstance(found, dict):
        raise ValueError(f"{shape.__name__} is not an object")  # noqa: TRY004 - what came is at fault, not the caller
    values = {}
    for name, (kind, is_needed) in _list_fields(cast("Hashable", shape)).items():
        if name in found:
            values[name] = _convert(kind, found[name], name)
        elif is_needed:
            raise ValueError(f"{name} is missing")
    return shape(**values)


@cache
def _list_fields(shape: Hashable) -> dict[str, tuple[Any, bool]]:
    """Return the type of each field, and whether an answer must have it."""
    kinds = get_type_hints(cast("Any", shape))
    return {
        one.name: (kinds[one.name], one.default is MISSING and one.default_factory is MISSING)
        for one in fields(cast("Any", shape))
    }


def _convert(kind: Any, value: object, name: str) -> Any:
    """Return a value as the type of its field. `null` and "off" are None where the field may be None."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in {Union, UnionType}:
        return None if value in (None, "off") else _convert(inner[0], value, name)
    if is_dataclass(kind):
        return read_answer(cast("type[object]", kind), value)
    if origin is tuple and isinstance(value, list):
        return tuple(_convert(inner[0], one, name) for one in value)
    if origin is Mapping and isinstance(value, dict):
        return {key: _convert(inner[1], one, name) for key, one in value.items()}
    if kind is float and type(value) in {int, float}:
        return float(cast("float", value))
    if type(value) is kind:
        return value
    raise ValueError(f"{name} has another type")
