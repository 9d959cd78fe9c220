"""What goes over the wire: requests, answers and the one shape of an error."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

WHERE_THERE_IS_ONE: Any = Field(None, exclude_if=lambda value: value is None)


class PredictRequest(BaseModel):
    """The body of `POST /predict`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    text: str


class BatchPredictRequest(BaseModel):
    """The body of `POST /batch_predict`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    texts: list[str]


class Problem(BaseModel):
    """What went wrong: a stable code, a sentence, and the limit where one was passed."""

    code: str
    message: str
    limit: int | None = WHERE_THERE_IS_ONE


class Answer(BaseModel):
    """The sentiment of one text; `scores` are calibrated probabilities that sum to 1."""

    label: str
    confidence: float = Field(ge=0, le=1)
    scores: dict[str, float]
    tokens: int
    uncertain: bool
    truncated: bool
    model_version: str
    model_digest: str


class BatchEntry(BaseModel):
    """One text of a batch: the fields of an answer, or the error that kept it from one."""

    label: str | None = WHERE_THERE_IS_ONE
    confidence: float | None = WHERE_THERE_IS_ONE
    scores: dict[str, float] | None = WHERE_THERE_IS_ONE
    tokens: int | None = WHERE_THERE_IS_ONE
    uncertain: bool | None = WHERE_THERE_IS_ONE
    truncated: bool | None = WHERE_THERE_IS_ONE
    model_version: str | None = WHERE_THERE_IS_ONE
    model_digest: str | None = WHERE_THERE_IS_ONE
    error: Problem | None = WHERE_THERE_IS_ONE


class BatchAnswer(BaseModel):
    """One entry per text, in order."""

    predictions: list[BatchEntry]
