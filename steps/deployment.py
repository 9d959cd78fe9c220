"""The step that decides and acts: gate, register, build, smoke-test, promote, each a function of its own."""

import logging
import os
import tempfile
from pathlib import Path
from typing import Annotated

import mlflow
from mlflow.entities.model_registry import ModelVersion
from zenml import step
from zenml.types import HTMLString

from release.journal import enter_event, make_move, settle_moves
from release.mlflow_registry import PRODUCTION, find_version, log_bundle, register_bundle
from release.running_services import choose_services, read_key, switch_services
from sentiment.bundle.bundle import Bundle
from sentiment.bundle.predictor import Predictor
from sentiment.config.schema import Approval, GateSection, PromotionSection
from sentiment.data.datasets import Dataset
from sentiment.errors import BundleError, DeployError, GateBlockedError, RegistryError, ServiceError
from sentiment.evaluation.behaviour import BehaviourReport
from sentiment.evaluation.predictions import Answers, answer_rows
from sentiment.governance.admission import Admitted, sign_admitted
from sentiment.governance.gate import Decision, Measured, decide_gate, write_decision
from sentiment.governance.ledger import count_decisions, read_entries
from sentiment.governance.promotion_rules import check_production
from sentiment.paths import locate_state
from sentiment.reports.html import Trial, render_comparison, score_model
from sentiment.reports.plots import plot_confusion
from steps.materializers import RecordMaterializer
from steps.promotion import describe_move, fetch_whole, make_bento, stage_version

logger = logging.getLogger(__name__)


@step(
    experiment_tracker=True,
    enable_cache=False,
    output_materializers={"decision": RecordMaterializer},
)
def model_deployer(
    challenger: Bundle,
    holdout: Dataset,
    bundles: list[Bundle],
    answers: list[Answers],
    behaviours: list[BehaviourReport],
    validation: Dataset,
    gate: GateSection,
    promotion: PromotionSection,
    seed: int,
) -> tuple[Annotated[Decision, "decision"], Annotated[HTMLString, "comparison_report"]]:
    """Return the gate's decision and the report on it; when it passes, the model is in production and served.

    With `promotion.approval: manual` it waits at the alias `staging` instead.

    A blocked challenger is a normal end, unless `gate.strict`: then GateBlockedError ends the run.
    """
    settle_moves()
    behaviour = next(
        found for bundle, found in zip(bundles, behaviours, strict=True) if bundle.card.digest == challenger.card.digest
    )
    trial = try_on_holdout(challenger, behaviour, holdout, gate, seed)
    entries = [
        score_model(
            bundle.card.candidate,
            bundle,
            scored,
            found,
            resamples=gate.resamples,
            confidence=gate.confidence,
            seed=seed,
        )
        for bundle, scored, found in zip(bundles, answers, behaviours, strict=True)
    ]
    page = render_comparison(entries, validation, trial, holdout)
    decision = trial.decision
    record_decision(challenger, decision, page)
    if decision.passed:
        version = register_bundle(challenger, log_bundle(challenger), _active_run(), decision.outcome)
        deploy_version(version, decision.champion_version, promotion.approval)
    elif gate.strict:
        raise GateBlockedError(decision.summary)
    return decision, HTMLString(page)


def deploy_version(version: ModelVersion, champion: str | None, approval: Approval) -> None:
    """Build and ask the Bento of a version that passed against a champion; then let it wait, or put it into production.

    A running service that does not take it is told in the log: the promotion holds.
    """
    try:
        bento = make_bento(version)
    except DeployError as error:
        raise DeployError(
            f"version {version.version} passed and is registered, but {error} Build it again:"
            f" make promote VERSION={version.version}"
        ) from error
    if approval == "manual":
        stage_version(version, bento, champion)
        return
    move = describe_move(version, bento, champion)
    make_move(move)
    try:
        switch_services(move, choose_services(()), read_key(""))
    except ServiceError as error:
        logger.warning("%s", error)


def try_on_holdout(
    challenger: Bundle, behaviour: BehaviourReport, holdout: Dataset, gate: GateSection, seed: int
) -> Trial:
    """Return the decision on a challenger with both models' answers: the champion is fetched and scored now.

    Raises PromotionError when the champion in the registry is not what the ledger put into production.
    """
    scored = _answer(challenger, holdout)
    measured = Measured(scored, challenger.card.latency_ms["p95"], challenger.card.size_bytes, behaviour)
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
    with tempfile.TemporaryDirectory() as scratch:
        write_decision(decision, Path(scratch) / "decision.json")
        (Path(scratch) / "comparison_report.html").write_text(page, encoding="utf-8")
        mlflow.log_artifacts(scratch)
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
) -> tuple[Answers | None, str, tuple[str, ...]]:
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


def _answer(bundle: Bundle, holdout: Dataset) -> Answers:
    return answer_rows(Predictor(bundle, threads=os.cpu_count() or 1), holdout)


def _active_run() -> str:
    run = mlflow.active_run()
    return str(run.info.run_id) if run else ""
