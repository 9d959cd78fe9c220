"""What a promotion or a rollback writes down: aliases, pointer, ledger; all of it, whatever dies on the way.

It is written to a file first. What was cut off is finished by the next command that moves anything.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout
from mlflow.exceptions import MlflowException

from release.bento_store import BENTO
from release.mlflow_registry import (
    MODEL,
    PREVIOUS,
    PRODUCTION,
    STAGING,
    find_version,
    name_version,
    point_alias,
    read_alias,
    tag_version,
)
from sentiment.atomic_files import write_atomically
from sentiment.errors import BusyError, PointerError, PromotionError, RegistryError
from sentiment.governance.ledger import (
    Event,
    LedgerEntry,
    append_entry,
    name_actor,
    read_entries,
    seal_ledger,
    stamp_time,
)
from sentiment.governance.promotion_rules import Move, find_promoted, read_stack, require_decision
from sentiment.paths import locate_state
from sentiment.production_pointer import ProductionPointer

LOCK_SECONDS = 30

logger = logging.getLogger(__name__)


def make_move(move: Move) -> None:
    """Put a version into production: aliases, pointer, ledger.

    Raises PromotionError when production is not what the move was planned for, or the model never passed the gate.
    """
    if move.is_done:
        logger.info("version %s is in production already; services are told again", move.version)
        return
    with hold_move_lock():
        _finish_move()
        require_decision(read_entries(locate_state().ledger), move.digest)
        found = read_alias(PRODUCTION)
        if found != move.replaced:
            raise PromotionError(
                f"version {move.version} was not put into production: {_name(found)} is there by now, and not"
                f" {_name(move.replaced)}; look at `make ledger` and start again."
            )
        write_atomically(locate_state().move, json.dumps(asdict(move), indent=2) + "\n")
        _finish_move()
    logger.info("%s: %s", move.event, move.summary)


def settle_moves() -> None:
    """Finish what a crash cut off, and mend a pointer that does not name the version in production.

    Raises LedgerError where the ledger is not sound.
    """
    state = locate_state()
    with hold_move_lock():
        entries = read_entries(state.ledger)
        if move := _finish_move():
            logger.warning("a %s to version %s was cut off before; it is finished now", move.event, move.version)
        version = find_version(PRODUCTION)
        if version is None or "digest" not in version.tags:
            return
        number, digest, name = str(version.version), version.tags["digest"], name_version(version)
        is_ours = number in read_stack(entries)[-1:] and digest == find_promoted(entries, number)
        pointer = ProductionPointer(f"{MODEL}:{name}", f"{BENTO}:{name}", digest)
        if is_ours and _read_pointer() != pointer:
            pointer.write(state.production)
            logger.warning("the pointer of this checkout names version %s again", name)


def enter_event(
    event: Event, version: str | None, summary: str, details: Mapping[str, object], reason: str = ""
) -> LedgerEntry:
    """Append a line to the ledger of this checkout, what happened to which version, now, by whom and why; return it."""
    entry = LedgerEntry(stamp_time(datetime.now(UTC)), event, MODEL, version, summary, details, name_actor(), reason)
    append_entry(locate_state().ledger, entry)
    return entry


def seal(reason: str) -> Path:
    """Sign the ledger of this checkout as it stands, for a reason on the record; return where the one before is."""
    with hold_move_lock():
        said = "the ledger is taken as it stands."
        entry = LedgerEntry(stamp_time(datetime.now(UTC)), "seal", MODEL, None, said, {}, name_actor(), reason)
        return seal_ledger(locate_state().ledger, entry)


@contextmanager
def hold_move_lock() -> Iterator[None]:
    """Let one at a time move aliases. Raises BusyError when another does for long."""
    path = locate_state().move_lock
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(path).acquire(timeout=LOCK_SECONDS)
    except Timeout as error:
        raise BusyError(
            f"another promotion or rollback is under way in this checkout (it holds {path}); wait until it ends."
        ) from error
    with lock:
        yield


def _finish_move() -> Move | None:
    """Write down what is left of a move that was begun; return it, or None when there was none."""
    state = locate_state()
    if not state.move.exists():
        return None
    try:
        move = Move(**json.loads(state.move.read_text(encoding="utf-8")))
        written = read_entries(state.ledger)
        require_decision(written, move.digest)
        point_alias(PREVIOUS, move.previous)
        point_alias(PRODUCTION, move.version)
        if read_alias(STAGING) == move.version:
            point_alias(STAGING, None)
        _tag_versions(move)
    except (ValueError, TypeError, MlflowException, PromotionError) as error:
        raise RegistryError(
            f"what {state.move} says cannot be done: {error}; mend that and start again, or remove the file to give it"
            " up."
        ) from error
    ProductionPointer(f"{MODEL}:{move.name}", move.bento, move.digest).write(state.production)
    for entry in move.list_entries():
        if entry not in written:
            append_entry(state.ledger, entry)
    state.move.unlink()
    return move


def _tag_versions(move: Move) -> None:
    tag_version(move.version, **{f"{move.event}.at": move.at, f"{move.event}.by": move.by})
    if move.event == "rollback" and move.replaced:
        tag_version(move.replaced, **{"rolled_back.because": move.reason})


def _read_pointer() -> ProductionPointer | None:
    with suppress(PointerError):
        return ProductionPointer.read(locate_state().production)
    return None


def _name(version: str | None) -> str:
    return f"version {version}" if version else "no version"
