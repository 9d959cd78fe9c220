"""The step that trains one candidate and exports it as a bundle."""

from collections.abc import Mapping
from typing import Annotated

import mlflow
from zenml import step

from sentiment.bundle.bundle import Bundle
from sentiment.candidates.contract import TrainingContext, TrainingSplits
from sentiment.candidates.train import train_bundle
from sentiment.config.schema import Candidate, EncoderSection, TrainingSection
from sentiment.data.datasets import Dataset
from sentiment.paths import locate_state, make_scratch_folder
from steps.materializers import BundleMaterializer


@step(experiment_tracker=True, output_materializers=BundleMaterializer)
def train_candidate(
    candidate: Candidate,
    clean: Dataset,
    train: Dataset,
    validation: Dataset,
    holdout: Dataset,
    encoder: EncoderSection,
    training: TrainingSection,
) -> Annotated[Bundle, "bundle"]:
    """Return the bundle of one candidate, fitted on train and calibrated on validation.

    The holdout gives its digest to the card; its texts and labels are not looked at.
    """

    def report(metrics: Mapping[str, float], at: int) -> None:
        mlflow.log_metrics({f"{candidate}/{name}": value for name, value in metrics.items()}, step=at)

    context = TrainingContext(encoder, training, locate_state(), report)
    splits = TrainingSplits(train, validation, clean.digest, holdout.digest)
    return train_bundle(candidate, splits, context, make_scratch_folder())
