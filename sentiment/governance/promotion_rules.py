"""The rules of promotion and rollback: what may go into production, and what production goes back to.

They read the ledger alone. What moves aliases, builds and tells services is in `release/`.
"""

from collections.abc import Iterable, Sequence

from sentiment.errors import PromotionError
from sentiment.governance.ledger import MIN_REASON_WORDS, LedgerEntry

PASSED = ("pass", "forced")


def read_stack(entries: Iterable[LedgerEntry]) -> tuple[str, ...]:
    """Return what was put into production and not rolled back from, the version in production last."""
    stack: list[str] = []
    for entry in entries:
        if entry.version is None:
            continue
        if entry.event == "promotion":
            stack.append(entry.version)
        elif entry.event == "rollback":
            stack = [*_cut(stack, entry.version), entry.version]
    return tuple(stack)


def find_previous(entries: Iterable[LedgerEntry], version: str) -> str | None:
    """Return what a rollback from this version would go back to, once production went back to it."""
    below = _cut(list(read_stack(entries)), version)
    return below[-1] if below else None


def require_reason(reason: str) -> None:
    """Raise PromotionError when a rollback comes without a reason."""
    if not reason.strip():
        raise PromotionError('a rollback needs a reason for the ledger: make rollback REASON="what went wrong"')


def find_promoted(entries: Iterable[LedgerEntry], version: str) -> str | None:
    """Return the digest of the model that was put into production under a number, the last time; None for none."""
    moved = [e for e in entries if e.version == version and e.event in {"promotion", "rollback"}]
    return str(moved[-1].details.get("digest")) if moved else None


def check_production(entries: Sequence[LedgerEntry], version: str | None, digest: str | None) -> None:
    """Raise PromotionError when the registry has another model in production than the ledger put there."""
    stack = read_stack(entries)
    placed = stack[-1] if stack else None
    if version != placed:
        way_out = f"make rollback VERSION={placed} REASON=..." if placed else "take the alias away in MLflow"
        raise PromotionError(
            f"the alias 'production' {_place(version)}, the ledger put {_name(placed)} there: somebody moved it by"
            f" hand; put it back: {way_out}"
        )
    if version:
        check_promoted(entries, version, digest)


def check_promoted(entries: Sequence[LedgerEntry], version: str, digest: str | None) -> None:
    """Raise PromotionError when a version is another model in the registry than when it went into production."""
    promoted = find_promoted(entries, version)
    if digest != promoted:
        raise PromotionError(
            f"version {version} is the model {str(digest)[:12]} in the registry, and"
            f" {promoted[:12] if promoted else 'no model'} went into production under that number: somebody changed it;"
            " restore its files and its tag 'digest'."
        )


def choose_return(entries: Sequence[LedgerEntry], production: str | None, wanted: str) -> str:
    """Return the version to go back to: the wanted one, else the last one that was not rolled back from.

    Raises PromotionError where there is none.
    """
    stack = read_stack(entries)
    if not stack:
        raise PromotionError("nothing is in production, so that there is nothing to roll back; `make train` makes one.")
    if stack[-1] != production and not wanted:
        raise PromotionError(
            f"the alias 'production' {_place(production)}, the ledger put version {stack[-1]} there: somebody"
            f" moved it by hand; name the version to go back to: make rollback VERSION={stack[-1]} REASON=..."
        )
    earlier = stack[:-1] if stack[-1] == production else stack
    if not earlier:
        raise PromotionError(
            f"there is nothing to roll back to: no version was in production before version {production};"
            " `make promote VERSION=...` puts another one there."
        )
    if wanted and wanted not in earlier:
        known = ", ".join(sorted(set(earlier), key=int))
        raise PromotionError(
            f"version {wanted} is none that production can go back to; wanted one of {known}."
            f" `make promote VERSION={wanted}` puts any version there that the gate let pass."
        )
    return wanted or earlier[-1]


def find_decision(entries: Iterable[LedgerEntry], digest: str) -> LedgerEntry | None:
    """Return the last decision that let the model with this digest pass."""
    found = None
    for entry in entries:
        passed = entry.event == "decision" and entry.details.get("outcome") in PASSED
        if passed and entry.details.get("digest") == digest:
            found = entry
    return found


def require_decision(entries: Iterable[LedgerEntry], digest: str) -> LedgerEntry:
    """Return the last decision that let the model with this digest pass. Raises PromotionError where there is none."""
    decision = find_decision(entries, digest)
    if decision is None:
        raise PromotionError(
            f"the model {digest[:12]} never passed the gate, by the ledger of this installation; train again, or put a"
            ' reason on the record: make promote VERSION=... FORCE="why"'
        )
    return decision


def list_objections(
    entries: Sequence[LedgerEntry], version: str, digest: str, production: str | None
) -> tuple[str, ...]:
    """Return what speaks against a promotion, each a clause: the gate, a person, a rollback, another champion."""
    objections = []
    decision = find_decision(entries, digest)
    if decision is None:
        objections.append("it never passed the gate")
    elif (compared := decision.details.get("champion_version")) != production:
        objections.append(
            f"the gate compared it with {_name(compared)}, and {_name(production)} is in production by now"
        )
    last: LedgerEntry | None = None
    for entry in entries:
        forced = entry.event == "decision" and entry.details.get("outcome") == "forced"
        rejected = entry.event == "rejection" and entry.version == version
        undone = entry.event == "rollback" and entry.details.get("replaced") == version
        if rejected or undone:
            last = entry
        elif (entry.event == "promotion" and entry.version == version) or (
            forced and entry.details.get("digest") == digest
        ):
            last = None
    if last is not None:
        done = "rejected it" if last.event == "rejection" else "rolled it back"
        objections.append(f"{last.by or 'somebody'} {done} on {last.at[:10]} because {last.reason or 'of no reason'}")
    return tuple(objections)


def check_promotion(
    entries: Sequence[LedgerEntry], version: str, digest: str, production: str | None, force: str = ""
) -> tuple[str, ...]:
    """Return what speaks against a promotion, where it is forced. Raises PromotionError where it is not."""
    if force and len(force.split()) < MIN_REASON_WORDS:
        raise PromotionError(
            f"the reason {force!r} is too short for the ledger; wanted {MIN_REASON_WORDS} words or more that say why."
        )
    objections = list_objections(entries, version, digest, production)
    if objections and not force:
        raise PromotionError(
            f"version {version} was not promoted: {'; '.join(objections)}. Train again, so that the gate measures it"
            f' now, or put a reason on the record: make promote VERSION={version} FORCE="why"'
        )
    return objections


def choose_waiting(staged: str | None, wanted: str) -> str:
    """Return the version that waits for approval. Raises PromotionError when none does, or another than wanted."""
    if staged is None:
        raise PromotionError(
            "nothing waits for approval; with `promotion.approval: manual` in zenml_config.yaml, what passes the gate"
            " of `make train` waits."
        )
    if wanted and wanted != staged:
        raise PromotionError(
            f"version {wanted} does not wait for approval, version {staged} does; nothing was changed."
        )
    return staged


def _cut(stack: list[str], version: str) -> list[str]:
    """Return what lies below the last place of a version in the stack; nothing where it has none."""
    if stack and stack[-1] == version:
        return stack[:-1]
    below = stack[:-1]
    while below and below[-1] != version:
        below.pop()
    return below[:-1]


def _place(version: str | None) -> str:
    return f"is at version {version}" if version else "points nowhere"


def _name(version: object) -> str:
    return f"version {version}" if version else "no version"
