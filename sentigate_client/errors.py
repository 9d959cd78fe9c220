"""The one family of errors. No message and no attribute holds a key or a text."""


class SentigateError(Exception):
    """The service did not do what it was asked."""


class UsageError(SentigateError, ValueError):
    """An argument cannot be sent: an address, a key, an id. Nothing was sent."""


class PlainHttpError(UsageError):
    """A key would leave this machine unencrypted. Nothing was sent."""


class UnreadableAnswerError(SentigateError):
    """The answer is not one of the service: another program listens there, or a gateway changed it."""


class ConnectionFailedError(SentigateError):
    """No answer came to `asked`, a method and URL.

    `was_sent` is true if the service may have received the request and acted on it.
    """

    def __init__(self, asked: str, reason: str, was_sent: bool) -> None:
        super().__init__(asked, reason, was_sent)
        self.asked, self.reason, self.was_sent = asked, reason, was_sent

    def __str__(self) -> str:
        return f"{self.asked} failed: {self.reason}."


class TimedOutError(ConnectionFailedError):
    """There is no answer in time."""


class RequestRefusedError(SentigateError):
    """The service, or a gateway before it, answered with an error.

    `status` is that of HTTP. `code` is the stable name of the error and `message` its sentence; both are empty if a
    gateway refuses without them. `limit` is the limit that the request exceeds, `retry_after_seconds` the time that
    the service asks the caller to wait.
    """

    def __init__(
        self,
        asked: str,
        status: int,
        code: str = "",
        message: str = "",
        request_id: str = "",
        retry_after_seconds: float | None = None,
        limit: int | None = None,
    ) -> None:
        super().__init__(asked, status, code, message, request_id, retry_after_seconds, limit)
        self.asked, self.status, self.code, self.message, self.request_id = asked, status, code, message, request_id
        self.retry_after_seconds, self.limit = retry_after_seconds, limit

    def __str__(self) -> str:
        named = " ".join(part for part in ("was refused with", str(self.status), self.code) if part)
        return f"{self.asked} {named}: {self.message or 'no reason was given.'}"


class InvalidRequestError(RequestRefusedError):
    """400, 413 or 422: the service does not accept the text, the batch or the model."""


class UnauthorizedError(RequestRefusedError):
    """401: the key is missing, unknown or expired."""


class ForbiddenError(RequestRefusedError):
    """403: the key lacks the scope of the operation."""


class ConflictError(RequestRefusedError):
    """409: another reload is under way, or the service has no prediction log."""


class RateLimitedError(RequestRefusedError):
    """429: the rate of the key is used up."""


class UnavailableError(RequestRefusedError):
    """502, 503 or 504: the service is overloaded, late, or not there behind its gateway."""


KINDS: dict[int, type[RequestRefusedError]] = {
    **dict.fromkeys((400, 413, 422), InvalidRequestError),
    401: UnauthorizedError,
    403: ForbiddenError,
    409: ConflictError,
    429: RateLimitedError,
    **dict.fromkeys((502, 503, 504), UnavailableError),
}
