"""Rollback: production goes back to a version that was there before, once its bundle has answered."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

from zenml import step

from release.bento_store import BENTO, build_bento, has_bento, try_model
from release.journal import make_move, settle_moves
from release.mlflow_registry import MODEL, PRODUCTION, identify_version, name_version, read_alias, require_version
from release.running_services import check_services, choose_services, read_key, switch_services
from sentiment.errors import BundleError, DeployError, PromotionError, RegistryError
from sentiment.governance.ledger import name_actor, read_entries, stamp_time
from sentiment.governance.promotion_rules import Move, check_promoted, choose_return, find_previous, require_reason
from sentiment.paths import locate_state
from steps.materializers import RecordMaterializer
from steps.promotion import ensure_stored

logger = logging.getLogger(__name__)


def roll_back(reason: str, *, version: str = "", services: Sequence[str] = (), key_file: str = "") -> Move:
    """Put the previous version, or an earlier one, back into production and into running services.

    Raises a SentimentError that says why production stays, or which service does not answer from it.
    """
    check_services(services, key_file)
    move = plan_rollback(reason, version)
    make_move(move)
    switch_services(move, choose_services(services), read_key(key_file))
    restore_bento(move)
    return move


def plan_rollback(reason: str, wanted: str = "") -> Move:
    """Return the move back, after the bundle has answered in a process of its own; nothing points to it yet."""
    require_reason(reason)
    settle_moves()
    entries, production = read_entries(locate_state().ledger), read_alias(PRODUCTION)
    number = choose_return(entries, production, wanted)
    try:
        version = identify_version(require_version(number))
        name, digest = name_version(version), version.tags["digest"]
        check_promoted(entries, number, digest)
        try_model(ensure_stored(version), digest)
    except (BundleError, DeployError, PromotionError, RegistryError) as error:
        raise PromotionError(
            f"production was not rolled back to version {number}: {error}"
            " Another one: make rollback VERSION=... REASON=..."
        ) from error
    return Move(
        event="rollback",
        model=MODEL,
        version=number,
        name=name,
        digest=digest,
        bento=f"{BENTO}:{name}",
        source=str(version.source),
        replaced=production,
        previous=find_previous(entries, number),
        at=stamp_time(datetime.now(UTC)),
        by=name_actor(),
        reason=reason,
    )


def restore_bento(move: Move) -> None:
    """Build the Bento of what is in production again where it is missing: images are made of it."""
    if has_bento(move.bento):
        return
    try:
        build_bento(f"{MODEL}:{move.name}", move.name)
    except DeployError as error:
        logger.warning("%s is not in the store, and %s", move.bento, error)
    else:
        logger.info("%s was missing and is built again", move.bento)


@step(enable_cache=False)
def finish_rollback(move: Move, services: list[str], key_file: str) -> None:
    """End once every worker of every running service answers from the model; then see to its Bento."""
    switch_services(move, choose_services(services), read_key(key_file))
    restore_bento(move)


@step(enable_cache=False, output_materializers={"move": RecordMaterializer})
def try_previous(reason: str, version: str, services: list[str], key_file: str) -> Annotated[Move, "move"]:
    """Return the move back to an earlier version, after its bundle has answered a question."""
    check_services(services, key_file)
    return plan_rollback(reason, version)
