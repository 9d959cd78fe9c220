"""Promotion, approval and rejection: what speaks against a version, its Bento, and its way into production."""

import logging
from collections.abc import Sequence
from pathlib import Path

from mlflow.entities.model_registry import ModelVersion

from release.bento_store import build_bento, carry_keys, find_stored, has_bento, remove_stored, store_model
from release.journal import ProductionChange, change_production, enter_event, recover_journal
from release.mlflow_registry import (
    PRODUCTION,
    STAGING,
    fetch_bundle,
    log_signature,
    name_version,
    point_alias,
    read_alias,
    require_version,
    tag_version,
)
from release.running_services import check_services, choose_services, read_key, switch_services
from release.smoke_test import smoke_test
from sentiment.bundle.bundle import Bundle, open_bundle
from sentiment.config.schema import Approval
from sentiment.errors import BundleError, DeployError, PromotionError, RegistryError, ServiceError
from sentiment.governance.admission import Admitted, admit_bundle, sign_admitted
from sentiment.governance.ledger import read_entries
from sentiment.governance.promotion_rules import check_production, check_promotion, choose_waiting
from sentiment.model_name import MODEL
from sentiment.paths import locate_state

logger = logging.getLogger(__name__)


def promote_version(
    wanted: str,
    *,
    reason: str = "",
    force: str = "",
    approve: bool = False,
    services: Sequence[str] = (),
    key_file: str = "",
) -> ProductionChange:
    """Put a version, by number or alias, into production and into running services; return what was done.

    Raises a SentimentError that says why it is not there, or which service does not answer from it.
    """
    check_services(services, key_file)
    change = plan_promotion(wanted, reason=reason, force=force, approve=approve)
    change_production(change)
    switch_services(change, choose_services(services), read_key(key_file))
    return change


def plan_promotion(wanted: str, *, reason: str = "", force: str = "", approve: bool = False) -> ProductionChange:
    """Return the change that puts a version into production, after its Bento has answered; nothing points to it yet."""
    recover_journal()
    if approve:
        wanted = choose_waiting(read_alias(STAGING), wanted if wanted != STAGING else "")
    version = require_version(wanted)
    replaced = read_alias(PRODUCTION)
    if replaced == str(version.version):
        check_production(read_entries(locate_state().ledger), replaced, version.tags["digest"])
        ensure_stored(version)
        return describe_promotion(version, replaced)
    check_version(version, replaced, force)
    make_bento(version)
    return describe_promotion(version, replaced, reason=reason or force, force=force, approved=approve)


def check_version(version: ModelVersion, production: str | None, force: str = "") -> None:
    """Raise PromotionError when something speaks against a version and no force was given.

    What is forced is a decision of its own, on the files of the version, in the ledger.
    """
    entries, number = read_entries(locate_state().ledger), str(version.version)
    if objections := check_promotion(entries, number, version.tags["digest"], production, force):
        bundle = fetch_whole(version)
        details = {
            "outcome": "forced",
            "candidate": bundle.card.candidate,
            "digest": bundle.card.digest,
            "champion_version": production,
            "force": force,
        }
        summary = f"version {number} is forced: {'; '.join(objections)}."
        sign_admitted(Admitted(bundle, enter_event("decision", None, summary, details, force)))
        log_signature(version, bundle)


def describe_promotion(
    version: ModelVersion, replaced: str | None, *, reason: str = "", force: str = "", approved: bool = False
) -> ProductionChange:
    """Return the promotion of a version over the one that it replaces."""
    return ProductionChange(
        "promotion",
        name_version(version),
        str(version.source),
        replaced=replaced,
        previous=replaced,
        reason=reason,
        force=force,
        approved=approved,
    )


def make_bento(version: ModelVersion) -> None:
    """Have the Bento of a version answer a question; it is built where it is missing."""
    name = name_version(version)
    ensure_stored(version)
    if has_bento(name.bento):
        carry_keys(name.bento)
    else:
        build_bento(name.tag)
    smoke_test(name.bento, name.digest)


def ensure_stored(version: ModelVersion) -> Path:
    """Return the folder of a version in BentoML's store, fetched from the registry where it is missing or damaged.

    Its files passed the gate or were forced, and say so by a signature. Raises PromotionError for others.
    """
    name = name_version(version)
    folder = find_stored(name.tag)
    if folder is not None:
        try:
            if open_bundle(folder).card.digest == name.digest:
                sign_admitted(admit_bundle(folder))
                return folder
        except BundleError as error:
            logger.warning("%s; it is fetched from the registry again", str(error).rstrip("."))
    bundle = fetch_whole(version)
    admit_bundle(bundle.folder)
    if folder is not None:
        remove_stored(name.tag)
    stored = store_model(bundle, name.tag)
    sign_admitted(admit_bundle(stored))
    return stored


def fetch_whole(version: ModelVersion) -> Bundle:
    """Return the bundle of a version from the registry. Raises RegistryError when its files are of another digest."""
    bundle, digest = fetch_bundle(version), version.tags["digest"]
    if bundle.card.digest != digest:
        raise RegistryError(
            f"the files of {MODEL} version {version.version} are the model {bundle.card.digest[:12]}, the registry says"
            f" {digest[:12]}; restore them, or take another version."
        )
    return bundle


def deploy_version(version: ModelVersion, champion: str | None, approval: Approval) -> None:
    """Put a version that passed against a champion into production, or let it wait; its Bento has answered before.

    A running service that does not take it is told in the log: the promotion holds.
    """
    try:
        make_bento(version)
    except DeployError as error:
        raise DeployError(
            f"version {version.version} passed and is registered, but {error} Build it again:"
            f" make promote VERSION={version.version}"
        ) from error
    if approval == "manual":
        stage_version(version, champion)
        return
    change = describe_promotion(version, champion)
    change_production(change)
    try:
        switch_services(change, choose_services(()), read_key(""))
    except ServiceError as error:
        logger.warning("%s", error)


def stage_version(version: ModelVersion, champion: str | None) -> None:
    """Let a version that passed wait for a person, at the alias `staging`."""
    name, instead = name_version(version), read_alias(STAGING)
    point_alias(STAGING, name.number)
    summary = f"version {name.number} awaits approval{f', instead of version {instead}' if instead else ''}."
    details = {"bento": name.bento, "digest": name.digest, "champion_version": champion}
    enter_event("staging", name.number, summary, details)
    logger.info('%s Say yes with `make approve`, or no with `make reject REASON="why"`.', summary)


def reject_version(wanted: str, reason: str) -> str:
    """Take the alias `staging` from the version that waits, for a reason on the record; return the version."""
    recover_journal()
    if not reason.strip():
        raise PromotionError('a rejection needs a reason for the ledger: make reject REASON="why"')
    number = choose_waiting(read_alias(STAGING), wanted)
    enter_event("rejection", number, f"version {number} is rejected.", {}, reason)
    tag_version(number, **{"rejected.because": reason})
    point_alias(STAGING, None)
    return number
