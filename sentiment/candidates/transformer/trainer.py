"""transformers' Trainer as we use it: batches of like length, a moving average of the weights, exact resumption."""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_model
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainingArguments

from sentiment.candidates.contract import Report
from sentiment.candidates.shared.progress import Progress
from sentiment.candidates.transformer.checkpoints import (
    AVERAGED_FILE,
    BEST_FILE,
    name_checkpoint,
    save_whole,
    seal_checkpoint,
)
from sentiment.candidates.transformer.classifier import LoraSettings
from sentiment.errors import TrainingError
from sentiment.evaluation.predictions import measure_macro_f1

EVALUATIONS_PER_EPOCH = 2
SEED_STRIDE = 1000
KEPT_CHECKPOINTS = 2
TEXTS_PER_EVALUATION_CALL = 64
LOGGING_STEPS = 10
MAX_BATCHES_PER_BLOCK = 50
MIN_BLOCKS = 4

Tensors = tuple[torch.Tensor, ...] | list[torch.Tensor]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FineTuneSettings:
    """How to fine-tune; the fields are those of `training.transformer` in zenml_config.yaml.

    `runs` fine-tunings start from the same weights and head, and differ in the order of the rows and in dropout.
    `lora` None trains every weight.
    """

    runs: int
    epochs: float
    min_steps: int
    batch_size: int
    learning_rate: float
    warmup: float
    weight_decay: float
    class_weight: float
    label_smoothing: float
    focal: float
    averaging: float
    patience: int
    max_tokens: int
    seed: int
    lora: LoraSettings | None = None


@dataclass(frozen=True)
class LabelledTexts:
    """Texts and, for each, the position of its label."""

    texts: Sequence[str]
    targets: NDArray[np.int64]


class TokenRows(torch.utils.data.Dataset[dict[str, Any]]):
    """Token ids and target of each text."""

    def __init__(self, tokenizer: Any, rows: LabelledTexts, max_tokens: int) -> None:
        encoded = tokenizer(list(rows.texts), truncation=True, max_length=max_tokens, return_token_type_ids=False)
        self._ids = encoded["input_ids"]
        self._targets = rows.targets

    @property
    def lengths(self) -> list[int]:
        """The tokens of each text."""
        return [len(ids) for ids in self._ids]

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {"input_ids": self._ids[row], "labels": int(self._targets[row])}


class EpochSampler(torch.utils.data.Sampler[int]):
    """Rows of like length side by side, in an order that seed and epoch decide, so that a resumed epoch goes on."""

    def __init__(self, lengths: list[int], batch_size: int, seed: int) -> None:
        self._lengths = lengths
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Note the epoch; accelerate calls this."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed * SEED_STRIDE + self._epoch)
        yield from group_by_length(self._lengths, self._batch_size, generator)


def group_by_length(lengths: Sequence[int], batch_size: int, generator: torch.Generator) -> list[int]:
    """Return all rows in an order of chance in which a batch holds texts of like length.

    Each block of batches is sorted on its own. The longest text comes first: if the memory does not suffice, the
    first step shows it.
    """
    rows = torch.randperm(len(lengths), generator=generator).tolist()
    size = batch_size * max(1, min(len(rows) // (batch_size * MIN_BLOCKS), MAX_BATCHES_PER_BLOCK))
    blocks = [
        sorted(rows[start : start + size], key=lambda row: lengths[row], reverse=True)
        for start in range(0, len(rows), size)
    ]
    longest = max(blocks, key=lambda block: lengths[block[0]])
    blocks[0][0], longest[0] = longest[0], blocks[0][0]
    return [row for block in blocks for row in block]


class AveragingTrainer(Trainer):
    """A Trainer that evaluates and keeps a moving average of the weights, which is steadier than the last step."""

    model: Any

    def __init__(self, *, settings: FineTuneSettings, class_weights: torch.Tensor, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._settings = settings
        self._class_weights = class_weights.to(self.args.device)
        self._averaged = AveragedModel(self.model, multi_avg_fn=_follow(settings.averaging))
        self.add_callback(AveragingCallback(self._averaged, settings.averaging))

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, **_: Any
    ) -> torch.Tensor | tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return the mean loss of a batch: cross entropy, or focal where `focal` is above zero."""
        targets = inputs.pop("labels")
        logits = model(**inputs).float()
        loss = self._measure_loss(logits, targets)
        if not torch.isfinite(loss):
            raise TrainingError(
                f"the loss is not a number at step {self.state.global_step}; lower {_name_rate(self._settings)}."
            )
        return (loss, {"logits": logits}) if return_outputs else loss

    def get_train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Return the batches of an epoch."""
        rows, size = self.train_dataset, self.args.train_batch_size
        loader = DataLoader(
            rows,
            size,
            sampler=EpochSampler(rows.lengths, size, self.args.seed),
            collate_fn=self.data_collator,
            pin_memory=self.args.dataloader_pin_memory,
        )
        prepared: DataLoader[dict[str, Any]] = self.accelerator.prepare(loader)
        return prepared

    def train(self, resume_from_checkpoint: str | None = None, **options: Any) -> Any:
        """Train, from a checkpoint with its average where there is one."""
        if resume_from_checkpoint is not None:
            load_model(self._averaged, Path(resume_from_checkpoint) / AVERAGED_FILE)
        return super().train(resume_from_checkpoint, **options)

    def _measure_loss(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if not self._settings.focal:
            return torch.nn.functional.cross_entropy(
                logits, targets, weight=self._class_weights, label_smoothing=self._settings.label_smoothing
            )
        logs = torch.log_softmax(logits, dim=1).gather(1, targets[:, None]).squeeze(1)
        return -(self._class_weights[targets] * (1 - logs.exp()) ** self._settings.focal * logs).mean()

    def evaluate(self, *arguments: Any, **options: Any) -> dict[str, float]:
        """Return the metrics of the averaged weights; the best ones are written down."""
        live = self.model
        self.model = self._averaged.module
        try:
            metrics: dict[str, float] = super().evaluate(*arguments, **options)
        finally:
            self.model = live
        best = self.state.best_metric if self.state.best_metric is not None else -1.0
        if metrics["eval_macro_f1"] > best:
            save_whole(self._averaged.module, Path(self.args.output_dir) / BEST_FILE)
        return metrics


class AveragingCallback(TrainerCallback):
    """Moves the average after each step; it follows faster in the first steps, when the weights still leap."""

    def __init__(self, averaged: AveragedModel, decay: float) -> None:
        self._averaged = averaged
        self._decay = decay

    def on_step_end(self, args: Any, state: Any, control: Any, **names: Any) -> None:  # noqa: ARG002
        """Take the weights in."""
        step = state.global_step
        self._averaged.multi_avg_fn = _follow(min(self._decay, (1 + step) / (10 + step)))
        self._averaged.update_parameters(names["model"])

    def on_save(self, args: Any, state: Any, control: Any, **names: Any) -> None:  # noqa: ARG002
        """Put the average into the checkpoint, which is whole then."""
        checkpoint = Path(args.output_dir) / name_checkpoint(state.global_step)
        save_whole(self._averaged, checkpoint / AVERAGED_FILE)
        seal_checkpoint(checkpoint)


class Watcher(TrainerCallback):
    """Says how far the training is, and hands its metrics on as they come."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._progress: Progress | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **names: Any) -> None:  # noqa: ARG002
        """Start the clock."""
        self._progress = Progress(logger, "fine-tuning, step", state.max_steps - state.global_step)
        self._first = state.global_step

    def on_step_end(self, args: Any, state: Any, control: Any, **names: Any) -> None:  # noqa: ARG002
        """Note the step."""
        if self._progress:
            self._progress.reach(state.global_step - self._first)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **names: Any) -> None:  # noqa: ARG002
        """Hand on what was measured."""
        self._report({key: float(value) for key, value in logs.items() if key != "epoch"}, state.global_step)
        if "eval_macro_f1" in logs:
            logger.info(
                "fine-tuning: macro F1 on validation %.3f after %.1f epochs", logs["eval_macro_f1"], state.epoch
            )


def make_training_arguments(settings: FineTuneSettings, rows: int, folder: Path) -> TrainingArguments:
    """Return the arguments of transformers' Trainer for so many rows; short floats where the machine has them."""
    steps_per_epoch = math.ceil(rows / settings.batch_size)
    cuda = torch.cuda.is_available()
    short = torch.cuda.is_bf16_supported() if cuda else torch.cpu.get_capabilities().get("avx512_bf16", False)
    evaluation_steps = max(1, math.ceil(steps_per_epoch / EVALUATIONS_PER_EPOCH))
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=max(settings.epochs, settings.min_steps / steps_per_epoch),
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=TEXTS_PER_EVALUATION_CALL,
        learning_rate=settings.learning_rate if settings.lora is None else settings.lora.learning_rate,
        warmup_steps=settings.warmup,
        weight_decay=settings.weight_decay,
        max_grad_norm=1.0,
        eval_strategy="steps",
        eval_steps=evaluation_steps,
        save_strategy="steps",
        save_steps=evaluation_steps,
        save_total_limit=KEPT_CHECKPOINTS,
        restore_callback_states_from_checkpoint=True,
        metric_for_best_model="macro_f1",
        greater_is_better=True,
        logging_steps=LOGGING_STEPS,
        logging_nan_inf_filter=False,
        seed=settings.seed,
        use_cpu=not cuda,
        optim="adamw_torch_fused" if cuda else "adamw_torch",
        bf16=bool(short),
        disable_tqdm=True,
        report_to="none",
        remove_unused_columns=False,
        label_names=["labels"],
        dataloader_pin_memory=cuda,
    )


def measure_predictions(prediction: Any) -> dict[str, float]:
    """Return macro F1 and accuracy of what the Trainer predicted."""
    answers = np.asarray(prediction.predictions).argmax(axis=1)
    return {
        "macro_f1": measure_macro_f1(prediction.label_ids, answers),
        "accuracy": float((answers == prediction.label_ids).mean()),
    }


def weigh_classes(counts: NDArray[np.int64], power: float) -> torch.Tensor:
    """Return a weight per class, 1 in the mean over the rows."""
    weights = (counts.sum() / np.maximum(counts, 1)) ** power
    return torch.tensor(weights * counts.sum() / (weights * counts).sum(), dtype=torch.float32)


def _follow(decay: float) -> Callable[[Tensors, Tensors, torch.Tensor | int], None]:
    """Return the step of a moving average, in place; torch's own is 70 times slower on a processor."""

    def move(averages: Tensors, weights: Tensors, _: torch.Tensor | int) -> None:
        for average, weight in zip(averages, weights, strict=True):
            average.lerp_(weight, 1 - decay)

    return move


def _name_rate(settings: FineTuneSettings) -> str:
    if settings.lora is not None:
        return f"training.lora.learning_rate (now {settings.lora.learning_rate:g})"
    return f"training.transformer.learning_rate (now {settings.learning_rate:g})"
