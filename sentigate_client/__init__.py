"""Client of the Sentigate service: typed answers, safe retries, synchronous and asynchronous. It needs httpx alone.

`SentigateClient` and `AsyncSentigateClient` have the same methods. Every error is a `SentigateError`.
"""

from sentigate_client.answers import (
    Canary,
    CanaryHealth,
    CanaryStarted,
    CanaryStopped,
    Explanation,
    Feedback,
    Health,
    LogHealth,
    ModelCard,
    Prediction,
    Problem,
    Reloaded,
    ShadowHealth,
    WordWeight,
    Workers,
)
from sentigate_client.client import AsyncSentigateClient, SentigateClient, __version__
from sentigate_client.errors import (
    ConflictError,
    ConnectionFailedError,
    ForbiddenError,
    InvalidRequestError,
    RateLimitedError,
    RequestRefusedError,
    SentigateError,
    TimedOutError,
    UnauthorizedError,
    UnavailableError,
    UnreadableAnswerError,
    UsageError,
)
from sentigate_client.retries import Retries

__all__ = [
    "AsyncSentigateClient",
    "Canary",
    "CanaryHealth",
    "CanaryStarted",
    "CanaryStopped",
    "ConflictError",
    "ConnectionFailedError",
    "Explanation",
    "Feedback",
    "ForbiddenError",
    "Health",
    "InvalidRequestError",
    "LogHealth",
    "ModelCard",
    "Prediction",
    "Problem",
    "RateLimitedError",
    "Reloaded",
    "RequestRefusedError",
    "Retries",
    "SentigateClient",
    "SentigateError",
    "ShadowHealth",
    "TimedOutError",
    "UnauthorizedError",
    "UnavailableError",
    "UnreadableAnswerError",
    "UsageError",
    "WordWeight",
    "Workers",
    "__version__",
]
