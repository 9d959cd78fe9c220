"""Rollback: production goes back to a version that was there before, once its bundle has answered."""

import logging
from collections.abc import Sequence

from release.bento_store import build_bento, has_bento
from release.journal import ProductionChange, change_production, recover_journal
from release.mlflow_registry import PRODUCTION, name_version, read_alias, require_version
from release.promotion import ensure_stored
from release.running_services import check_services, choose_services, read_key, switch_services
from release.smoke_test import try_model
from sentiment.errors import BundleError, DeployError, PromotionError, RegistryError
from sentiment.governance.ledger import read_entries
from sentiment.governance.promotion_rules import check_promoted, choose_return, find_previous, require_reason
from sentiment.paths import locate_state

logger = logging.getLogger(__name__)


def roll_back(reason: str, *, version: str = "", services: Sequence[str] = (), key_file: str = "") -> ProductionChange:
    """Put the previous version, or an earlier one, back into production and into running services.

    Raises a SentimentError that says why production stays, or which service does not answer from it.
    """
    check_services(services, key_file)
    change = plan_rollback(reason, version)
    change_production(change)
    switch_services(change, choose_services(services), read_key(key_file))
    restore_bento(change)
    return change


def plan_rollback(reason: str, wanted: str = "") -> ProductionChange:
    """Return the change back, after the bundle has answered in a process of its own; nothing points to it yet."""
    require_reason(reason)
    recover_journal()
    entries, production = read_entries(locate_state().ledger), read_alias(PRODUCTION)
    number = choose_return(entries, production, wanted)
    try:
        version = require_version(number)
        name = name_version(version)
        check_promoted(entries, number, name.digest)
        try_model(ensure_stored(version), name.digest)
    except (BundleError, DeployError, PromotionError, RegistryError) as error:
        raise PromotionError(
            f"production was not rolled back to version {number}: {error}"
            " Another one: make rollback VERSION=... REASON=..."
        ) from error
    return ProductionChange(
        "rollback",
        name,
        str(version.source),
        replaced=production,
        previous=find_previous(entries, number),
        reason=reason,
    )


def restore_bento(change: ProductionChange) -> None:
    """Build the Bento of what is in production again where it is missing: images are made of it."""
    bento = change.model.bento
    if has_bento(bento):
        return
    try:
        build_bento(change.model.tag)
    except DeployError as error:
        logger.warning("%s is not in the store, and %s", bento, error)
    else:
        logger.info("%s was missing and is built again", bento)
