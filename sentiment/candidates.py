"""Training a candidate by name: from the two training sides to a sealed bundle that kept its quality."""

import logging
import shutil
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
from sklearn.metrics import f1_score

from sentiment.bundle import MODEL_FILE, TOKENIZER_FILE, Bundle, Card, seal_bundle
from sentiment.datasets import Dataset
from sentiment.embeddings import embed_reference, embed_texts
from sentiment.encoder import TEXTS_PER_CALL, Encoder
from sentiment.errors import DatasetError, EncoderError
from sentiment.evaluation import encode_labels
from sentiment.head import export_svm
from sentiment.svm import SvmModel, SvmSettings, fit_svm
from sentiment.validation import order_labels

PARITY_ROWS = 500
MAX_PARITY_GAP = 1e-4
VERSIONED = ("onnxruntime", "scikit-learn", "tokenizers", "numpy")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Workbench:
    """What every candidate is made with: the encoder, its name, and where embeddings are kept."""

    encoder: Encoder
    encoder_name: str
    embeddings: Path
    precision: str
    max_int8_loss: float


def train_svm_candidate(
    candidate: str,
    train: Dataset,
    validation: Dataset,
    settings: SvmSettings,
    bench: Workbench,
    folder: Path,
    *,
    dataset_digest: str,
    holdout_digest: str,
) -> Bundle:
    """Return the sealed bundle of `svm` or `svm_smote` in `folder`, calibrated and checked against its source.

    Raises DatasetError when a side lacks a class, EncoderError when the export does not answer alike.
    """
    labels = order_labels(set(train.frame["label"]) | set(validation.frame["label"]))
    _require_every_class(train, validation, labels)
    targets, held_out_targets = encode_labels(train, labels), encode_labels(validation, labels)
    embedded = "fp32" if bench.precision == "fp32" else "int8"
    texts, held_out_texts = list(train.frame["text"]), list(validation.frame["text"])
    rows = embed_texts(texts, bench.encoder, embedded, bench.embeddings)
    held_out = embed_texts(held_out_texts, bench.encoder, embedded, bench.embeddings)
    started = time.perf_counter()
    model = fit_svm(
        rows, targets, labels, settings, smote=candidate == "svm_smote", calibration=(held_out, held_out_targets)
    )
    seconds = time.perf_counter() - started
    f1 = {embedded: _score(model, held_out, held_out_targets)}
    if bench.precision == "auto":
        f1["fp32"] = _score(
            model, embed_texts(held_out_texts, bench.encoder, "fp32", bench.embeddings), held_out_targets
        )
        precision = choose_precision(f1["int8"], f1["fp32"], bench.max_int8_loss)
    else:
        precision = bench.precision
    measured = ", ".join(f"{value:.3f} in {name}" for name, value in f1.items())
    logger.info("%s: macro F1 on validation %s; took %s", candidate, measured, precision)
    gap = measure_parity(model, bench, held_out_texts[:PARITY_ROWS])
    folder.mkdir(parents=True, exist_ok=True)
    export_svm(model, bench.encoder.graph(precision), folder / MODEL_FILE)
    shutil.copy(bench.encoder.tokenizer, folder / TOKENIZER_FILE)
    card = Card(
        labels=labels,
        max_tokens=bench.encoder.max_tokens,
        candidate=candidate,
        encoder=bench.encoder_name,
        precision=precision,
        texts_per_call=TEXTS_PER_CALL[precision],
        dataset=train.name,
        dataset_digest=dataset_digest,
        holdout_digest=holdout_digest,
        train_rows=len(texts),
        created_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        metrics={
            "training_seconds": round(seconds, 3),
            "parity_gap": gap,
            **{f"validation_macro_f1_{name}": value for name, value in f1.items()},
        },
        versions={name: version(name) for name in VERSIONED},
    )
    return seal_bundle(folder, card)


def choose_precision(int8_f1: float, fp32_f1: float, max_loss: float) -> str:
    """Return int8 where its macro F1 keeps within `max_loss` of that of fp32."""
    return "int8" if int8_f1 >= fp32_f1 - max_loss else "fp32"


def measure_parity(model: SvmModel, bench: Workbench, texts: list[str]) -> float:
    """Return the largest gap between the fp32 graph's probabilities and those of scikit-learn.

    The other side of the comparison is sentence-transformers with the original weights, the scaler,
    the machine and the calibration in Python. Raises EncoderError above 1e-4.
    """
    expected = model.predict_probabilities(embed_reference(texts, bench.encoder, bench.embeddings))
    with tempfile.TemporaryDirectory() as scratch:
        graph = Path(scratch) / MODEL_FILE
        export_svm(model, bench.encoder.graph("fp32"), graph)
        gap = float(np.abs(bench.encoder.open_graph("fp32", graph).run(texts).outputs - expected).max())
    if gap > MAX_PARITY_GAP:
        raise EncoderError(
            f"the exported graph differs from scikit-learn by {gap:.1e} on {len(texts)} texts, more than"
            f" {MAX_PARITY_GAP:.0e}; delete the encoders in the state folder so that they are exported again."
        )
    return gap


def _score(model: SvmModel, embeddings: np.ndarray, targets: np.ndarray) -> float:
    return float(f1_score(targets, model.predict_probabilities(embeddings).argmax(axis=1), average="macro"))


def _require_every_class(train: Dataset, validation: Dataset, labels: tuple[str, ...]) -> None:
    for side, rows in (("training", train), ("validation", validation)):
        counts = rows.frame["label"].value_counts()
        for label in labels:
            if label not in counts.index:
                raise DatasetError(
                    f"the {side} side of dataset {train.name!r} has no row of the class {label!r}"
                    f" ({len(rows.frame)} rows in all); add rows of that class, or raise dataset.train_fraction."
                )
