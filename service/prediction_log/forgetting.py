"""Finds and removes the rows and entries of one person, in all stores of the log, while the service runs."""

import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from filelock import Timeout

from sentiment.atomic_files import write_atomically
from sentiment.data.text_normalization import normalise_text
from sentiment.database.persons import Trace, find_rows, remove_rows
from sentiment.errors import BusyError
from service.prediction_log.pseudonyms import digest_text
from service.prediction_log.redaction import keep_text
from service.prediction_log.spool import OPEN, REJECTED_FILES, SEALED, SEGMENTS_LOCK, list_segments, lock_segments

WAIT_SECONDS = 20.0
PAUSE_SECONDS = 0.05
PATTERNS = {"spool": f"*{SEALED}", "rejected": REJECTED_FILES}
SCRATCH = ".forgetting"
DAMAGED = "damaged"
IS_ID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
SEPARATORS = ((",", ":"), (", ", ": "))


@dataclass(frozen=True)
class Found:
    """A row or an entry of a person, its kind, and its store: `database`, `spool` or `rejected`."""

    store: str
    kind: str
    row: Mapping[str, Any]


def trace_text(text: str, key: bytes) -> Trace:
    """Return what identifies rows of a text: the text, as it is and redacted, and its digests with and without key."""
    forms = dict.fromkeys([keep_text(text, "full", key)[0], keep_text(text, "redacted", key)[0]])
    plain = sha256(normalise_text(text).encode("utf-8", "replace")).hexdigest()
    return Trace([form for form in forms if form], len(text), [digest_text(text, key), plain])


def find_person(
    engine: sa.Engine, folder: Path, trace: Trace, *, remove: bool = False, wait_seconds: float = WAIT_SECONDS
) -> list[Found]:
    """Return all that was acknowledged of a person before the call, and with `remove` remove it.

    Nothing is shipped meanwhile, so that nothing is missed on its way. Raises BusyError, before anything was changed,
    where a worker or the shipper does not let go of the spool.
    """
    with _hold_spool(folder, wait_seconds), engine.begin() as connection:
        own = (found.row.get("id") for found in _search(folder, trace, frozenset()) if found.kind == "prediction")
        ids = {one for one in own if isinstance(one, str) and IS_ID.fullmatch(one)}
        rows = find_rows(connection, trace, ids)
        ids |= {row["id"] for row in rows["prediction"]}
        found = [Found("database", kind, row) for kind, some in rows.items() for row in some]
        found += _search(folder, trace, ids)
        if remove:
            remove_rows(connection, rows)
            for _, file in _list_files(folder):
                _remove_lines(file, trace, ids)
    return found


@contextmanager
def _hold_spool(folder: Path, wait_seconds: float) -> Iterator[None]:
    """Wait until the segments that workers write to now are sealed, and hold up the shipper for the block."""
    deadline = time.monotonic() + wait_seconds
    list(list_segments(folder))  # seals those of dead workers
    written = list(folder.glob(f"*{OPEN}"))
    while any(segment.exists() for segment in written):
        if time.monotonic() >= deadline:
            raise BusyError(f"a worker does not seal its segment in {folder}; nothing was changed, run it again.")
        time.sleep(PAUSE_SECONDS)
        list(list_segments(folder))
    with ExitStack() as stack:
        if folder.is_dir():
            try:
                stack.enter_context(lock_segments(folder, wait_seconds))
            except Timeout:
                raise BusyError(
                    f"the shipper does not let go of {folder}; nothing was changed, run it again."
                ) from None
            _give_to_owner(folder / SEGMENTS_LOCK, folder)
            for left in folder.glob(f"*{SCRATCH}"):
                left.unlink()  # of a run that was cut off: it holds what others wrote, and is no one's
        yield


def _list_files(folder: Path) -> Iterator[tuple[str, Path]]:
    for store, pattern in PATTERNS.items():
        for file in sorted(folder.glob(pattern)):
            yield store, file


def _search(folder: Path, trace: Trace, ids: AbstractSet[str]) -> Iterator[Found]:
    """Yield the entries of a person in files, and the entries about predictions with these ids."""
    for store, file in _list_files(folder):
        for line in file.read_bytes().splitlines(keepends=True):
            entry = _read_entry(line)
            if _is_of(line, entry, trace, ids):
                yield Found(store, str(entry.get("kind", DAMAGED)), {key: entry[key] for key in entry if key != "kind"})


def _remove_lines(file: Path, trace: Trace, ids: AbstractSet[str]) -> None:
    """Replace a file by one of the same age without the lines of a person; remove it if no line is left."""
    lines = file.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if not _is_of(line, _read_entry(line), trace, ids)]
    if len(kept) == len(lines):
        return
    if not kept:
        file.unlink()
        return
    scratch, stamp = file.with_name(f"{file.name}{SCRATCH}"), file.stat()
    write_atomically(scratch, b"".join(kept), mode=0o600)
    os.utime(scratch, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    _give_to_owner(scratch, file)
    scratch.replace(file)


def _read_entry(line: bytes) -> dict[str, Any]:
    """Return the entry of a line; an empty one if the line is damaged."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return entry if isinstance(entry, dict) else {}


def _is_of(line: bytes, entry: Mapping[str, Any], trace: Trace, ids: AbstractSet[str]) -> bool:
    """Return whether a line belongs to a person; a damaged line does if it has one of the fields of a whole one."""
    named = {"request_id": [trace.request_id], "subject": [trace.subject], "text_digest": trace.digests}
    if not entry:
        pairs = [(name, value) for name, values in {**named, "text": trace.texts}.items() for value in values if value]
        wanted = (
            json.dumps({name: value}, separators=between)[1:-1] for name, value in pairs for between in SEPARATORS
        )
        return any(one.encode() in line for one in wanted)
    if any(value is not None and entry.get(name) == value for name, values in named.items() for value in values):
        return True
    if not ids.isdisjoint(str(entry.get(name)) for name in ("id", "prediction_id")):
        return True
    return entry.get("text") in trace.texts and entry.get("characters") == trace.characters


def _give_to_owner(file: Path, like: Path) -> None:
    """Give a file that root makes to the owner of the service."""
    with suppress(PermissionError):
        os.chown(file, like.stat().st_uid, like.stat().st_gid)
