"""The step that trains one candidate and exports it as a bundle."""

from typing import Annotated

from zenml import step

from sentiment.bundle import Bundle
from sentiment.candidates import Workbench, train_svm_candidate
from sentiment.config import EncoderSection, TrainingSection
from sentiment.datasets import Dataset
from sentiment.encoder import prepare_encoder
from sentiment.state import locate_state, make_scratch_folder
from sentiment.svm import SvmSettings
from steps.materializers import BundleMaterializer


@step(output_materializers=BundleMaterializer)
def train_candidate(
    candidate: str,
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
    state = locate_state()
    bench = Workbench(
        encoder=prepare_encoder(encoder.source, state.encoders, max_tokens=encoder.max_tokens),
        encoder_name=encoder.name,
        embeddings=state.embeddings,
        precision=encoder.precision,
        max_int8_loss=encoder.max_int8_loss,
    )
    settings = SvmSettings(training.c, training.gamma, training.smote_neighbours, training.seed)
    return train_svm_candidate(
        candidate,
        train,
        validation,
        settings,
        bench,
        make_scratch_folder(),
        dataset_digest=clean.digest,
        holdout_digest=holdout.digest,
    )
