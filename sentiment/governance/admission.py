"""Admission: whether these very files may go into production, by the ledger of this installation."""

from dataclasses import dataclass
from pathlib import Path

from sentiment.bundle.bundle import Bundle, open_bundle
from sentiment.errors import PromotionError, SignatureError
from sentiment.governance.ledger import LedgerEntry, read_entries
from sentiment.governance.promotion_rules import require_decision
from sentiment.governance.signatures import load_public_keys, load_signing_key, sign_decision, verify_signature
from sentiment.paths import locate_state


@dataclass(frozen=True)
class Admitted:
    """A bundle that may go into production, and the decision that says so."""

    bundle: Bundle
    decision: LedgerEntry


def admit_bundle(folder: Path) -> Admitted:
    """Return the bundle in `folder`, whose files, digested now, passed the gate or were forced.

    Raises PromotionError for any other, BundleError for what is no bundle, LedgerError where the ledger is not sound.
    """
    bundle = open_bundle(folder)
    try:
        decision = require_decision(read_entries(locate_state().ledger), bundle.card.digest)
    except PromotionError as error:
        raise PromotionError(f"{folder} was not taken: {error}") from error
    return Admitted(bundle, decision)


def sign_admitted(admitted: Admitted) -> None:
    """Put the signature of the decision beside the card, unless a trusted one is there."""
    folder, card = admitted.bundle.folder, admitted.bundle.card
    try:
        verify_signature(folder, card.digest, load_public_keys())
    except SignatureError:
        decided = {
            "digest": card.digest,
            "verdict": "passed" if admitted.decision.details["outcome"] == "pass" else "forced",
            "reason": admitted.decision.reason,
            "candidate": card.candidate,
            "holdout_digest": str(admitted.decision.details.get("holdout_digest") or ""),
            "at": admitted.decision.at,
        }
        sign_decision(folder, decided, load_signing_key())
