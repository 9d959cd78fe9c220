"""Steps that measure candidates on validation and choose the challenger."""

import logging
import os
from dataclasses import replace
from typing import Annotated

import mlflow
from zenml import step

from sentiment.bundle.bundle import Bundle, copy_bundle, seal_bundle
from sentiment.bundle.latency import measure_latency
from sentiment.bundle.predictor import Predictor
from sentiment.data.datasets import Dataset
from sentiment.evaluation.behaviour import BehaviourReport, read_cases, run_cases
from sentiment.evaluation.predictions import Predictions, predict_rows, score_predictions
from sentiment.paths import make_scratch_folder
from sentiment.reports.plots import plot_confusion, plot_reliability
from steps.materializers import BundleMaterializer, PredictionsMaterializer, RecordMaterializer

CARD_PARAMETERS = ("candidate", "encoder", "precision", "max_tokens", "dataset", "train_rows")

logger = logging.getLogger(__name__)


@step(
    experiment_tracker=True,
    output_materializers={
        "evaluated_bundle": BundleMaterializer,
        "answers": PredictionsMaterializer,
        "behaviour": RecordMaterializer,
    },
)
def evaluate_candidate(
    bundle: Bundle, validation: Dataset
) -> tuple[
    Annotated[Bundle, "evaluated_bundle"],
    Annotated[Predictions, "answers"],
    Annotated[BehaviourReport, "behaviour"],
]:
    """Return the bundle with its measurements on the card, its answers on validation, and how it behaves."""
    predictor = Predictor(bundle, threads=os.cpu_count() or 1)
    answers = predict_rows(predictor, validation)
    evaluation = score_predictions(answers)
    behaviour = run_cases(predictor, read_cases())
    latency = measure_latency(Predictor(bundle), list(validation.frame["text"]))
    scores = {f"validation_{name}": value for name, value in evaluation.flatten().items()}
    rates = {f"behaviour_{kind}": rate for kind, rate in behaviour.rates.items()}
    metrics = {**bundle.card.metrics, **scores, **rates}
    with mlflow.start_run(run_name=bundle.card.candidate, nested=True) as run:
        card = replace(bundle.card, latency_ms=latency, metrics=metrics, mlflow_run=run.info.run_id)
        mlflow.log_params({name: getattr(card, name) for name in CARD_PARAMETERS})
        sizes = {"uncertain_below": card.uncertain_below, "size_bytes": card.size_bytes}
        times = {f"latency_{name}_ms": latency[name] for name in ("p50", "p95")}
        mlflow.log_metrics({**card.metrics, **sizes, **times})
        mlflow.log_figure(plot_confusion(evaluation, f"{card.candidate}, validation"), "confusion_validation.png")
        mlflow.log_figure(plot_reliability([(card.candidate, answers)]), "reliability_validation.png")
    logger.info(
        "%s: macro F1 %.3f, accuracy %.3f, calibration error %.3f on %d validation rows; %.1f ms a text, %.0f MB",
        *(card.candidate, evaluation.macro_f1, evaluation.accuracy, evaluation.calibration_error),
        *(evaluation.rows, latency["p50"], card.size_bytes / 1e6),
    )
    folder = make_scratch_folder()
    copy_bundle(bundle, folder)
    return seal_bundle(folder, card), answers, behaviour


@step(experiment_tracker=True, output_materializers=BundleMaterializer)
def choose_challenger(bundles: list[Bundle], answers: list[Predictions]) -> Annotated[Bundle, "challenger"]:
    """Return the bundle with the best macro F1 on validation; the smaller one where two are equal."""
    scored = [(bundle, score_predictions(said).macro_f1) for bundle, said in zip(bundles, answers, strict=True)]
    bundle, macro_f1 = min(scored, key=lambda pair: (-pair[1], pair[0].card.size_bytes))
    logger.info("challenger: %s, macro F1 %.3f on validation", bundle.card.candidate, macro_f1)
    mlflow.set_tag("challenger", bundle.card.candidate)
    return bundle
