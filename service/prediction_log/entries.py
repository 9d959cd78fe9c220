"""Entries of the prediction log: predictions, feedback and predictions of the shadow model, as lines of the spool."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

EntryKind = Literal["prediction", "feedback", "shadow"]


@dataclass(frozen=True)
class PredictionEntry:
    """One prediction; `at` is seconds since 1970 UTC, `latency_ms` the time of its whole request in the service.

    The settings say what it keeps of the text: nothing, a digest, or the text itself, redacted or in full. `subject` is
    the digest of the id of the person. Entries of an earlier version have none.
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
    """The label that a prediction should have had, as a caller says."""

    id: str
    at: float
    prediction_id: str
    label: str
    request_id: str
    subject: str | None = None


@dataclass(frozen=True)
class ShadowEntry:
    """The label that the shadow model gives to the text of a prediction, and how long it took."""

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
SHAPES: dict[EntryKind, type[Entry]] = {"prediction": PredictionEntry, "feedback": FeedbackEntry, "shadow": ShadowEntry}
KINDS = {shape: kind for kind, shape in SHAPES.items()}


def write_line(entry: Entry) -> bytes:
    """Return the entry as one line of the spool."""
    return json.dumps({"kind": KINDS[type(entry)], **vars(entry)}, separators=(",", ":")).encode() + b"\n"


def read_line(line: bytes) -> tuple[EntryKind, dict[str, Any]]:
    """Return the kind of an entry and its row in the database. Raises ValueError when it is not a whole entry."""
    try:
        found = json.loads(line)
        kind: EntryKind = found.pop("kind")
        row = vars(SHAPES[kind](**found))
        row["at"] = datetime.fromtimestamp(row["at"], UTC)
    except (AttributeError, KeyError, TypeError, OverflowError, OSError, RecursionError) as error:
        raise ValueError("not an entry of the prediction log") from error
    return kind, row
