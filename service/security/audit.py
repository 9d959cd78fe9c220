"""The audit log: requests that only an admin may send and how they ended, and refused requests in a second file.

Each line is a JSON object. Every worker writes lines, and a reader sees only whole ones.
"""

import json
import logging
import os
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from sentiment.errors import SentimentError
from sentiment.paths import locate_state, make_private_folder
from service.api.context import RequestContext
from service.api.schemas import ReloadRequest

AUDIT_FILE, REFUSALS_FILE, LOCK_FILE = "audit.jsonl", "refusals.jsonl", "audit.lock"
MAX_BYTES = 20_000_000
MAX_CHARS = 300
SAID_SECONDS = 1.0
SECRETS = re.compile(r"(?<=//)[^/]*@|[^/]*:[^/]*@|[?#;].*", re.DOTALL)

AuditOutcome = Literal["asked", "done", "refused", "given_up", "failed"]
ModelDigests = Mapping[str, str | None]
"""The digests of the `model` that answers and of its `canary`."""

logger = logging.getLogger(__name__)


class AuditError(SentimentError):
    """An entry could not be written, so the request must not be carried out."""


class AuditLog:
    """The two files of a folder; a file that is full becomes `.1` and replaces the one before."""

    def __init__(self, folder: Path, max_bytes: int = MAX_BYTES) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._lost = 0
        self._said = 0.0
        self._unsaid = 0

    def record(self, request: RequestContext, action: str, outcome: AuditOutcome, **more: object) -> None:
        """Add a line to the file; one that says `asked` is on the disk, too. Raises AuditError if that fails."""
        line = self._write(AUDIT_FILE, request, action, outcome, more)
        logger.info("audit: %s", line)

    def record_refusal(self, request: RequestContext, action: str, code: str) -> None:
        """Add a request that was refused at the door; the log of the service has at most one a second."""
        with suppress(AuditError):
            line = self._write(REFUSALS_FILE, request, action, "refused", {"code": code})
            if time.monotonic() - self._said < SAID_SECONDS:
                self._unsaid += 1
                return
            logger.warning("refused: %s, and %d before it", line, self._unsaid)
            self._said, self._unsaid = time.monotonic(), 0

    def _write(
        self, name: str, request: RequestContext, action: str, outcome: AuditOutcome, more: Mapping[str, object]
    ) -> str:
        entry = {
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "request_id": request.id,
            "caller": request.caller.name[:MAX_CHARS],
            "action": action[:MAX_CHARS],
            "outcome": outcome,
            **more,
            **({"lost": self._lost} if self._lost else {}),
        }
        line = json.dumps(entry)
        try:
            self._append(self._folder / name, f"{line}\n".encode(), sync=outcome == "asked")
        except OSError as error:
            if not self._lost:
                logger.error("the audit log %s cannot be written (%s)", self._folder / name, error.strerror)  # noqa: TRY400
            self._lost += 1
            raise AuditError(f"the audit log cannot be written ({error.strerror})") from error
        self._lost = 0
        return line

    def _append(self, path: Path, data: bytes, *, sync: bool) -> None:
        make_private_folder(self._folder)
        with suppress(FileNotFoundError):
            if path.stat().st_size + len(data) > self._max_bytes:
                self._put_aside(path)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(path, flags, 0o600)
        try:
            if os.write(descriptor, data) < len(data):
                os.write(descriptor, b"\n")  # the next line stands by itself; raises where the disk is full
                raise OSError(0, "half a line")
            if sync:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _put_aside(self, path: Path) -> None:
        """Rename a full file in one worker; the others write to the file that they find."""
        with suppress(Timeout), FileLock(self._folder / LOCK_FILE, timeout=0, mode=0o600):
            if path.stat().st_size + MAX_CHARS > self._max_bytes:
                path.replace(path.with_name(f"{path.name}.1"))


@cache
def open_audit() -> AuditLog:
    """Return the audit log of the state folder."""
    return AuditLog(locate_state().folder)


def describe_wanted(wanted: ReloadRequest) -> str:
    """Return the source that a request names, without parts that may be secret."""
    kind, text = next(
        ((name, text) for name in ("version", "folder", "uri") if (text := getattr(wanted, name)) is not None),
        ("alias", "production"),
    )
    if kind == "uri":
        text = SECRETS.sub("", text)
    return f"{kind} {text}"[:MAX_CHARS]
