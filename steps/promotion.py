"""What puts a registered version into production: its Bento, the aliases, the pointer, the line in the ledger."""

import json
import logging
from datetime import UTC, datetime

from mlflow.entities.model_registry import ModelVersion

from sentiment.bundle import Bundle
from sentiment.ledger import LedgerEntry, append_entry, stamp_time
from sentiment.state import locate_state
from steps.bento import build_bento, smoke_test, store_model
from steps.registry import MODEL, move_production, name_version

logger = logging.getLogger(__name__)


def deploy_version(bundle: Bundle, version: ModelVersion) -> str:
    """Return the tag of the Bento built with exactly this version, after it has answered a question."""
    name = name_version(version)
    store_model(bundle, f"{MODEL}:{name}")
    bento = build_bento(f"{MODEL}:{name}", name)
    smoke_test(bento, bundle.card.digest)
    return bento


def promote_version(bundle: Bundle, version: ModelVersion, bento: str) -> None:
    """Move `production` to a version and the pointer that a local service reads with it."""
    replaced = move_production(version)
    state = locate_state()
    pointer = {"tag": f"{MODEL}:{name_version(version)}", "bento": bento, "digest": bundle.card.digest}
    scratch = state.production.with_suffix(".part")
    scratch.write_text(json.dumps(pointer, indent=2) + "\n", encoding="utf-8")
    scratch.replace(state.production)
    previous = str(replaced.version) if replaced else None
    summary = f"version {version.version} is in production, {'after version ' + previous if previous else 'the first'}."
    details = {"bento": bento, "previous": previous, "digest": bundle.card.digest}
    append_entry(
        state.ledger,
        LedgerEntry(stamp_time(datetime.now(UTC)), "promotion", MODEL, str(version.version), summary, details),
    )
    logger.info("promoted: %s Serve it with `bentoml serve`.", summary)
