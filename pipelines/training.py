"""The training pipeline: from a dataset's name to a gated model in production."""

from zenml.enums import ExecutionMode

from pipelines.guarded import GuardedPipeline
from sentiment.config import Candidate, DatasetSection, EncoderSection, GateSection, SplitSection, TrainingSection
from steps.data import ingest, split_rows, validate
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
    model_deployer(challenger, holdout, bundles, answers, behaviours, validation, gate, training.seed)


training_pipeline = GuardedPipeline(
    name="training_pipeline", entrypoint=train_and_deploy, execution_mode=ExecutionMode.FAIL_FAST
)
