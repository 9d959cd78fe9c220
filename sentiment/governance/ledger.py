"""The ledger: an append-only file of decisions, promotions and rollbacks, one JSON object a line.

Each line holds the digest of the line before and is signed with the key of the installation; how far the ledger goes
stands beside that key. So whoever may write to the file alone can neither add, nor change, nor cut a line unseen.
"""

import fcntl
import getpass
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from sentiment.atomic_files import write_atomically
from sentiment.errors import LedgerError, PromotionError
from sentiment.governance.signatures import LINE, PublicKeys, is_signed, load_public_keys, load_signing_key
from sentiment.paths import make_private_folder

logger = logging.getLogger(__name__)

Event = Literal["decision", "staging", "approval", "rejection", "promotion", "rollback", "canary", "seal", "erasure"]
MIN_REASON_WORDS = 3
ACTOR_VARIABLE = "SENTIMENT_ACTOR"
SIGNING, HEAD_FILE = "signing", "ledger.json"
SEAL = ("previous", "key", "signature")


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


@dataclass(frozen=True)
class Line:
    """A whole line of the file: its number, what it holds, and its digest."""

    number: int
    content: dict[str, Any]
    digest: str


def append_entry(ledger: Path, entry: LedgerEntry) -> None:
    """Append one entry and return when it is on the disk. Raises LedgerError where the ledger is not sound."""
    make_private_folder(ledger.parent)
    with ledger.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        lines = check_lines(ledger)
        file.seek(0)
        content = file.read()
        is_torn = bool(content) and not content.endswith(b"\n")
        line = _sign_line(ledger, entry, lines[-1].digest if lines else "")
        file.write(b"\n" * is_torn + line + b"\n")
        file.flush()
        os.fsync(file.fileno())
        _write_head(ledger, content.count(b"\n") + is_torn + 1, line)


def read_entries(ledger: Path, keys: PublicKeys | None = None) -> list[LedgerEntry]:
    """Return every entry, oldest first; none where there is no ledger yet.

    Raises LedgerError where a line was altered, moved, added or cut by anybody without the key of the installation.
    """
    return [_read_entry(ledger, line) for line in check_lines(ledger, keys)]


def check_lines(ledger: Path, keys: PublicKeys | None = None) -> list[Line]:
    """Return the lines of a ledger, each signed and after the one before. Raises LedgerError for the first that is not.

    `keys` are by default those of the signing folder beside it.
    """
    head = _read_head(ledger)  # before the ledger, which may grow meanwhile
    lines = list(_list_lines(ledger))
    if keys is None:
        keys = load_public_keys(ledger.parent / SIGNING)
    previous = ""
    for line in lines:
        key, signature = str(line.content.get("key", "")), str(line.content.get("signature", ""))
        if not key or not signature:
            raise _make_damage_error(ledger, line.number, "is not signed")
        if key not in keys:
            trusted = ", ".join(keys) or "none"
            raise _make_damage_error(
                ledger, line.number, f"is signed by the key {key[:16]!r}, which is not trusted here ({trusted} is)"
            )
        unsigned = {name: value for name, value in line.content.items() if name != "signature"}
        if not is_signed(keys, key, LINE, unsigned, signature):
            raise _make_damage_error(ledger, line.number, "was altered: its signature does not hold")
        if line.content.get("previous") != previous:
            raise _make_damage_error(
                ledger, line.number, "does not follow the line before it: one was cut out, or moved"
            )
        previous = line.digest
    last, digest = head
    if digest and digest not in {line.digest for line in lines}:
        raise _make_damage_error(ledger, last, "is gone, which was the last one: the end was cut off")
    if not digest and len(lines) > 1:
        raise _make_damage_error(
            ledger, len(lines), f"may not be the last: {SIGNING}/{HEAD_FILE}, which says so, is gone"
        )
    return lines


def seal_ledger(ledger: Path, entry: LedgerEntry) -> Path:
    """Sign the lines of a ledger as they stand, then the entry that says why; return where the one before is kept.

    Raises PromotionError where there is nothing to seal or no reason.
    """
    if not entry.reason.strip():
        raise PromotionError('to take a ledger as it stands needs a reason: make seal-ledger REASON="why"')
    entries = [_read_entry(ledger, line) for line in _list_lines(ledger)]
    if not entries:
        raise PromotionError(f"{ledger} has no line to seal; `make train` writes the first.")
    kept = ledger.with_name(f"{ledger.stem}-before-{datetime.now(UTC):%Y%m%dT%H%M%S}{ledger.suffix}")
    sealed, last = b"", b""
    for one in (*entries, entry):
        last = _sign_line(ledger, one, sha256(last).hexdigest() if last else "")
        sealed += last + b"\n"
    write_atomically(kept, ledger.read_bytes())
    write_atomically(ledger, sealed)
    _write_head(ledger, len(entries) + 1, last)
    return kept


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


def _list_lines(ledger: Path) -> Iterator[Line]:
    """Yield the lines that are whole; what a crash tore is passed over, and its neighbours say so if it was a line."""
    if not ledger.is_file():
        return
    for number, line in enumerate(ledger.read_bytes().split(b"\n"), start=1):
        if line:
            try:
                content = json.loads(line)
            except (ValueError, RecursionError):
                content = None
            if not isinstance(content, dict):
                logger.warning("%s line %d is torn, as a crash leaves it; it is passed over", ledger.name, number)
                continue
            yield Line(number, content, sha256(line).hexdigest())


def _read_entry(ledger: Path, line: Line) -> LedgerEntry:
    try:
        return LedgerEntry(**{name: value for name, value in line.content.items() if name not in SEAL})
    except TypeError:
        raise _make_damage_error(ledger, line.number, "is no entry") from None


def _sign_line(ledger: Path, entry: LedgerEntry, previous: str) -> bytes:
    key = load_signing_key(ledger.parent / SIGNING)
    # As it will be read: tuples become lists, and numbers what JSON has of them.
    content = json.loads(json.dumps(asdict(entry) | {"previous": previous, "key": key.id}))
    return json.dumps(content | {"signature": key.sign(LINE, content)}).encode()


def _read_head(ledger: Path) -> tuple[int, str]:
    """Return the number and the digest of the last line as it was written; 0 and nothing where nothing was."""
    path = ledger.parent / SIGNING / HEAD_FILE
    if not path.is_file():
        return 0, ""
    try:
        head = json.loads(path.read_text(encoding="utf-8"))
        return int(head["line"]), str(head["digest"])
    except (ValueError, KeyError, TypeError) as error:
        raise LedgerError(f"{path} cannot be read, which says how far the ledger goes; {_way_out()}") from error


def _write_head(ledger: Path, number: int, line: bytes) -> None:
    path = ledger.parent / SIGNING / HEAD_FILE
    path.parent.mkdir(exist_ok=True, mode=0o700)
    write_atomically(path, json.dumps({"line": number, "digest": sha256(line).hexdigest()}) + "\n")


def _make_damage_error(ledger: Path, number: int, wrong: str) -> LedgerError:
    return LedgerError(f"{ledger.name} line {number} {wrong}; {_way_out()}")


def _way_out() -> str:
    return (
        "nothing moves until that is clear. Put the ledger back from a copy, or, once you know who changed it and why,"
        ' take it as it stands: make seal-ledger REASON="why"'
    )
