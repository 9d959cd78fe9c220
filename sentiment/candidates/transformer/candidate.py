"""The `transformer` and `lora` candidates: an encoder fine-tuned with a classification head, as one graph."""

import logging
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from scipy.special import softmax

from sentiment.bundle.bundle import MODEL_FILE, TOKENIZER_FILE
from sentiment.bundle.onnx_session import Floats, TextGraph
from sentiment.candidates.contract import TrainedCandidate, TrainingContext, TrainingSplits, choose_precision
from sentiment.candidates.shared.encoder import TEXTS_PER_CALL, find_encoder
from sentiment.candidates.shared.onnx_export import add_calibration, export_module, quantise
from sentiment.candidates.shared.progress import Progress
from sentiment.candidates.transformer.classifier import LoraSettings, TextClassifier, load_tokenizer
from sentiment.candidates.transformer.finetuning import FineTuned, fine_tune
from sentiment.candidates.transformer.trainer import FineTuneSettings, LabelledTexts
from sentiment.errors import EncoderError
from sentiment.evaluation.calibration import Calibrator, fit_calibrator
from sentiment.evaluation.predictions import measure_macro_f1

PARITY_ROWS = 200
MAX_PARITY_GAP = 1e-4
TEXTS_PER_CHUNK = 256

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TunedGraph:
    """A fine-tuned model as a graph to logits in the precision that was chosen, and what it says to validation.

    `probabilities` are the calibrated ones, rows x labels.
    """

    tuned: FineTuned
    graph: Path
    tokenizer: Path
    precision: str
    calibrator: Calibrator
    probabilities: Floats
    metrics: dict[str, float]


def train_transformer(
    candidate: str, splits: TrainingSplits, context: TrainingContext, folder: Path
) -> TrainedCandidate:
    """Return the fine-tuned model, calibrated on validation and checked against torch.

    Raises EncoderError when the export does not answer alike, TrainingError when it cannot be fitted.
    """
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        made = tune_and_export(candidate, splits, context, Path(scratch))
        onnx.save(add_calibration(onnx.load(made.graph), made.calibrator), folder / MODEL_FILE)
        made.tokenizer.replace(folder / TOKENIZER_FILE)
    return TrainedCandidate(
        base=context.training.transformer.source,
        max_tokens=context.training.transformer.max_tokens,
        precision=made.precision,
        texts_per_call=TEXTS_PER_CALL[made.precision],
        probabilities=made.probabilities,
        metrics=made.metrics,
    )


def tune_and_export(candidate: str, splits: TrainingSplits, context: TrainingContext, folder: Path) -> TunedGraph:
    """Return the fine-tuned model as a graph in `folder`, in int8 where that holds against fp32 on validation."""
    section = context.training.transformer
    origin = find_encoder(section.source, "training.transformer.source")
    tokenizer = load_tokenizer(origin, section.source)
    lora = LoraSettings(**context.training.lora.model_dump()) if candidate == "lora" else None
    settings = FineTuneSettings(seed=context.training.seed, lora=lora, **section.model_dump(exclude={"source"}))
    tuned = fine_tune(
        origin,
        tokenizer,
        LabelledTexts(splits.train_texts, splits.train_targets),
        LabelledTexts(splits.validation_texts, splits.validation_targets),
        len(splits.labels),
        settings,
        store=context.state.finetuned,
        report=context.report,
    )
    tokenizer_file = folder / TOKENIZER_FILE
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.save(str(tokenizer_file))
    exported = folder / "fp32.onnx"
    export_module(tuned.model.prepare_export(), exported, output="logits")
    wanted = ("int8", "fp32") if context.encoder.precision == "auto" else (context.encoder.precision,)
    if "int8" in wanted:
        quantise(exported, folder / "int8.onnx")
    calibrators, probabilities, speeds = {}, {}, {}
    for name in wanted:
        logits, speeds[name] = _answer(folder / f"{name}.onnx", tokenizer_file, section.max_tokens, name, splits)
        calibrators[name] = fit_calibrator(logits.astype(np.float64), splits.validation_targets)
        probabilities[name] = calibrators[name].calibrate(logits).astype(np.float32)
    f1 = {name: measure_macro_f1(splits.validation_targets, found) for name, found in probabilities.items()}
    precision = choose_precision(candidate, f1, context.encoder.max_int8_loss)
    gap = measure_parity(
        tuned.model, exported, tokenizer_file, splits.validation_texts[:PARITY_ROWS], section.max_tokens
    )
    return TunedGraph(
        tuned,
        folder / f"{precision}.onnx",
        tokenizer_file,
        precision,
        calibrators[precision],
        probabilities[precision],
        {
            "training_seconds": tuned.seconds,
            "parity_gap": gap,
            **{f"validation_macro_f1_{name}": value for name, value in f1.items()},
            **{f"texts_per_second_{name}": round(value, 1) for name, value in speeds.items()},
        },
    )


def measure_parity(model: TextClassifier, graph: Path, tokenizer: Path, texts: list[str], max_tokens: int) -> float:
    """Return the largest gap between the fp32 graph's probabilities and torch's. Raises EncoderError above 1e-4."""
    opened = TextGraph(graph, tokenizer, max_tokens=max_tokens, texts_per_call=1)
    expected = np.empty((len(texts), opened.run(texts[:1]).outputs.shape[1]), dtype=np.float32)
    with torch.no_grad():
        for row, ids in enumerate(opened.tokenise(texts)):
            tensor = torch.tensor([ids])
            expected[row] = model(tensor, torch.ones_like(tensor)).float().numpy()[0]
    gap = float(np.abs(softmax(opened.run(texts).outputs, axis=1) - softmax(expected, axis=1)).max())
    if gap > MAX_PARITY_GAP:
        raise EncoderError(
            f"the exported graph differs from torch by {gap:.1e} on {len(texts)} texts, more than {MAX_PARITY_GAP:.0e};"
            " name another model in training.transformer.source."
        )
    return gap


def _answer(
    graph: Path, tokenizer: Path, max_tokens: int, precision: str, splits: TrainingSplits
) -> tuple[Floats, float]:
    """Return logits on validation, and the texts answered per second."""
    opened = TextGraph(
        graph, tokenizer, max_tokens=max_tokens, texts_per_call=TEXTS_PER_CALL[precision], threads=os.cpu_count() or 1
    )
    texts = splits.validation_texts
    progress = Progress(logger, f"answering validation in {precision}", len(texts))
    started = time.perf_counter()
    chunks = []
    for start in range(0, len(texts), TEXTS_PER_CHUNK):
        chunks.append(opened.run(texts[start : start + TEXTS_PER_CHUNK]).outputs)
        progress.reach(start + len(chunks[-1]))
    return np.concatenate(chunks), len(texts) / (time.perf_counter() - started)
