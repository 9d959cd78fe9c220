"""Promotion, approval and rejection: the Bento of a version, what speaks against it, and the move into production."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from mlflow.entities.model_registry import ModelVersion
from zenml import step

from release.bento_store import (
    BENTO,
    build_bento,
    carry_keys,
    find_stored,
    has_bento,
    remove_stored,
    smoke_test,
    store_model,
)
from release.journal import enter_event, make_move, settle_moves
from release.mlflow_registry import (
    MODEL,
    PRODUCTION,
    STAGING,
    fetch_bundle,
    identify_version,
    log_signature,
    name_version,
    point_alias,
    read_alias,
    require_version,
    tag_version,
)
from release.running_services import check_services, choose_services, read_key, switch_services
from sentiment.bundle.bundle import Bundle, open_bundle
from sentiment.errors import BundleError, PromotionError, RegistryError
from sentiment.governance.admission import Admitted, admit_bundle, sign_admitted
from sentiment.governance.ledger import name_actor, read_entries, stamp_time
from sentiment.governance.promotion_rules import Move, check_production, check_promotion, choose_waiting
from sentiment.paths import locate_state
from steps.materializers import RecordMaterializer

logger = logging.getLogger(__name__)


def promote_version(
    wanted: str,
    *,
    reason: str = "",
    force: str = "",
    approve: bool = False,
    services: Sequence[str] = (),
    key_file: str = "",
) -> Move:
    """Put a version, by number or alias, into production and into running services; return what was done.

    Raises a SentimentError that says why it is not there, or which service does not answer from it.
    """
    check_services(services, key_file)
    move = plan_promotion(wanted, reason=reason, force=force, approve=approve)
    make_move(move)
    switch_services(move, choose_services(services), read_key(key_file))
    return move


def plan_promotion(wanted: str, *, reason: str = "", force: str = "", approve: bool = False) -> Move:
    """Return the move of a version into production, after its Bento has answered; nothing points to it yet."""
    settle_moves()
    if approve:
        wanted = choose_waiting(read_alias(STAGING), wanted if wanted != STAGING else "")
    version = identify_version(require_version(wanted))
    replaced = read_alias(PRODUCTION)
    if replaced == str(version.version):
        check_production(read_entries(locate_state().ledger), replaced, version.tags["digest"])
        ensure_stored(version)
        return describe_move(version, f"{BENTO}:{name_version(version)}", replaced)
    check_version(version, replaced, force)
    bento = make_bento(version)
    return describe_move(version, bento, replaced, reason=reason or force, force=force, approved=approve)


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


def describe_move(
    version: ModelVersion,
    bento: str,
    replaced: str | None,
    *,
    reason: str = "",
    force: str = "",
    approved: bool = False,
) -> Move:
    """Return the promotion of a version over the one that it replaces."""
    return Move(
        event="promotion",
        model=MODEL,
        version=str(version.version),
        name=name_version(version),
        digest=version.tags["digest"],
        bento=bento,
        source=str(version.source),
        replaced=replaced,
        previous=replaced,
        at=stamp_time(datetime.now(UTC)),
        by=name_actor(),
        reason=reason,
        force=force,
        approved=approved,
    )


def make_bento(version: ModelVersion) -> str:
    """Return the tag of the Bento of a version, after it has answered a question; it is built where it is missing."""
    name = name_version(version)
    ensure_stored(version)
    bento = f"{BENTO}:{name}"
    if has_bento(bento):
        carry_keys(bento)
    else:
        build_bento(f"{MODEL}:{name}", name)
    smoke_test(bento, version.tags["digest"])
    return bento


def ensure_stored(version: ModelVersion) -> Path:
    """Return the folder of a version in BentoML's store, fetched from the registry where it is missing or damaged.

    Its files passed the gate or were forced, and say so by a signature. Raises PromotionError for others.
    """
    tag, digest = f"{MODEL}:{name_version(version)}", version.tags["digest"]
    folder = find_stored(tag)
    if folder is not None:
        try:
            if open_bundle(folder).card.digest == digest:
                sign_admitted(admit_bundle(folder))
                return folder
        except BundleError as error:
            logger.warning("%s; it is fetched from the registry again", str(error).rstrip("."))
    bundle = fetch_whole(version)
    admit_bundle(bundle.folder)
    if folder is not None:
        remove_stored(tag)
    stored = store_model(bundle, tag)
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


def stage_version(version: ModelVersion, bento: str, champion: str | None) -> None:
    """Let a version that passed wait for a person, at the alias `staging`."""
    number, instead = str(version.version), read_alias(STAGING)
    point_alias(STAGING, number)
    summary = f"version {number} awaits approval{f', instead of version {instead}' if instead else ''}."
    enter_event(
        "staging", number, summary, {"bento": bento, "digest": version.tags["digest"], "champion_version": champion}
    )
    logger.info('%s Say yes with `make approve`, or no with `make reject REASON="why"`.', summary)


def reject_version(wanted: str, reason: str) -> str:
    """Take the alias `staging` from the version that waits, for a reason on the record; return the version."""
    settle_moves()
    if not reason.strip():
        raise PromotionError('a rejection needs a reason for the ledger: make reject REASON="why"')
    number = choose_waiting(read_alias(STAGING), wanted)
    enter_event("rejection", number, f"version {number} is rejected.", {}, reason)
    tag_version(number, **{"rejected.because": reason})
    point_alias(STAGING, None)
    return number


@step(enable_cache=False, output_materializers={"move": RecordMaterializer})
def prepare_promotion(
    version: str, reason: str, force: str, approve: bool, services: list[str], key_file: str
) -> Annotated[Move, "move"]:
    """Return the move of a version into production, after its Bento has answered a question."""
    check_services(services, key_file)
    return plan_promotion(version, reason=reason, force=force, approve=approve)


@step(enable_cache=False, output_materializers={"moved": RecordMaterializer})
def put_into_production(move: Move) -> Annotated[Move, "moved"]:
    """Move the aliases, the pointer and the ledger; return what was done."""
    make_move(move)
    return move


@step(enable_cache=False)
def tell_services(move: Move, services: list[str], key_file: str) -> None:
    """End once every worker of every running service answers from the model in production."""
    switch_services(move, choose_services(services), read_key(key_file))
