"""The gate at work: challenger and champion answer the holdout, and the decision goes on the record."""

import logging
import os

import mlflow
from mlflow.entities.model_registry import ModelVersion

from release.journal import enter_event
from release.mlflow_registry import PRODUCTION, find_version
from release.promotion import fetch_whole
from sentiment.bundle.bundle import Bundle
from sentiment.bundle.predictor import Predictor
from sentiment.config.schema import GateSection
from sentiment.data.datasets import Dataset
from sentiment.errors import BundleError, RegistryError
from sentiment.evaluation.behaviour import BehaviourReport
from sentiment.evaluation.predictions import Predictions, predict_rows
from sentiment.governance.admission import Admitted, sign_admitted
from sentiment.governance.gate import Decision, MeasuredChallenger, decide_gate, format_decision
from sentiment.governance.ledger import count_decisions, read_entries
from sentiment.governance.promotion_rules import check_production
from sentiment.paths import locate_state
from sentiment.reports.html import Trial
from sentiment.reports.plots import plot_confusion

logger = logging.getLogger(__name__)


def try_on_holdout(
    challenger: Bundle, behaviour: BehaviourReport, holdout: Dataset, gate: GateSection, seed: int
) -> Trial:
    """Return the decision on a challenger with both models' answers: the champion is fetched and scored now.

    Raises PromotionError when the champion in the registry is not what the ledger put into production.
    """
    scored = _answer(challenger, holdout)
    measured = MeasuredChallenger(scored, challenger.card.latency_ms["p95"], challenger.card.size_bytes, behaviour)
    version = find_version(PRODUCTION)
    number, digest = (str(version.version), version.tags.get("digest")) if version else (None, None)
    check_production(read_entries(locate_state().ledger), number, digest)
    champion, unmeasured, notes = _measure_champion(version, challenger, holdout)
    decision = decide_gate(
        measured,
        champion,
        gate.rule_for(holdout.name, seed),
        champion_version=str(version.version) if version else None,
        unmeasured=unmeasured,
        earlier_decisions=count_decisions(locate_state().ledger, holdout.digest),
        notes=notes,
        force=gate.force,
    )
    return Trial(decision, scored, champion.reorder(scored.labels) if champion is not None else None)


def record_decision(challenger: Bundle, decision: Decision, page: str) -> None:
    """Write the decision and the report to MLflow, the decision to the ledger, and say it; sign what passed."""
    metrics = {f"holdout_{name}": value for name, value in decision.challenger.flatten().items()}
    mlflow.log_metrics(metrics)
    mlflow.log_figure(
        plot_confusion(decision.challenger, f"{challenger.card.candidate}, holdout"), "confusion_holdout.png"
    )
    mlflow.set_tags({"gate.outcome": decision.outcome, "gate.summary": decision.summary})
    if decision.champion is not None:
        mlflow.log_metric("champion_holdout_macro_f1", decision.champion.macro_f1)
    mlflow.log_text(format_decision(decision), "decision.json")
    mlflow.log_text(page, "comparison_report.html")
    details = {
        "outcome": decision.outcome,
        "run": name_active_run(),
        "candidate": challenger.card.candidate,
        "digest": challenger.card.digest,
        "dataset": challenger.card.dataset,
        "holdout_digest": decision.challenger.dataset_digest,
        "macro_f1": decision.challenger.macro_f1,
        "champion_macro_f1": decision.champion.macro_f1 if decision.champion else None,
        "champion_version": decision.champion_version,
        "warnings": list(decision.warnings),
        "force": decision.force,
    }
    decided = enter_event("decision", None, decision.summary, details, decision.force)
    if decision.passed:
        sign_admitted(Admitted(challenger, decided))
    for warning in decision.warnings:
        logger.warning("gate: %s.", warning)
    logger.info("gate: %s. %s", decision.outcome, decision.summary)


def _measure_champion(
    version: ModelVersion | None, challenger: Bundle, holdout: Dataset
) -> tuple[Predictions | None, str, tuple[str, ...]]:
    """Return the champion's answers, or why there are none; and what a reader of the decision should know."""
    if version is None:
        return None, "", ()
    try:
        champion = fetch_whole(version)
        known, asked = champion.card.labels, challenger.card.labels
        if sorted(known) != sorted(asked):
            return None, f"it answers {', '.join(known)}, the challenger answers {', '.join(asked)}", ()
        answers = _answer(champion, holdout)
    except (BundleError, RegistryError) as error:
        return None, str(error), ()
    notes: tuple[str, ...] = ()
    if champion.card.dataset != challenger.card.dataset:
        notes = (
            f"champion version {version.version} was trained on {champion.card.dataset!r}, the challenger and this"
            f" holdout are of {challenger.card.dataset!r}, which favours the challenger",
        )
    elif champion.card.holdout_digest != challenger.card.holdout_digest:
        notes = (
            f"champion version {version.version} was gated on another holdout of {champion.card.dataset!r};"
            " both are scored on this one",
        )
    return answers, "", notes


def _answer(bundle: Bundle, holdout: Dataset) -> Predictions:
    return predict_rows(Predictor(bundle, threads=os.cpu_count() or 1), holdout)


def name_active_run() -> str:
    """Return the id of the MLflow run that is active, empty where none is."""
    run = mlflow.active_run()
    return str(run.info.run_id) if run else ""
