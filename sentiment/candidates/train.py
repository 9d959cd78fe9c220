"""Training a candidate by name: from the two training splits to a sealed bundle that kept its quality."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from sentiment.bundle.bundle import MODEL_FILE, Bundle, Card, seal_bundle
from sentiment.candidates.contract import TrainedCandidate, TrainingContext, TrainingSplits
from sentiment.candidates.shared.onnx_export import move_weights
from sentiment.config.schema import Candidate
from sentiment.evaluation.calibration import choose_threshold
from sentiment.governance.ledger import stamp_time

VERSIONED = ("numpy", "onnxruntime", "scikit-learn", "tokenizers", "torch", "transformers")
Maker = Callable[[str, TrainingSplits, TrainingContext, Path], TrainedCandidate]


def _make_tfidf(candidate: str, splits: TrainingSplits, context: TrainingContext, folder: Path) -> TrainedCandidate:
    from sentiment.candidates.tfidf import train_tfidf

    return train_tfidf(candidate, splits, context, folder)


def _make_svm(candidate: str, splits: TrainingSplits, context: TrainingContext, folder: Path) -> TrainedCandidate:
    from sentiment.candidates.svm.candidate import train_svm

    return train_svm(candidate, splits, context, folder)


def _make_transformer(
    candidate: str, splits: TrainingSplits, context: TrainingContext, folder: Path
) -> TrainedCandidate:
    from sentiment.candidates.transformer.candidate import train_transformer

    return train_transformer(candidate, splits, context, folder)


def _make_cascade(candidate: str, splits: TrainingSplits, context: TrainingContext, folder: Path) -> TrainedCandidate:
    from sentiment.candidates.cascade.candidate import train_cascade

    return train_cascade(candidate, splits, context, folder)


MAKERS: Mapping[Candidate, Maker] = {  # each imports its libraries when it is called
    "tfidf": _make_tfidf,
    "svm": _make_svm,
    "svm_smote": _make_svm,
    "transformer": _make_transformer,
    "lora": _make_transformer,
    "cascade": _make_cascade,
}


def train_bundle(candidate: Candidate, splits: TrainingSplits, context: TrainingContext, folder: Path) -> Bundle:
    """Return the sealed bundle of a candidate, made in an empty `folder` and left there with nothing beside it.

    Raises DatasetError when a split lacks a class, EncoderError when a base model is missing or an export does
    not answer like its source, TrainingError when the model cannot be fitted.
    """
    labels = splits.labels
    trained = MAKERS[candidate](candidate, splits, context, folder)
    correct = trained.probabilities.argmax(axis=1) == splits.validation_targets
    threshold = choose_threshold(
        trained.probabilities.max(axis=1).astype(float), correct, context.training.uncertain_precision
    )
    card = Card(
        labels=labels,
        max_tokens=trained.max_tokens,
        candidate=candidate,
        encoder=trained.base,
        precision=trained.precision,
        texts_per_call=trained.texts_per_call,
        uncertain_below=threshold,
        dataset=splits.train.name,
        dataset_digest=splits.dataset_digest,
        holdout_digest=splits.holdout_digest,
        train_rows=len(splits.train.frame),
        created_at=stamp_time(datetime.now(UTC)),
        metrics=trained.metrics,
        versions={package: version(package) for package in VERSIONED},
    )
    move_weights(folder / MODEL_FILE)
    return seal_bundle(folder, card)
