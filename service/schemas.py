"""What goes over the wire: requests, answers and the one shape of an error."""

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer


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
    limit: int | None = None

    @model_serializer(mode="wrap")
    def _leave_out_no_limit(self, serialise: SerializerFunctionWrapHandler) -> dict[str, object]:
        return {name: value for name, value in serialise(self).items() if value is not None}


class Answer(BaseModel):
    """The sentiment of one text; `scores` are calibrated probabilities that sum to 1."""

    label: str
    confidence: float = Field(ge=0, le=1)
    scores: dict[str, float]
    tokens: int
    truncated: bool
    model_version: str
    model_digest: str


class RefusedText(BaseModel):
    """A text of a batch that cannot be answered; its neighbours are."""

    error: Problem


class BatchAnswer(BaseModel):
    """One entry per text, in order."""

    predictions: list[Answer | RefusedText]
