"""The model bundle: a folder with a graph, its tokenizer and a card whose digests seal both.

model.onnx        input_ids, attention_mask (int64, texts x tokens) -> probabilities (texts x labels)
model.onnx.data   the weights of the graph, where they do not lie in it
tokenizer.json    read by the tokenizers library
card.json         what the model is, how it was made, how good it measured, and the digests
signature.json    who decided that it may be served, where that was decided; no part of the digest
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from sentiment.errors import BundleError

MODEL_FILE = "model.onnx"
WEIGHTS_FILE = "model.onnx.data"
TOKENIZER_FILE = "tokenizer.json"
CARD_FILE = "card.json"
SIGNATURE_FILE = "signature.json"
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
    weights_digest: str = ""
    tokenizer_digest: str = ""
    digest: str = ""
    size_bytes: int = 0
    latency_ms: Mapping[str, float] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    mlflow_run: str = ""

    @property
    def digests(self) -> Mapping[str, str]:
        """The files that the card seals, and their SHA-256."""
        weights = {WEIGHTS_FILE: self.weights_digest} if self.weights_digest else {}
        return {MODEL_FILE: self.model_digest, **weights, TOKENIZER_FILE: self.tokenizer_digest}

    @property
    def files(self) -> tuple[str, ...]:
        """The names of all files of the bundle."""
        return (CARD_FILE, *self.digests)


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
    """Write the card over the graph, its weights and the tokenizer already in `folder`; return the sealed bundle."""
    weights = folder / WEIGHTS_FILE
    named = replace(
        card,
        model_digest=digest_file(folder / MODEL_FILE),
        weights_digest=digest_file(weights) if weights.is_file() else "",
        tokenizer_digest=digest_file(folder / TOKENIZER_FILE),
    )
    size_bytes = sum((folder / name).stat().st_size for name in named.digests)
    sealed = replace(named, digest=_digest_answers(named), size_bytes=size_bytes)
    (folder / CARD_FILE).write_text(json.dumps(asdict(sealed), indent=2) + "\n", encoding="utf-8")
    return Bundle(folder, sealed)


def open_bundle(folder: Path) -> Bundle:
    """Return the bundle in `folder`. Raises BundleError when a file is missing, altered or unreadable."""
    _require_files(folder, BUNDLE_FILES)
    card = read_card(folder)
    _require_files(folder, card.files)
    for name, wanted in card.digests.items():
        found = digest_file(folder / name)
        if found != wanted:
            raise BundleError(
                f"{name} in {folder} was altered: its digest is {found[:12]}, the card says {wanted[:12]};"
                " fetch the bundle again from the registry."
            )
    if _digest_answers(card) != card.digest:
        raise BundleError(f"{CARD_FILE} in {folder} was altered; fetch the bundle again from the registry.")
    return Bundle(folder, card)


def copy_bundle(bundle: Bundle, folder: Path) -> None:
    """Copy the files of a bundle, and its signature where it has one, into a folder that is there."""
    signature = (SIGNATURE_FILE,) if (bundle.folder / SIGNATURE_FILE).is_file() else ()
    for name in (*bundle.card.files, *signature):
        shutil.copy(bundle.folder / name, folder / name)


def digest_file(path: Path) -> str:
    """Return the SHA-256 hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_card(folder: Path) -> Card:
    """Return the card in a folder, whose digests nobody has checked. Raises BundleError when it is not readable."""
    path = folder / CARD_FILE
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        known = {item.name for item in fields(Card)}
        card = Card(**{name: value for name, value in found.items() if name in known})
        _require_types(card)
    except (UnicodeDecodeError, json.JSONDecodeError, TypeError, AttributeError) as error:
        raise BundleError(f"{path} is not a readable card; fetch the bundle again from the registry.") from error
    return replace(card, labels=tuple(card.labels))


def _digest_answers(card: Card) -> str:
    """Digest all that decides an answer: two bundles that share it answer alike."""
    threshold = (str(card.uncertain_below),) if card.uncertain_below else ()
    files = card.digests.values()
    parts = (*files, str(card.max_tokens), str(card.texts_per_call), *threshold, *card.labels)
    return hashlib.sha256("\x00".join(parts).encode()).hexdigest()


def _require_files(folder: Path, names: Iterable[str]) -> None:
    for name in names:
        if not (folder / name).is_file():
            raise BundleError(
                f"{folder} is not a model bundle: it has no {name};"
                f" wanted {MODEL_FILE}, {TOKENIZER_FILE} and {CARD_FILE}."
            )


def _require_types(card: Card) -> None:
    """Raise TypeError when a field that decides an answer is of another type than it is read as."""
    texts = (*card.digests.values(), card.digest, card.precision, card.candidate)
    numbers = (card.max_tokens, card.texts_per_call)
    sound = isinstance(card.labels, list) and all(isinstance(label, str) for label in card.labels)
    if not (sound and all(isinstance(text, str) for text in texts) and all(isinstance(n, int) for n in numbers)):
        raise TypeError
    if not isinstance(card.uncertain_below, int | float):
        raise TypeError
