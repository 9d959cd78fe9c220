"""Training a candidate by name: from the two training sides to a sealed bundle that kept its quality."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import cast

from sentiment.bundle import MODEL_FILE, Bundle, Card, seal_bundle
from sentiment.calibration import choose_threshold
from sentiment.candidates.draft import Draft, Recipe, Sides
from sentiment.config import Candidate
from sentiment.export import move_weights
from sentiment.ledger import stamp_time

VERSIONED = ("numpy", "onnxruntime", "scikit-learn", "tokenizers", "torch", "transformers")
MAKERS: Mapping[Candidate, tuple[str, str]] = {
    "tfidf": ("tfidf", "draft_tfidf"),
    "svm": ("svm", "draft_svm"),
    "svm_smote": ("svm", "draft_svm"),
    "transformer": ("transformer", "draft_transformer"),
    "lora": ("transformer", "draft_transformer"),
    "cascade": ("cascade", "draft_cascade"),
}

Maker = Callable[[str, Sides, Recipe, Path], Draft]


def train_candidate(candidate: Candidate, sides: Sides, recipe: Recipe, folder: Path) -> Bundle:
    """Return the sealed bundle of a candidate, made in an empty `folder` and left there with nothing beside it.

    Raises DatasetError when a side lacks a class, EncoderError when a base model is missing or an export does
    not answer like its source, TrainingError when the model cannot be fitted.
    """
    labels = sides.labels
    module, name = MAKERS[candidate]
    make = cast(Maker, getattr(import_module(f"sentiment.candidates.{module}"), name))
    draft = make(candidate, sides, recipe, folder)
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
