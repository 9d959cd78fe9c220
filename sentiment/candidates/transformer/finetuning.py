"""Fine-tuning an encoder with a classification head: stopped early, resumed when killed, its weights kept."""

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors.torch import load_file
from transformers import DataCollatorWithPadding, EarlyStoppingCallback, PrinterCallback

from sentiment.bundle.bundle import digest_file
from sentiment.candidates.contract import Report
from sentiment.candidates.shared.encoder import find_weights
from sentiment.candidates.transformer.checkpoints import (
    BEST_FILE,
    DONE_FILE,
    average_weights,
    find_checkpoint,
    is_done,
    load_state,
    note_end,
)
from sentiment.candidates.transformer.classifier import TextClassifier, quieten_transformers
from sentiment.candidates.transformer.trainer import (
    TEXTS_PER_EVALUATION_CALL,
    AveragingTrainer,
    FineTuneSettings,
    LabelledTexts,
    TokenRows,
    Watcher,
    make_training_arguments,
    measure_predictions,
    weigh_classes,
)
from sentiment.errors import EncoderError, TrainingError
from sentiment.evaluation.predictions import measure_macro_f1

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FineTuned:
    """The best weights that were met, the macro F1 that they reached on validation, and the time they took."""

    model: TextClassifier
    validation_f1: float
    seconds: float


def fine_tune(
    origin: Path,
    tokenizer: Any,
    train: LabelledTexts,
    validation: LabelledTexts,
    classes: int,
    settings: FineTuneSettings,
    *,
    store: Path,
    report: Report,
) -> FineTuned:
    """Return the encoder in `origin` fine-tuned on `train`, at its best evaluation on `validation`.

    The weights are kept in `store` under a digest of all that decides them: asked again, they are read; a run
    that was killed goes on from its last sound checkpoint. `report` gets live metrics by step.
    Raises TrainingError when the loss is no longer a number or the memory does not suffice.
    """
    rows = (train, validation)
    folders = [
        store / _digest_recipe(origin, tokenizer, rows, classes, replace(settings, runs=run + 1))
        for run in range(settings.runs)
    ]
    model = TextClassifier(origin, classes, settings.lora)
    names = set(model.state_dict())
    for run, folder in enumerate(folders):
        folder.mkdir(parents=True, exist_ok=True)
        if not is_done(folder, names):
            if settings.runs > 1:
                logger.info("fine-tuning %d of %d", run + 1, settings.runs)
            transformers.set_seed(settings.seed)
            _require_positions(model, settings)
            fresh = TextClassifier(origin, classes, settings.lora)
            _train(fresh, tokenizer, rows, classes, replace(settings, seed=settings.seed + run), folder, report)
    done = [json.loads((folder / DONE_FILE).read_text(encoding="utf-8")) for folder in folders]
    weights = [load_file(folder / BEST_FILE) for folder in folders]
    best = max(range(settings.runs), key=lambda run: done[run]["validation_f1"])
    validation_f1 = done[best]["validation_f1"]
    load_state(model, weights[best])
    if settings.runs > 1:
        soup = average_weights(weights)
        load_state(model, soup)
        soup_f1 = score_model(model, TokenRows(tokenizer, validation, settings.max_tokens), tokenizer)
        logger.info("macro F1 on validation: best run %.3f, all averaged %.3f", validation_f1, soup_f1)
        load_state(model, soup if soup_f1 >= validation_f1 else weights[best])
        validation_f1 = max(soup_f1, validation_f1)
    seconds = sum(item["seconds"] for item in done)
    return FineTuned(model.merge_adapters().eval(), validation_f1, seconds)


def score_model(model: TextClassifier, rows: "TokenRows", tokenizer: Any) -> float:
    """Return macro F1 of a model on rows."""
    collate = DataCollatorWithPadding(tokenizer)
    order = sorted(range(len(rows)), key=lambda row: len(rows[row]["input_ids"]))
    answers, targets = [], []
    model.eval()
    with torch.no_grad():
        for start in range(0, len(order), TEXTS_PER_EVALUATION_CALL):
            batch = collate([rows[row] for row in order[start : start + TEXTS_PER_EVALUATION_CALL]])
            targets.append(batch.pop("labels").numpy())
            answers.append(model(**batch).numpy().argmax(axis=1))
    return measure_macro_f1(np.concatenate(targets), np.concatenate(answers))


def _train(
    model: TextClassifier,
    tokenizer: Any,
    rows: tuple[LabelledTexts, LabelledTexts],
    classes: int,
    settings: FineTuneSettings,
    folder: Path,
    report: Report,
) -> None:
    train, validation = rows
    counts = np.bincount(train.targets, minlength=classes)
    trainer = AveragingTrainer(
        model=model,
        args=make_training_arguments(settings, len(train.texts), folder),
        train_dataset=TokenRows(tokenizer, train, settings.max_tokens),
        eval_dataset=TokenRows(tokenizer, validation, settings.max_tokens),
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=measure_predictions,
        callbacks=[EarlyStoppingCallback(settings.patience), Watcher(report)],
        settings=settings,
        class_weights=weigh_classes(counts, settings.class_weight),
    )
    trainer.remove_callback(PrinterCallback)
    checkpoint = find_checkpoint(folder)
    if checkpoint:
        logger.info("going on from %s in %s", checkpoint.name, folder)
    started = time.perf_counter()
    with _explain_failures(settings), quieten_transformers():
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    note_end(folder, trainer.state.best_metric, round(time.perf_counter() - started, 1))


@contextmanager
def _explain_failures(settings: FineTuneSettings) -> Iterator[None]:
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise _make_memory_error(settings) from error
    except RuntimeError as error:
        if "allocate memory" not in str(error):
            raise
        raise _make_memory_error(settings) from error


def _make_memory_error(settings: FineTuneSettings) -> TrainingError:
    return TrainingError(
        f"the memory does not suffice to fine-tune; lower training.transformer.batch_size (now {settings.batch_size})"
        f" or training.transformer.max_tokens (now {settings.max_tokens})."
    )


def _require_positions(model: TextClassifier, settings: FineTuneSettings) -> None:
    if model.max_tokens is not None and settings.max_tokens > model.max_tokens:
        raise EncoderError(
            f"the base model reads at most {model.max_tokens} tokens, training.transformer.max_tokens is"
            f" {settings.max_tokens}; lower it."
        )


def _digest_recipe(
    origin: Path,
    tokenizer: Any,
    rows: tuple[LabelledTexts, LabelledTexts],
    classes: int,
    settings: FineTuneSettings,
) -> str:
    digests = [digest_file(file) for file in (find_weights(origin), origin / "config.json") if file.is_file()]
    digest = sha256(json.dumps([asdict(settings), classes, digests]).encode())
    pieces = json.loads(tokenizer.backend_tokenizer.to_str())
    digest.update(json.dumps({**pieces, "truncation": None, "padding": None}, sort_keys=True).encode())
    for split in rows:
        digest.update(b"\x02")
        for text, target in zip(split.texts, split.targets, strict=True):
            digest.update(f"{target}\x00{text}\x01".encode("utf-8", "replace"))
    return digest.hexdigest()[:16]
