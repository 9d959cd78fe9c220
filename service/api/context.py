"""The request that is being answered, as the edge hands it to the handlers, the log and the audit."""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from service.api.ids import make_id
from service.api.routes import Route, Scope

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
    """One request: its id and start, and its route and caller once they are known.

    `owed_texts` counts texts that the model answered for it beyond those in its body. `subject` is the caller's id of
    the person who wrote the text, empty if there is none.
    """

    id: str = field(default_factory=make_id)
    started: float = field(default_factory=time.perf_counter)
    route: Route | None = None
    caller: Caller = STRANGER
    subject: str = ""
    owed_texts: int = 0

    @property
    def elapsed_seconds(self) -> float:
        return time.perf_counter() - self.started


def choose_request_id(headers: list[tuple[bytes, bytes]]) -> str:
    """Return the id that the caller sent, where it is short and plain, or a new one."""
    sent = next((value for name, value in headers if name == REQUEST_ID_HEADER), b"")
    return sent.decode() if SOUND_ID.match(sent) else make_id()


def read_subject(headers: Sequence[tuple[bytes, bytes]]) -> str:
    """Return whom a request says its text is from, empty where it says nothing. Raises ValueError where it is no id."""
    sent = [value for name, value in headers if name == SUBJECT_HEADER]
    if not sent:
        return ""
    if len(sent) > 1 or not SOUND_SUBJECT.fullmatch(sent[0]):
        raise ValueError("no id of a person")
    return sent[0].decode()
