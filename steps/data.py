"""Steps from a dataset's name to its three splits."""

from typing import Annotated

import mlflow
from zenml import step
from zenml.types import HTMLString

from sentiment.config.schema import DatasetSection, SplitSection
from sentiment.data.datasets import Dataset, DatasetSource, find_dataset, load_dataset
from sentiment.data.splitting import split_dataset
from sentiment.data.validation import clean_dataset
from sentiment.reports.html import render_validation
from steps.materializers import DatasetMaterializer


@step(output_materializers=DatasetMaterializer)
def ingest(dataset: DatasetSection) -> Annotated[Dataset, "raw_dataset"]:
    """Return the rows of a dataset as found."""
    return load_dataset(find_source(dataset))


@step(experiment_tracker=True, output_materializers={"clean_dataset": DatasetMaterializer})
def validate(
    raw: Dataset, dataset: DatasetSection
) -> tuple[Annotated[Dataset, "clean_dataset"], Annotated[HTMLString, "validation_report"]]:
    """Return the rows that can train a model and a report on all of them."""
    clean, report = clean_dataset(raw, find_source(dataset))
    page = render_validation(report)
    mlflow.log_params({"dataset": report.dataset, "dataset_digest": report.digest[:16]})
    mlflow.log_metrics({"rows_read": report.rows_read, "rows_kept": report.rows_kept})
    mlflow.log_text(page, "validation_report.html")
    return clean, HTMLString(page)


@step(experiment_tracker=True, output_materializers=DatasetMaterializer)
def split_rows(
    clean: Dataset, split: SplitSection, dataset: DatasetSection
) -> tuple[Annotated[Dataset, "train"], Annotated[Dataset, "validation"], Annotated[Dataset, "holdout"]]:
    """Return the splits by the hash of each text."""
    splits = split_dataset(
        clean,
        validation_share=split.validation_share,
        holdout_share=split.holdout_share,
        train_fraction=dataset.train_fraction,
    )
    for name, rows in (("train", splits.train), ("validation", splits.validation), ("holdout", splits.holdout)):
        mlflow.log_param(f"{name}_digest", rows.digest[:16])
        mlflow.log_metric(f"{name}_rows", len(rows.frame))
    return splits.train, splits.validation, splits.holdout


def find_source(dataset: DatasetSection) -> DatasetSource:
    """Return the source that a configuration names. Raises DatasetError when it is not there."""
    return find_dataset(
        dataset.name,
        text_column=dataset.text_column,
        label_column=dataset.label_column,
        labels=dataset.labels,
        encoding=dataset.encoding,
    )
