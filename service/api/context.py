"""What is known of the request that is being answered, from the edge to the log."""

import re
import time
from contextvars import ContextVar
from dataclasses import dataclass, field

from pydantic import BaseModel

from service.api.routes import Route, Scope
from service.api.schemas import Problem
from service.prediction_log.entries import make_id

REQUEST_ID_HEADER = b"x-request-id"
SOUND_ID = re.compile(rb"[\w.:-]{1,128}\Z", re.ASCII)
SUBJECT_HEADER = b"x-subject"
SOUND_SUBJECT = re.compile(rb"[!-~]{1,256}")


@dataclass(frozen=True)
class Caller:
    """Who asks, by the name of the key, and what that key is good for."""

    name: str
    scopes: frozenset[Scope]


STRANGER = Caller("", frozenset())


@dataclass
class RequestContext:
    """The request's id and start; its route, caller and checked body once they are known; how it went wrong.

    `owed_texts` are texts that the model answered for it beyond those in its body.
    `subject` is the caller's id of the person whose text it is, empty where he names none.
    """

    id: str
    started: float = field(default_factory=time.perf_counter)
    route: Route | None = None
    caller: Caller = STRANGER
    asked: BaseModel | None = None
    owed_texts: int = 0
    problem: Problem | None = None
    subject: str = ""

    @property
    def elapsed_seconds(self) -> float:
        return time.perf_counter() - self.started


CURRENT: ContextVar[RequestContext] = ContextVar("request")


def choose_request_id(headers: list[tuple[bytes, bytes]]) -> str:
    """Return the id that the caller sent, where it is short and plain, or a new one."""
    sent = next((value for name, value in headers if name == REQUEST_ID_HEADER), b"")
    return sent.decode() if SOUND_ID.match(sent) else make_id()


def read_subject(headers: list[tuple[bytes, bytes]]) -> str:
    """Return whom a request says its text is from, empty where it says nothing. Raises ValueError where it is no id."""
    sent = [value for name, value in headers if name == SUBJECT_HEADER]
    if not sent:
        return ""
    if len(sent) > 1 or not SOUND_SUBJECT.fullmatch(sent[0]):
        raise ValueError("no id of a person")
    return sent[0].decode()
