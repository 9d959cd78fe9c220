"""The ledger: an append-only file of decisions, promotions and rollbacks, one JSON object a line."""

import getpass
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Literal

logger = logging.getLogger(__name__)

Event = Literal["decision", "staging", "approval", "rejection", "promotion", "rollback", "canary", "erasure"]
ACTOR_VARIABLE = "SENTIMENT_ACTOR"


@dataclass(frozen=True)
class LedgerEntry:
    """One event: when (UTC, ISO 8601), of which model version, in one sentence, with details; who did it and why."""

    at: str
    event: Event
    model: str
    version: str | None
    summary: str
    details: Mapping[str, object] = field(default_factory=dict)
    by: str = ""
    reason: str = ""


def append_entry(ledger: Path, entry: LedgerEntry) -> None:
    """Append one entry and return when it is on the disk."""
    ledger.parent.mkdir(parents=True, exist_ok=True)
    line = (json.dumps(asdict(entry)) + "\n").encode()
    with ledger.open("a+b") as file:
        if file.tell() and not _ends_a_line(file):
            line = b"\n" + line
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def read_entries(ledger: Path) -> list[LedgerEntry]:
    """Return every entry, oldest first; none where there is no ledger yet."""
    if not ledger.is_file():
        return []
    entries = []
    for number, line in enumerate(ledger.read_bytes().split(b"\n"), start=1):
        if line:
            try:
                entries.append(LedgerEntry(**json.loads(line)))
            except ValueError:
                logger.warning("%s line %d is torn, as a crash leaves it; it is passed over", ledger.name, number)
    return entries


def select_entries(entries: Sequence[LedgerEntry], version: str = "", limit: int = 0) -> list[LedgerEntry]:
    """Return the last `limit` entries, 0 for all; of one version, those that name it and the decisions on its model."""
    if version:
        named = [entry for entry in entries if version in {entry.version, entry.details.get("replaced")}]
        digests = {entry.details.get("digest") for entry in named if entry.version == version}
        entries = [e for e in entries if e in named or (e.event == "decision" and e.details.get("digest") in digests)]
    return list(entries[-limit:])


def render_entry(entry: LedgerEntry) -> str:
    """Return a line for people: when, what, who, one sentence, and why."""
    why = f" Because: {entry.reason}" if entry.reason else ""
    return f"{entry.at}  {entry.event:<9}  {entry.by or '-':<10}  {entry.summary}{why}"


def count_decisions(ledger: Path, holdout_digest: str) -> int:
    """Return how many decisions a holdout has made."""
    return sum(
        entry.event == "decision" and entry.details.get("holdout_digest") == holdout_digest
        for entry in read_entries(ledger)
    )


def name_actor() -> str:
    """Return who acts: `SENTIMENT_ACTOR` where it is set, else the name of the user."""
    try:
        return os.environ.get(ACTOR_VARIABLE) or getpass.getuser()
    except (OSError, KeyError):  # a container may have a user without a name
        return f"uid {os.getuid()}"


def stamp_time(now: datetime) -> str:
    """Return an aware time as the ledger writes it: UTC, to the second."""
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _ends_a_line(file: BinaryIO) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"
