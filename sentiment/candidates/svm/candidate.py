"""The `svm` and `svm_smote` candidates: sentence embeddings, an RBF machine, and the graph that answers like both."""

import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

from sentiment.bundle.bundle import MODEL_FILE, TOKENIZER_FILE
from sentiment.candidates.contract import TrainedCandidate, TrainingContext, TrainingSplits, choose_precision
from sentiment.candidates.shared.embeddings import embed_reference, embed_texts
from sentiment.candidates.shared.encoder import TEXTS_PER_CALL, Encoder, prepare_encoder
from sentiment.candidates.svm.model import SvmModel, SvmSettings, fit_svm
from sentiment.candidates.svm.onnx_head import export_svm
from sentiment.errors import EncoderError
from sentiment.evaluation.predictions import measure_macro_f1

PARITY_ROWS = 500
MAX_PARITY_GAP = 1e-4


def train_svm(candidate: str, splits: TrainingSplits, context: TrainingContext, folder: Path) -> TrainedCandidate:
    """Return the machine fitted on train and calibrated on validation, its graph checked against it.

    Raises EncoderError when the export does not answer alike.
    """
    section, store = context.encoder, context.state.embeddings
    encoder = prepare_encoder(section.source, context.state.encoders, max_tokens=section.max_tokens)
    texts = splits.validation_texts
    embedded = "fp32" if section.precision == "fp32" else "int8"
    held_out = {embedded: embed_texts(texts, encoder, embedded, store)}
    rows = embed_texts(splits.train_texts, encoder, embedded, store)
    started = time.perf_counter()
    model = fit_svm(
        rows,
        splits.train_targets,
        splits.labels,
        SvmSettings(seed=context.training.seed, **context.training.svm.model_dump()),
        smote=candidate == "svm_smote",
        calibration=(held_out[embedded], splits.validation_targets),
    )
    seconds = time.perf_counter() - started
    if section.precision == "auto":
        held_out["fp32"] = embed_texts(texts, encoder, "fp32", store)
    f1 = {
        name: measure_macro_f1(splits.validation_targets, model.predict_probabilities(vectors))
        for name, vectors in held_out.items()
    }
    precision = choose_precision(candidate, f1, section.max_int8_loss)
    gap = measure_parity(model, encoder, texts[:PARITY_ROWS], store)
    export_svm(model, encoder.graph(precision), folder / MODEL_FILE)
    shutil.copy(encoder.tokenizer, folder / TOKENIZER_FILE)
    return TrainedCandidate(
        base=section.name,
        max_tokens=section.max_tokens,
        precision=precision,
        texts_per_call=TEXTS_PER_CALL[precision],
        probabilities=model.predict_probabilities(held_out[precision]).astype(np.float32),
        metrics={
            "training_seconds": round(seconds, 3),
            "parity_gap": gap,
            **{f"validation_macro_f1_{name}": value for name, value in f1.items()},
        },
    )


def measure_parity(model: SvmModel, encoder: Encoder, texts: list[str], store: Path) -> float:
    """Return the largest gap between the fp32 graph's probabilities and those of the model that it was made from.

    The other side of the comparison is sentence-transformers with the original weights, then scaler,
    machine and calibration in double precision. Raises EncoderError above 1e-4.
    """
    expected = model.predict_probabilities(embed_reference(texts, encoder, store))
    with tempfile.TemporaryDirectory() as scratch:
        graph = Path(scratch) / MODEL_FILE
        export_svm(model, encoder.graph("fp32"), graph)
        gap = float(np.abs(encoder.open_graph("fp32", graph).run(texts).outputs - expected).max())
    if gap > MAX_PARITY_GAP:
        raise EncoderError(
            f"the exported graph differs from the fitted model by {gap:.1e} on {len(texts)} texts, more than"
            f" {MAX_PARITY_GAP:.0e}; delete the encoders in the state folder so that they are exported again."
        )
    return gap
