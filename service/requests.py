"""What is known of the request that is being answered, from the edge to the log."""

import re
import time
from contextvars import ContextVar
from dataclasses import dataclass, field

from pydantic import BaseModel

from service.prediction_log.entries import make_id
from service.schemas import Problem

REQUEST_ID_HEADER = b"x-request-id"
SOUND_ID = re.compile(rb"[\w.:-]{1,128}\Z", re.ASCII)


@dataclass
class RequestContext:
    """The request's id, its start, who asks what once that was checked, and the problem that it ended with."""

    id: str
    started: float = field(default_factory=time.perf_counter)
    asked: BaseModel | None = None
    problem: Problem | None = None
    caller: str = ""
    scopes: frozenset[str] = frozenset()

    @property
    def elapsed_seconds(self) -> float:
        return time.perf_counter() - self.started


CURRENT: ContextVar[RequestContext] = ContextVar("request")


def choose_request_id(headers: list[tuple[bytes, bytes]]) -> str:
    """Return the id that the caller sent, where it is short and plain, or a new one."""
    sent = next((value for name, value in headers if name == REQUEST_ID_HEADER), b"")
    return sent.decode() if SOUND_ID.match(sent) else make_id()
