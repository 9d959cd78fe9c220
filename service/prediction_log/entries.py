"""What the prediction log keeps of an answer and of feedback, as lines of the spool."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

Kind = Literal["prediction", "feedback", "shadow"]


@dataclass(frozen=True)
class PredictionEntry:
    """One answer; `at` is seconds since 1970 UTC, `latency_ms` the time of its whole request in the service.

    Of the text there is what the settings keep: nothing, a digest, or the text itself, redacted or in full; of whom it
    is from, `subject`, the digest of his id. What an earlier version left in the spool has no subject.
    """

    id: str
    at: float
    request_id: str
    text: str | None
    text_digest: str | None
    characters: int
    tokens: int
    label: str
    confidence: float
    scores: Mapping[str, float]
    uncertain: bool
    truncated: bool
    model_version: str
    model_digest: str
    latency_ms: float
    subject: str | None = None


@dataclass(frozen=True)
class FeedbackEntry:
    """What a prediction should have been, as somebody says."""

    id: str
    at: float
    prediction_id: str
    label: str
    request_id: str
    subject: str | None = None


@dataclass(frozen=True)
class ShadowEntry:
    """What the challenger says to the text of a prediction, in how long; the text is with the prediction."""

    id: str
    at: float
    prediction_id: str
    champion_label: str
    label: str
    confidence: float
    scores: Mapping[str, float]
    model_version: str
    model_digest: str
    latency_ms: float


Entry = PredictionEntry | FeedbackEntry | ShadowEntry
SHAPES: dict[Kind, type[Entry]] = {"prediction": PredictionEntry, "feedback": FeedbackEntry, "shadow": ShadowEntry}
KINDS = {shape: kind for kind, shape in SHAPES.items()}


def write_line(entry: Entry) -> bytes:
    """Return the entry as one line of the spool."""
    return json.dumps({"kind": KINDS[type(entry)], **vars(entry)}, separators=(",", ":")).encode() + b"\n"


def read_line(line: bytes) -> tuple[Kind, dict[str, Any]]:
    """Return the kind of an entry and its row in the database. Raises ValueError when it is not a whole entry."""
    try:
        found = json.loads(line)
        kind: Kind = found.pop("kind")
        row = vars(SHAPES[kind](**found))
        row["at"] = datetime.fromtimestamp(row["at"], UTC)
    except (AttributeError, KeyError, TypeError, OverflowError, OSError, RecursionError) as error:
        raise ValueError("not an entry of the prediction log") from error
    return kind, row
