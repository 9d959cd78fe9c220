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


class FeedbackRequest(BaseModel):
    """The body of `POST /feedback`: what the answer with this `prediction_id` should have been."""

    model_config = ConfigDict(extra="forbid", strict=True)

    prediction_id: str = Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
    label: str


class FeedbackAnswer(BaseModel):
    """The feedback was kept, under an id of its own."""

    feedback_id: str
    prediction_id: str
    request_id: str


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
    prediction_id: str
    request_id: str


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
    prediction_id: str | None = WHERE_THERE_IS_ONE
    request_id: str | None = WHERE_THERE_IS_ONE
    error: Problem | None = WHERE_THERE_IS_ONE


class BatchAnswer(BaseModel):
    """One entry per text, in order."""

    predictions: list[BatchEntry]
