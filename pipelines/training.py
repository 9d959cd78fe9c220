"""The training pipeline: from a dataset's name to a gated model in production."""

from pathlib import Path

from pipelines.base import GuardedPipeline
from sentiment.config.reader import read_config
from sentiment.config.schema import (
    Candidate,
    DatasetSection,
    EncoderSection,
    GateSection,
    PromotionSection,
    SplitSection,
    TrainingSection,
)
from steps.data import find_source, ingest, split_rows, validate
from steps.deployment import model_deployer
from steps.evaluation import choose_challenger, evaluate_candidate
from steps.training import train_candidate


def train_and_deploy(
    dataset: DatasetSection,
    split: SplitSection,
    encoder: EncoderSection,
    candidates: list[Candidate],
    training: TrainingSection,
    gate: GateSection,
    promotion: PromotionSection,
) -> None:
    """Train the candidates side by side, gate the best one, and deploy it when it passes."""
    raw = ingest(dataset)
    clean, _ = validate(raw, dataset)
    train, validation, holdout = split_rows(clean, split, dataset)
    bundles, answers, behaviours = [], [], []
    for candidate in candidates:
        trained = train_candidate(
            candidate, clean, train, validation, holdout, encoder, training, id=f"train_{candidate}"
        )
        bundle, answered, behaviour = evaluate_candidate(trained, validation, id=f"evaluate_{candidate}")
        bundles.append(bundle)
        answers.append(answered)
        behaviours.append(behaviour)
    challenger = choose_challenger(bundles, answers)
    model_deployer(challenger, holdout, bundles, answers, behaviours, validation, gate, promotion, training.seed)


def check_config(path: Path) -> None:
    """Raise ConfigError or DatasetError when the file would not make a run."""
    find_source(read_config(path).dataset)


training_pipeline = GuardedPipeline("training_pipeline", train_and_deploy, check_config)
