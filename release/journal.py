"""The journal of production: a promotion or a rollback changes aliases, pointer and ledger, all in the end.

The change is written to a file first. The next command that changes production finishes what was cut off.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout
from mlflow.exceptions import MlflowException

from release.mlflow_registry import (
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
from sentiment.governance.promotion_rules import find_promoted, read_stack, require_decision
from sentiment.model_name import MODEL, ModelName
from sentiment.paths import locate_state
from sentiment.production_pointer import ProductionPointer

LOCK_SECONDS = 30

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ProductionChange:
    """All that a promotion or a rollback writes down: to which model, from which version, who said so and why.

    `source` is where the registry keeps the bundle, `previous` what a rollback would go back to afterwards.
    """

    event: Literal["promotion", "rollback"]
    model: ModelName
    source: str
    replaced: str | None
    previous: str | None
    at: str = field(default_factory=lambda: stamp_time(datetime.now(UTC)))
    by: str = field(default_factory=name_actor)
    reason: str = ""
    force: str = ""
    approved: bool = False

    @property
    def version(self) -> str:
        """The number of the version in the registry."""
        return self.model.number

    @property
    def is_done(self) -> bool:
        """Whether the version is in production already, so that services alone are to be told."""
        return self.replaced == self.version

    @property
    def summary(self) -> str:
        """One sentence for people."""
        if self.event == "rollback":
            instead = f", instead of version {self.replaced}" if self.replaced else ""
            return f"version {self.version} is in production again{instead}."
        after = f"after version {self.replaced}" if self.replaced else "the first"
        return f"version {self.version} is in production, {after}."

    def list_entries(self) -> list[LedgerEntry]:
        """Return the lines for the ledger."""
        details = {
            "bento": self.model.bento,
            "digest": self.model.digest,
            "replaced": self.replaced,
            "previous": self.previous,
            "force": self.force,
        }
        changed = self._make_entry(self.event, self.summary, details)
        if not self.approved:
            return [changed]
        summary = f"version {self.version} is approved."
        return [self._make_entry("approval", summary, {"digest": self.model.digest}), changed]

    def _make_entry(self, event: Event, summary: str, details: Mapping[str, object]) -> LedgerEntry:
        return LedgerEntry(self.at, event, MODEL, self.version, summary, details, self.by, self.reason)


def change_production(change: ProductionChange) -> None:
    """Put a version into production: aliases, pointer, ledger.

    Raises PromotionError when production is not what the change was planned for, or the model never passed the gate.
    """
    if change.is_done:
        logger.info("version %s is in production already; services are told again", change.version)
        return
    with hold_journal_lock():
        _finish_change()
        require_decision(read_entries(locate_state().ledger), change.model.digest)
        found = read_alias(PRODUCTION)
        if found != change.replaced:
            raise PromotionError(
                f"version {change.version} was not put into production: {_name(found)} is there by now, and not"
                f" {_name(change.replaced)}; look at `make ledger` and start again."
            )
        write_atomically(locate_state().journal, json.dumps(asdict(change), indent=2) + "\n")
        _finish_change()
    logger.info("%s: %s", change.event, change.summary)


def recover_journal() -> None:
    """Finish what a crash cut off, and mend a pointer that does not name the version in production.

    Raises LedgerError where the ledger is not sound.
    """
    state = locate_state()
    with hold_journal_lock():
        entries = read_entries(state.ledger)
        if change := _finish_change():
            logger.warning("a %s to version %s was cut off before; it is finished now", change.event, change.version)
        version = find_version(PRODUCTION)
        if version is None or "digest" not in version.tags:
            return
        name = name_version(version)
        is_ours = name.number in read_stack(entries)[-1:] and name.digest == find_promoted(entries, name.number)
        if is_ours and _read_pointer() != ProductionPointer.to(name):
            ProductionPointer.to(name).write(state.production)
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
    with hold_journal_lock():
        said = "the ledger is taken as it stands."
        entry = LedgerEntry(stamp_time(datetime.now(UTC)), "seal", MODEL, None, said, {}, name_actor(), reason)
        return seal_ledger(locate_state().ledger, entry)


@contextmanager
def hold_journal_lock() -> Iterator[None]:
    """Let one at a time move aliases. Raises BusyError when another does for long."""
    path = locate_state().journal_lock
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(path).acquire(timeout=LOCK_SECONDS)
    except Timeout as error:
        raise BusyError(
            f"another promotion or rollback is under way in this checkout (it holds {path}); wait until it ends."
        ) from error
    with lock:
        yield


def _finish_change() -> ProductionChange | None:
    """Write down what is left of a change that was begun; return it, or None when there was none."""
    state = locate_state()
    if not state.journal.exists():
        return None
    try:
        content = json.loads(state.journal.read_text(encoding="utf-8"))
        change = ProductionChange(**content | {"model": ModelName(**content["model"])})
        written = read_entries(state.ledger)
        require_decision(written, change.model.digest)
        point_alias(PREVIOUS, change.previous)
        point_alias(PRODUCTION, change.version)
        if read_alias(STAGING) == change.version:
            point_alias(STAGING, None)
        _tag_versions(change)
    except (ValueError, TypeError, KeyError, MlflowException, PromotionError) as error:
        raise RegistryError(
            f"what {state.journal} says cannot be done: {error}; mend that and start again, or remove the file to give"
            " it up."
        ) from error
    ProductionPointer.to(change.model).write(state.production)
    for entry in change.list_entries():
        if entry not in written:
            append_entry(state.ledger, entry)
    state.journal.unlink()
    return change


def _tag_versions(change: ProductionChange) -> None:
    tag_version(change.version, **{f"{change.event}.at": change.at, f"{change.event}.by": change.by})
    if change.event == "rollback" and change.replaced:
        tag_version(change.replaced, **{"rolled_back.because": change.reason})


def _read_pointer() -> ProductionPointer | None:
    with suppress(PointerError):
        return ProductionPointer.read(locate_state().production)
    return None


def _name(version: str | None) -> str:
    return f"version {version}" if version else "no version"
