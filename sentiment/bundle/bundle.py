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
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError

from sentiment.errors import BundleError

MODEL_FILE = "model.onnx"
WEIGHTS_FILE = "model.onnx.data"
TOKENIZER_FILE = "tokenizer.json"
CARD_FILE = "card.json"
SIGNATURE_FILE = "signature.json"
BUNDLE_FILES = (CARD_FILE, MODEL_FILE, TOKENIZER_FILE)
MAX_CARD_BYTES = 1_000_000
MAX_WORD_CHARS = 500


def require_printable(text: str) -> str:
    """Return the text. Raises ValueError where it has a control character or half a character."""
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in text):
        raise ValueError("it has a control character")
    return text


def require_distinct(labels: tuple[str, ...]) -> tuple[str, ...]:
    """Return the labels. Raises ValueError where two are the same."""
    if len(set(labels)) < len(labels):
        raise ValueError("two labels are the same")
    return labels


Word = Annotated[str, Field(max_length=MAX_WORD_CHARS), AfterValidator(require_printable)]
Label = Annotated[str, Field(min_length=1, max_length=MAX_WORD_CHARS), AfterValidator(require_printable)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Measures = Annotated[Mapping[Word, float], Field(max_length=1000)]


@dataclass(frozen=True)
class Card:
    """What a bundle says of itself; `labels` are in the order of the columns of the probabilities.

    `texts_per_call` is 1 for int8: its activations are scaled per call, so that texts which share a
    call change each other's answers.
    """

    __pydantic_config__: ClassVar = ConfigDict(strict=True, allow_inf_nan=False, extra="ignore")

    labels: Annotated[tuple[Label, ...], Field(min_length=2, max_length=1000), AfterValidator(require_distinct)]
    max_tokens: Annotated[int, Field(ge=2, le=65_536)]
    candidate: Word
    encoder: Word
    precision: Word
    texts_per_call: Annotated[int, Field(ge=1, le=65_536)]
    dataset: Word
    dataset_digest: Word
    holdout_digest: Word
    train_rows: Annotated[int, Field(ge=0, le=2**53)]
    created_at: Word
    uncertain_below: Annotated[int | float, Field(ge=0, le=2)] = 0.0  # above 1 no confidence reaches it
    model_digest: Digest = ""
    weights_digest: Digest | Literal[""] = ""
    tokenizer_digest: Digest = ""
    digest: Digest = ""
    size_bytes: Annotated[int, Field(ge=0, le=2**53)] = 0
    latency_ms: Measures = field(default_factory=dict)
    metrics: Measures = field(default_factory=dict)
    versions: Annotated[Mapping[Word, Word], Field(max_length=1000)] = field(default_factory=dict)
    mlflow_run: Word = ""

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
    """Return the card in a folder, whose digests nobody has checked. Raises BundleError that names what is amiss."""
    path = folder / CARD_FILE
    try:
        with path.open("rb") as file:
            content = file.read(MAX_CARD_BYTES + 1)
    except OSError as error:
        raise BundleError(
            f"{path} cannot be read ({error.strerror}); fetch the bundle again from the registry."
        ) from error
    if len(content) > MAX_CARD_BYTES:
        raise BundleError(f"{path} has over {MAX_CARD_BYTES:,} bytes, the limit of a card; name another bundle.")
    try:
        return _card_reader().validate_json(content)
    except ValidationError as error:
        mistake = error.errors(include_url=False)[0]
        said = "is not a readable card"
        if mistake["loc"]:
            seen = "" if mistake["type"] == "missing" else f" is {mistake['input']!r:.40}"
            said = f"is not a sound card: {mistake['loc'][0]}{seen}: {mistake['msg'].lower()}"
        raise BundleError(f"{path} {said}; fetch the bundle again from the registry.") from error


@cache
def _card_reader() -> TypeAdapter[Card]:
    return TypeAdapter(Card)


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
