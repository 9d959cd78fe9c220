"""Steps that fetch models by name and measure several of them on one dataset."""

import logging
import os
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import mlflow
from zenml import step
from zenml.types import HTMLString

from release.mlflow_registry import find_bundle
from sentiment.bundle.bundle import Bundle
from sentiment.bundle.predictor import Predictor
from sentiment.config.schema import DatasetSection, SplitSection
from sentiment.data.datasets import Dataset, load_dataset
from sentiment.data.splitting import sample_rows, split_dataset
from sentiment.data.validation import clean_dataset
from sentiment.database.evaluations import EvaluationRecord, append_evaluations
from sentiment.database.url import locate_database
from sentiment.evaluation.behaviour import BehaviourReport, read_cases, run_cases
from sentiment.evaluation.comparison import ModelComparison, compare_predictions
from sentiment.evaluation.predictions import Predictions, predict_rows
from sentiment.governance.ledger import stamp_time
from sentiment.reports.html import Scored, render_evaluation, render_validation, score_model
from steps.data import find_source
from steps.materializers import BundleMaterializer, DatasetMaterializer, PredictionsMaterializer, RecordMaterializer

RESAMPLES = 10_000
CONFIDENCE = 0.95

logger = logging.getLogger(__name__)


@step(output_materializers={"bundle": BundleMaterializer}, enable_cache=False)
def fetch_model(model: str) -> tuple[Annotated[Bundle, "bundle"], Annotated[str, "version"]]:
    """Return a bundle by registry version, alias or folder, and its version; none for a folder."""
    bundle, version = find_bundle(model)
    return bundle, version


@step(output_materializers={"rows": DatasetMaterializer})
def load_rows(
    dataset: DatasetSection, split: SplitSection, rows: str, sample: int, seed: int
) -> tuple[Annotated[Dataset, "rows"], Annotated[HTMLString, "validation_report"]]:
    """Return the clean rows, or those of the holdout, or a seeded sample of these, and the validation report."""
    source = find_source(dataset)
    clean, report = clean_dataset(load_dataset(source), source)
    if rows == "holdout":
        clean = split_dataset(clean, validation_share=split.validation_share, holdout_share=split.holdout_share).holdout
    chosen = sample_rows(clean, sample, seed) if sample else clean
    return chosen, HTMLString(render_validation(report))


@step(output_materializers={"answers": PredictionsMaterializer, "behaviour": RecordMaterializer})
def answer_dataset(
    bundle: Bundle, rows: Dataset
) -> tuple[Annotated[Predictions, "answers"], Annotated[BehaviourReport, "behaviour"]]:
    """Return what a model says to the rows, and how it behaves on the behavioural cases."""
    predictor = Predictor(bundle, threads=os.cpu_count() or 1)
    return predict_rows(predictor, rows), run_cases(predictor, read_cases())


@step(experiment_tracker=True, enable_cache=False)
def report_models(
    models: list[str],
    versions: list[str],
    bundles: list[Bundle],
    answers: list[Predictions],
    behaviours: list[BehaviourReport],
    rows: Dataset,
    chosen: str,
    seed: int,
) -> Annotated[HTMLString, "evaluation_report"]:
    """Return the report on several models and one dataset; the scores go to MLflow and to the table."""
    scored = [
        score_model(name, bundle, said, behaviour, resamples=RESAMPLES, confidence=CONFIDENCE, seed=seed)
        for name, bundle, said, behaviour in zip(models, bundles, answers, behaviours, strict=True)
    ]
    for item in scored:
        if chosen == "all" and item.card.dataset == rows.name:
            logger.warning(
                "%s was trained on rows of %r, so that its scores there are too good; --rows holdout leaves them out",
                item.name,
                rows.name,
            )
    records = [record_model(item, version, rows) for item, version in zip(scored, versions, strict=True)]
    append_evaluations(locate_database(), records)
    comparisons = compare_with_first(scored, seed)
    page = render_evaluation(scored, rows, comparisons)
    mlflow.log_text(page, f"evaluation_{rows.name}.html")
    return HTMLString(page)


def compare_with_first(scored: list[Scored], seed: int) -> list[tuple[str, ModelComparison]]:
    """Return each further model's paired comparison with the first, where both know the same labels."""
    first = scored[0]
    found = []
    for item in scored[1:]:
        if set(item.predictions.labels) != set(first.predictions.labels):
            logger.warning("%s and %s know other labels, so that they are not compared", item.name, first.name)
            continue
        comparison = compare_predictions(
            first.predictions,
            item.predictions.reorder(first.predictions.labels),
            resamples=RESAMPLES,
            confidence=CONFIDENCE,
            seed=seed,
        )
        difference = comparison.difference
        logger.info(
            "%s against %s: macro F1 %+.3f (%+.3f to %+.3f), exact McNemar p %.2g",
            *(item.name, first.name, difference.value, difference.low, difference.high, comparison.mcnemar_p),
        )
        found.append((item.name, comparison))
    return found


def record_model(item: Scored, version: str, rows: Dataset) -> EvaluationRecord:
    """Return the record for the table, after MLflow has the same in a run of its own."""
    evaluation = item.evaluation
    with mlflow.start_run(run_name=f"{item.name} on {rows.name}", nested=True) as run:
        digests = {"bundle_digest": item.card.digest[:16], "dataset_digest": rows.digest[:16]}
        mlflow.log_params({"model": item.name, "candidate": item.card.candidate, "dataset": rows.name, **digests})
        mlflow.log_metrics({**evaluation.flatten(), "rows": evaluation.rows})
    record = EvaluationRecord(
        at=stamp_time(datetime.now(UTC)),
        model=item.name,
        version=version or None,
        candidate=item.card.candidate,
        bundle_digest=item.card.digest,
        dataset=rows.name,
        dataset_digest=rows.digest,
        rows=evaluation.rows,
        macro_f1=evaluation.macro_f1,
        macro_f1_low=item.interval.low,
        macro_f1_high=item.interval.high,
        accuracy=evaluation.accuracy,
        macro_precision=evaluation.macro_precision,
        macro_recall=evaluation.macro_recall,
        calibration_error=evaluation.calibration_error,
        run=run.info.run_id,
    )
    logger.info(
        "%(model)s on %(dataset)s: macro F1 %(macro_f1).3f (%(macro_f1_low).3f to %(macro_f1_high).3f), macro recall"
        " %(macro_recall).3f, accuracy %(accuracy).3f, calibration error %(calibration_error).3f on %(rows)d rows",
        asdict(record),
    )
    return record
