"""The step that decides and acts: gate, register, build, smoke-test, promote, each a function of its own."""

import json
import logging
import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import mlflow
from mlflow.entities.model_registry import ModelVersion
from zenml import step

from sentiment.bundle import Bundle
from sentiment.config import GateSection
from sentiment.datasets import Dataset
from sentiment.errors import BundleError, GateBlockedError, RegistryError
from sentiment.evaluation import Evaluation, evaluate_predictor
from sentiment.gate import Decision, GateRule, decide_gate, hold_decision, write_decision
from sentiment.ledger import Event, LedgerEntry, append_entry, stamp_time
from sentiment.plots import plot_confusion
from sentiment.predictor import Predictor
from sentiment.state import locate_state
from steps.bento import build_bento, smoke_test, store_model
from steps.materializers import RecordMaterializer
from steps.registry import (
    MODEL,
    PRODUCTION,
    fetch_bundle,
    find_version,
    log_bundle,
    move_production,
    name_version,
    register_bundle,
)

logger = logging.getLogger(__name__)


@step(experiment_tracker=True, enable_cache=False, output_materializers=RecordMaterializer)
def model_deployer(challenger: Bundle, holdout: Dataset, gate: GateSection) -> Annotated[Decision, "decision"]:
    """Return the gate's decision; when it passes, the model is in production and its Bento is built.

    A blocked challenger is a normal end, unless `gate.strict`: then GateBlockedError ends the run.
    """
    rule = GateRule(gate.floor_for(holdout.name), gate.min_improvement, gate.max_class_drop)
    decision = decide_on_holdout(challenger, holdout, rule)
    record_decision(challenger, decision)
    if decision.passed:
        version = register_bundle(challenger, log_bundle(challenger), _active_run())
        bento = deploy_version(challenger, version)
        promote_version(challenger, version, bento)
    elif gate.strict:
        raise GateBlockedError(decision.summary)
    return decision


def decide_on_holdout(challenger: Bundle, holdout: Dataset, rule: GateRule) -> Decision:
    """Return the decision on a challenger: the champion is fetched and scored now, on the same rows."""
    challenger_scores = _score(challenger, holdout)
    champion = find_version(PRODUCTION)
    if champion is None:
        return decide_gate(challenger_scores, None, rule)
    try:
        bundle = fetch_bundle(champion)
    except (BundleError, RegistryError) as error:
        return hold_decision(challenger_scores, rule, str(champion.version), str(error))
    if set(bundle.card.labels) != set(challenger.card.labels):
        known, asked = ", ".join(bundle.card.labels), ", ".join(challenger.card.labels)
        reason = f"it answers {known}, the challenger answers {asked}"
        return hold_decision(challenger_scores, rule, str(champion.version), reason)
    if bundle.card.holdout_digest != challenger.card.holdout_digest:
        logger.info("champion version %s was gated on another holdout; both are scored on this one", champion.version)
    return decide_gate(challenger_scores, _score(bundle, holdout), rule, champion_version=str(champion.version))


def record_decision(challenger: Bundle, decision: Decision) -> None:
    """Write the decision to MLflow and to the ledger, and say it."""
    metrics = {f"holdout_{name}": value for name, value in decision.challenger.flatten().items()}
    mlflow.log_metrics(metrics)
    mlflow.log_figure(
        plot_confusion(decision.challenger, f"{challenger.card.candidate}, holdout"), "confusion_holdout.png"
    )
    mlflow.set_tags({"gate.outcome": decision.outcome, "gate.summary": decision.summary})
    if decision.champion is not None:
        mlflow.log_metric("champion_holdout_macro_f1", decision.champion.macro_f1)
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "decision.json"
        write_decision(decision, file)
        mlflow.log_artifact(str(file))
    details = {
        "outcome": decision.outcome,
        "run": _active_run(),
        "candidate": challenger.card.candidate,
        "digest": challenger.card.digest,
        "dataset": challenger.card.dataset,
        "holdout_digest": decision.challenger.dataset_digest,
        "macro_f1": decision.challenger.macro_f1,
        "champion_macro_f1": decision.champion.macro_f1 if decision.champion else None,
        "champion_version": decision.champion_version,
    }
    _enter("decision", None, decision.summary, details)
    logger.info("gate: %s. %s", decision.outcome, decision.summary)


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
    _enter(
        "promotion", str(version.version), summary, {"bento": bento, "previous": previous, "digest": bundle.card.digest}
    )
    logger.info("promoted: %s Serve it with `bentoml serve`.", summary)


def _score(bundle: Bundle, holdout: Dataset) -> Evaluation:
    return evaluate_predictor(Predictor(bundle, threads=os.cpu_count() or 1), holdout)


def _active_run() -> str:
    run = mlflow.active_run()
    return str(run.info.run_id) if run else ""


def _enter(event: Event, version: str | None, summary: str, details: dict[str, object]) -> None:
    append_entry(
        locate_state().ledger, LedgerEntry(stamp_time(datetime.now(UTC)), event, MODEL, version, summary, details)
    )
