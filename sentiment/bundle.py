"""The model bundle: a folder with a graph, its tokenizer and a card whose digests seal both.

model.onnx       input_ids, attention_mask (int64, texts x tokens) -> probabilities (texts x labels)
tokenizer.json   read by the tokenizers library
card.json        what the model is, how it was made, how good it measured, and the digests
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from sentiment.errors import BundleError

MODEL_FILE = "model.onnx"
TOKENIZER_FILE = "tokenizer.json"
CARD_FILE = "card.json"
BUNDLE_FILES = (CARD_FILE, MODEL_FILE, TOKENIZER_FILE)


@dataclass(frozen=True)
class Card:
    """What a bundle says of itself; `labels` are in the order of the columns of the probabilities.

    `texts_per_call` is 1 for int8: its activations are scaled per call, so that texts which share a
    call change each other's answers.
    """

    labels: tuple[str, ...]
    max_tokens: int
    candidate: str
    encoder: str
    precision: str
    texts_per_call: int
    dataset: str
    dataset_digest: str
    holdout_digest: str
    train_rows: int
    created_at: str
    uncertain_below: float = 0.0
    model_digest: str = ""
    tokenizer_digest: str = ""
    digest: str = ""
    size_bytes: int = 0
    latency_ms: Mapping[str, float] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    mlflow_run: str = ""


@dataclass(frozen=True)
class Bundle:
    """A folder whose files were checked against the digests in its card."""

    folder: Path
    card: Card

    @property
    def model(self) -> Path:
        return self.folder / MODEL_FILE

    @property
    def tokenizer(self) -> Path:
        return self.folder / TOKENIZER_FILE


def seal_bundle(folder: Path, card: Card) -> Bundle:
    """Write the card over the graph and the tokenizer already in `folder`; return the sealed bundle."""
    model_digest = digest_file(folder / MODEL_FILE)
    tokenizer_digest = digest_file(folder / TOKENIZER_FILE)
    sealed = replace(
        card,
        model_digest=model_digest,
        tokenizer_digest=tokenizer_digest,
        digest=_digest_answers(card, model_digest, tokenizer_digest),
        size_bytes=(folder / MODEL_FILE).stat().st_size + (folder / TOKENIZER_FILE).stat().st_size,
    )
    (folder / CARD_FILE).write_text(json.dumps(asdict(sealed), indent=2) + "\n", encoding="utf-8")
    return Bundle(folder, sealed)


def open_bundle(folder: Path) -> Bundle:
    """Return the bundle in `folder`. Raises BundleError when a file is missing, altered or unreadable."""
    for name in BUNDLE_FILES:
        if not (folder / name).is_file():
            raise BundleError(
                f"{folder} is not a model bundle: it has no {name};"
                f" wanted {MODEL_FILE}, {TOKENIZER_FILE} and {CARD_FILE}."
            )
    card = _read_card(folder / CARD_FILE)
    for name, wanted in ((MODEL_FILE, card.model_digest), (TOKENIZER_FILE, card.tokenizer_digest)):
        found = digest_file(folder / name)
        if found != wanted:
            raise BundleError(
                f"{name} in {folder} was altered: its digest is {found[:12]}, the card says {wanted[:12]};"
                " fetch the bundle again from the registry."
            )
    if _digest_answers(card, card.model_digest, card.tokenizer_digest) != card.digest:
        raise BundleError(f"{CARD_FILE} in {folder} was altered; fetch the bundle again from the registry.")
    return Bundle(folder, card)


def copy_bundle(bundle: Bundle, folder: Path) -> None:
    """Copy the files of a bundle into a folder that is there."""
    for name in BUNDLE_FILES:
        shutil.copy(bundle.folder / name, folder / name)


def digest_file(path: Path) -> str:
    """Return the SHA-256 hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest_answers(card: Card, model_digest: str, tokenizer_digest: str) -> str:
    """Digest all that decides an answer: two bundles that share it answer alike."""
    threshold = (str(card.uncertain_below),) if card.uncertain_below else ()
    parts = (model_digest, tokenizer_digest, str(card.max_tokens), str(card.texts_per_call), *threshold, *card.labels)
    return hashlib.sha256("\x00".join(parts).encode()).hexdigest()


def _read_card(path: Path) -> Card:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        known = {item.name for item in fields(Card)}
        card = Card(**{name: value for name, value in found.items() if name in known})
        _require_types(card)
    except (UnicodeDecodeError, json.JSONDecodeError, TypeError, AttributeError) as error:
        raise BundleError(f"{path} is not a readable card; fetch the bundle again from the registry.") from error
    return replace(card, labels=tuple(card.labels))


def _require_types(card: Card) -> None:
    """Raise TypeError when a field that decides an answer is of another type than it is read as."""
    texts = (card.model_digest, card.tokenizer_digest, card.digest, card.precision, card.candidate)
    numbers = (card.max_tokens, card.texts_per_call)
    sound = isinstance(card.labels, list) and all(isinstance(label, str) for label in card.labels)
    if not (sound and all(isinstance(text, str) for text in texts) and all(isinstance(n, int) for n in numbers)):
        raise TypeError
    if not isinstance(card.uncertain_below, int | float):
        raise TypeError
