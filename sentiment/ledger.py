"""The ledger: an append-only file of decisions, promotions and rollbacks, one JSON object a line."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

Event = Literal["decision", "promotion", "rollback"]


@dataclass(frozen=True)
class LedgerEntry:
    """One event: when (UTC, ISO 8601), of which model version, in one sentence, with details."""

    at: str
    event: Event
    model: str
    version: str | None
    summary: str
    details: Mapping[str, object] = field(default_factory=dict)


def append_entry(ledger: Path, entry: LedgerEntry) -> None:
    """Append one entry and return when it is on the disk."""
    ledger.parent.mkdir(parents=True, exist_ok=True)
    line = (json.dumps(asdict(entry)) + "\n").encode()
    handle = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, line)
        os.fsync(handle)
    finally:
        os.close(handle)


def read_entries(ledger: Path) -> list[LedgerEntry]:
    """Return every entry, oldest first; none where there is no ledger yet."""
    if not ledger.is_file():
        return []
    return [LedgerEntry(**json.loads(line)) for line in ledger.read_text(encoding="utf-8").splitlines() if line]


def stamp_time(now: datetime) -> str:
    """Return a time as the ledger writes it: UTC, to the second."""
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")
