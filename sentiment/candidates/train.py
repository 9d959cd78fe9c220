"""Training a candidate by name: from the two training sides to a sealed bundle that kept its quality."""

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
    from sentiment.candidates.tfidf import draft_tfidf

    return draft_tfidf(candidate, splits, context, folder)


def _make_svm(candidate: str, splits: TrainingSplits, context: TrainingContext, folder: Path) -> TrainedCandidate:
    from sentiment.candidates.svm.candidate import draft_svm

    return draft_svm(candidate, splits, context, folder)


def _make_transformer(
    candidate: str, splits: TrainingSplits, context: TrainingContext, folder: Path
) -> TrainedCandidate:
    from sentiment.candidates.transformer.candidate import draft_transformer

    return draft_transformer(candidate, splits, context, folder)


def _make_cascade(candidate: str, splits: TrainingSplits, context: TrainingContext, folder: Path) -> TrainedCandidate:
    from sentiment.candidates.cascade.candidate import draft_cascade

    return draft_cascade(candidate, splits, context, folder)


MAKERS: Mapping[Candidate, Maker] = {  # each imports its libraries when it is called
    "tfidf": _make_tfidf,
    "svm": _make_svm,
    "svm_smote": _make_svm,
    "transformer": _make_transformer,
    "lora": _make_transformer,
    "cascade": _make_cascade,
}


def train_candidate(candidate: Candidate, sides: TrainingSplits, recipe: TrainingContext, folder: Path) -> Bundle:
    """Return the sealed bundle of a candidate, made in an empty `folder` and left there with nothing beside it.

    Raises DatasetError when a side lacks a class, EncoderError when a base model is missing or an export does
    not answer like its source, TrainingError when the model cannot be fitted.
    """
    labels = sides.labels
    draft = MAKERS[candidate](candidate, sides, recipe, folder)
    correct = draft.probabilities.argmax(axis=1) == sides.validation_targets
    threshold = choose_threshold(
        draft.probabilities.max(axis=1).astype(float), correct, recipe.training.uncertain_precision
    )
    card = Card(
        labels=labels,
        max_tokens=draft.max_tokens,
        candidate=candidate,
        encoder=draft.base,
        precision=draft.precision,
        texts_per_call=draft.texts_per_call,
        uncertain_below=threshold,
        dataset=sides.train.name,
        dataset_digest=sides.dataset_digest,
        holdout_digest=sides.holdout_digest,
        train_rows=len(sides.train.frame),
        created_at=stamp_time(datetime.now(UTC)),
        metrics=draft.metrics,
        versions={package: version(package) for package in VERSIONED},
    )
    move_weights(folder / MODEL_FILE)
    return seal_bundle(folder, card)
