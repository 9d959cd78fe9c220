"""Steps that measure candidates on validation and choose the challenger."""

import logging
import os
from dataclasses import replace
from typing import Annotated

import mlflow
from zenml import step

from sentiment.bundle import Bundle, copy_bundle, seal_bundle
from sentiment.datasets import Dataset
from sentiment.evaluation import Evaluation, evaluate_predictor
from sentiment.latency import measure_latency
from sentiment.plots import plot_confusion
from sentiment.predictor import Predictor
from sentiment.state import make_scratch_folder
from steps.materializers import BundleMaterializer, RecordMaterializer

logger = logging.getLogger(__name__)


@step(
    experiment_tracker=True,
    output_materializers={"evaluated_bundle": BundleMaterializer, "evaluation": RecordMaterializer},
)
def evaluate_candidate(
    bundle: Bundle, validation: Dataset
) -> tuple[Annotated[Bundle, "evaluated_bundle"], Annotated[Evaluation, "evaluation"]]:
    """Return the bundle with its measurements on the card, and the scores on validation."""
    evaluation = evaluate_predictor(Predictor(bundle, threads=os.cpu_count() or 1), validation)
    latency = measure_latency(Predictor(bundle), list(validation.frame["text"]))
    scores = {f"validation_{name}": value for name, value in evaluation.flatten().items()}
    metrics = {**bundle.card.metrics, **scores}
    with mlflow.start_run(run_name=bundle.card.candidate, nested=True) as run:
        card = replace(bundle.card, latency_ms=latency, metrics=metrics, mlflow_run=run.info.run_id)
        mlflow.log_params(
            {
                "candidate": card.candidate,
                "encoder": card.encoder,
                "precision": card.precision,
                "max_tokens": card.max_tokens,
                "dataset": card.dataset,
                "train_rows": card.train_rows,
            }
        )
        mlflow.log_metrics(
            {
                **card.metrics,
                "size_bytes": card.size_bytes,
                "latency_p50_ms": latency["p50"],
                "latency_p95_ms": latency["p95"],
            }
        )
        mlflow.log_figure(plot_confusion(evaluation, f"{card.candidate}, validation"), "confusion_validation.png")
    logger.info(
        "%s: macro F1 %.3f, accuracy %.3f on %d validation rows; %.1f ms a text, %.0f MB",
        card.candidate,
        evaluation.macro_f1,
        evaluation.accuracy,
        evaluation.rows,
        latency["p50"],
        card.size_bytes / 1e6,
    )
    folder = make_scratch_folder()
    copy_bundle(bundle, folder)
    return seal_bundle(folder, card), evaluation


@step(experiment_tracker=True, output_materializers=BundleMaterializer)
def choose_challenger(bundles: list[Bundle], evaluations: list[Evaluation]) -> Annotated[Bundle, "challenger"]:
    """Return the bundle with the best macro F1 on validation; the smaller one where two are equal."""
    ranked = sorted(
        zip(bundles, evaluations, strict=True), key=lambda pair: (-pair[1].macro_f1, pair[0].card.size_bytes)
    )
    bundle, evaluation = ranked[0]
    logger.info("challenger: %s, macro F1 %.3f on validation", bundle.card.candidate, evaluation.macro_f1)
    mlflow.set_tag("challenger", bundle.card.candidate)
    return bundle
