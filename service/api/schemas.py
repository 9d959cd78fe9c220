"""What goes over the wire: requests, parameters, answers and the one shape of an error."""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

MAX_CANARY_MINUTES = 7 * 24 * 60
MAX_HOURS = 24 * 366
UUID = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
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

    prediction_id: str = Field(pattern=UUID)
    label: str


class FeedbackAnswer(BaseModel):
    """The feedback was kept, under an id of its own."""

    feedback_id: str
    prediction_id: str
    request_id: str


class ReloadRequest(BaseModel):
    """The body of `POST /reload`: which model to serve, by one of these; `{}` is what is in production.

    `version` is one of the registry that was promoted here, `folder` a bundle on the machine of the service,
    `uri` one anywhere that fsspec reads, as file://, https:// or s3://.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    alias: Literal["production"] | None = None
    version: str | None = None
    folder: str | None = None
    uri: str | None = None

    @model_validator(mode="after")
    def check_one(self) -> Self:
        """Refuse more than one source."""
        if sum(value is not None for value in (self.alias, self.version, self.folder, self.uri)) > 1:
            raise ValueError("more than one source")
        return self


class ReloadAnswer(BaseModel):
    """What every worker answers from now."""

    model_version: str
    model_digest: str
    workers: int
    request_id: str


class CanaryRequest(ReloadRequest):
    """The body of `POST /canary`: which model answers a share of the requests, and for how many minutes at most."""

    share: float = Field(gt=0, le=1)
    minutes: float = Field(gt=0, le=MAX_CANARY_MINUTES)


class CanaryAnswer(BaseModel):
    """What every worker asks for its share of the requests from now."""

    model_version: str
    model_digest: str
    share: float
    minutes: float
    workers: int
    request_id: str


class CanaryEnd(BaseModel):
    """The champion answers alone, in every worker."""

    model_version: str
    workers: int
    request_id: str


class Everything(BaseModel):
    """No conditions."""

    model_config = ConfigDict(extra="forbid")


class Window(BaseModel):
    """The last so many hours."""

    model_config = ConfigDict(extra="forbid")

    hours: int = Field(24, ge=1, le=MAX_HOURS)


class Search(BaseModel):
    """Which predictions to list; `before` is the cursor of the page before, `id` is of a prediction or a request."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field("", max_length=1000)
    label: str | None = Field(None, max_length=200)
    version: str | None = Field(None, max_length=200)
    uncertain: bool | None = None
    id: str | None = Field(None, max_length=128)
    before: str | None = Field(None, pattern=UUID)
    limit: int = Field(50, ge=1, le=200)


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


class LogHealth(BaseModel):
    """How the prediction log is doing; `lag_seconds` is the age of the oldest entry that waits for the database."""

    database: Literal["ok", "unreachable", "unknown"]
    lag_seconds: float = Field(ge=0)
    shipped: int = Field(ge=0)
    rejected: int = Field(ge=0)
    takes_entries: bool


class ShadowHealth(BaseModel):
    """How the shadow model is doing; `reason` is a sentence where it does not answer."""

    model_version: str | None
    share: float = Field(ge=0, le=1)
    status: Literal["opening", "ok", "failing", "other_labels", "unavailable"]
    reason: str
    waiting: int


class WorkersHealth(BaseModel):
    """How many workers live, and how many of them answer from the model that was chosen last."""

    living: int = Field(ge=0)
    current: int = Field(ge=0)


class CanaryHealth(BaseModel):
    """How the canary is doing; once it has ended, `reason` says why."""

    model_version: str | None
    share: float = Field(ge=0, le=1)
    status: Literal["on", "ended"]
    reason: str
    seconds_left: float = Field(ge=0)


class Health(BaseModel):
    """What works and what does not; without a log, a canary or a shadow model there is no word on it but `off`."""

    status: Literal["ok", "degraded"]
    model_version: str
    workers: WorkersHealth
    prediction_log: LogHealth | Literal["off"]
    canary: CanaryHealth | Literal["off"]
    shadow: ShadowHealth | Literal["off"]


class WordWeight(BaseModel):
    """Characters `start` to `end` of the text, and what they add to the probability of the label."""

    text: str
    start: int
    end: int
    weight: float


class Explanation(Answer):
    """An answer and its reasons: `base` (the probability of its label without any word) and all weights sum to it."""

    base: float
    words: list[WordWeight]


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
