"""The step that decides and acts: gate, register, build, ask, and put into production."""

from typing import Annotated

from zenml import step
from zenml.types import HTMLString

from release.holdout_gate import name_active_run, record_decision, try_on_holdout
from release.journal import recover_journal
from release.mlflow_registry import log_bundle, register_bundle
from release.promotion import deploy_version
from sentiment.bundle.bundle import Bundle
from sentiment.config.schema import GateSection, PromotionSection
from sentiment.data.datasets import Dataset
from sentiment.errors import GateBlockedError
from sentiment.evaluation.behaviour import BehaviourReport
from sentiment.evaluation.predictions import Predictions
from sentiment.governance.gate import Decision
from sentiment.reports.html import render_comparison, score_model
from steps.materializers import RecordMaterializer


@step(experiment_tracker=True, enable_cache=False, output_materializers={"decision": RecordMaterializer})
def model_deployer(
    challenger: Bundle,
    holdout: Dataset,
    bundles: list[Bundle],
    answers: list[Predictions],
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
    recover_journal()
    entries = [
        score_model(
            one.card.candidate, one, said, behaviour, resamples=gate.resamples, confidence=gate.confidence, seed=seed
        )
        for one, said, behaviour in zip(bundles, answers, behaviours, strict=True)
    ]
    behaviour = next(entry.behaviour for entry in entries if entry.card.digest == challenger.card.digest)
    trial = try_on_holdout(challenger, behaviour, holdout, gate, seed)
    page = render_comparison(entries, validation, trial, holdout)
    decision = trial.decision
    record_decision(challenger, decision, page)
    if decision.passed:
        version = register_bundle(challenger, log_bundle(challenger), name_active_run(), decision.outcome)
        deploy_version(version, decision.champion_version, promotion.approval)
    elif gate.strict:
        raise GateBlockedError(decision.summary)
    return decision, HTMLString(page)
