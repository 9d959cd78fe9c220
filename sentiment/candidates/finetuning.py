"""Fine-tuning an encoder with a classification head: by transformers' Trainer, stopped early, resumed when killed."""

import json
import logging
import math
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, load_model, save_model
from torch.optim.swa_utils import AveragedModel
from transformers import (
    DataCollatorWithPadding,
    EarlyStoppingCallback,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.trainer_pt_utils import get_length_grouped_indices

from sentiment.bundle import digest_file
from sentiment.candidates.classifier import LoraSettings, TextClassifier, quieten_transformers
from sentiment.candidates.draft import Report
from sentiment.encoder import find_weights
from sentiment.errors import EncoderError, TrainingError
from sentiment.evaluation import measure_macro_f1
from sentiment.progress import Progress

BEST_FILE, AVERAGED_FILE, DONE_FILE = "best.safetensors", "averaged.safetensors", "done.json"
EVALUATIONS_PER_EPOCH = 2
SEED_STRIDE = 1000
KEPT_CHECKPOINTS = 2
TEXTS_PER_EVALUATION_CALL = 64
LOGGING_STEPS = 10

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
        if not _is_done(folder, names):
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


def average_weights(weights: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Return the mean of each weight over several runs from the same start (Wortsman et al. 2022)."""
    return {name: torch.stack([run[name].float() for run in weights]).mean(dim=0) for name in weights[0]}


def load_state(model: TextClassifier, weights: dict[str, torch.Tensor]) -> None:
    """Put weights into a model. Raises TrainingError when they are not of this model."""
    missing, unexpected = model.load_state_dict(weights, strict=False)
    state = model.state_dict()
    there = {state[name].data_ptr() for name in weights if name in state}
    # What safetensors left out is tied to a weight that is there.
    lacking = [name for name in missing if state[name].data_ptr() not in there]
    if lacking or unexpected:
        raise TrainingError(
            f"weights that a fine-tuning left in the state folder lack {len(lacking)} of the model's;"
            " delete its folder 'finetuned' and train again."
        )


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
        args=_arrange(settings, len(train.texts), folder),
        train_dataset=TokenRows(tokenizer, train, settings.max_tokens),
        eval_dataset=TokenRows(tokenizer, validation, settings.max_tokens),
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=_measure,
        callbacks=[EarlyStoppingCallback(settings.patience), Watcher(report)],
        settings=settings,
        class_weights=_weigh_classes(counts, settings.class_weight),
    )
    trainer.remove_callback(PrinterCallback)
    checkpoint = find_checkpoint(folder)
    if checkpoint:
        logger.info("going on from %s in %s", checkpoint.name, folder)
    started = time.perf_counter()
    with _explain_failures(settings), quieten_transformers():
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    seconds = round(time.perf_counter() - started, 1)
    done = {"validation_f1": trainer.state.best_metric, "seconds": seconds}
    scratch = folder / f"{DONE_FILE}.part"
    scratch.write_text(json.dumps(done), encoding="utf-8")
    scratch.replace(folder / DONE_FILE)
    for left in folder.glob("checkpoint-*"):
        shutil.rmtree(left)


def find_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint whose files are whole; those that a crash cut short are removed and said."""
    named = {path.name.removeprefix("checkpoint-"): path for path in folder.glob("checkpoint-*")}
    numbered = {int(number): path for number, path in named.items() if number.isdigit()}
    if numbered and not _holds_weights(folder / BEST_FILE):
        logger.warning("the best weights in %s are damaged; the fine-tuning starts anew", folder)
        for path in numbered.values():
            shutil.rmtree(path)
        return None
    for _, path in sorted(numbered.items(), reverse=True):
        if _is_whole(path):
            return path
        logger.warning("%s was cut short and is passed over", path)
        shutil.rmtree(path)
    return None


def _is_whole(checkpoint: Path) -> bool:
    try:
        if not all(_holds_weights(checkpoint / name) for name in ("model.safetensors", AVERAGED_FILE)):
            return False
        for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
            with zipfile.ZipFile(checkpoint / name) as archive:
                if archive.testzip():
                    return False
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, zipfile.BadZipFile):
        return False
    return True


def _holds_weights(file: Path, names: set[str] | None = None) -> bool:
    """Return whether a file of weights is whole and, where names are given, has none but these."""
    try:
        with safe_open(file, "pt") as weights:
            found = set(weights.keys())
            return bool(found) and (names is None or found <= names)
    except (OSError, SafetensorError):
        return False


def _is_done(folder: Path, names: set[str]) -> bool:
    """Return whether a fine-tuning ended here and what it left can be read; what cannot is made anew."""
    try:
        done = json.loads((folder / DONE_FILE).read_text(encoding="utf-8"))
        sound = isinstance(done["validation_f1"], float) and isinstance(done["seconds"], int | float)
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return sound and _holds_weights(folder / BEST_FILE, names)


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
        yield from get_length_grouped_indices(self._lengths, self._batch_size, generator=generator)


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

    def _get_train_sampler(self, *_: Any) -> "EpochSampler":
        return EpochSampler(self.train_dataset.lengths, self.args.train_batch_size, self.args.seed)

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
            _save_whole(self._averaged.module, Path(self.args.output_dir) / BEST_FILE)
        return metrics

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        folder.mkdir(exist_ok=True)
        _save_whole(self._averaged, folder / AVERAGED_FILE)
        super()._save_checkpoint(model, trial)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        load_model(self._averaged, Path(resume_from_checkpoint) / AVERAGED_FILE)


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


def _arrange(settings: FineTuneSettings, rows: int, folder: Path) -> TrainingArguments:
    steps_per_epoch = math.ceil(rows / settings.batch_size)
    cuda = torch.cuda.is_available()
    short = torch.cuda.is_bf16_supported() if cuda else torch.cpu._is_avx512_bf16_supported()
    evaluation_steps = max(1, math.ceil(steps_per_epoch / EVALUATIONS_PER_EPOCH))
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=settings.epochs,
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


def _follow(decay: float) -> Callable[[Tensors, Tensors, torch.Tensor | int], None]:
    """Return the step of a moving average, in place; torch's own is 70 times slower on a processor."""

    def move(averages: Tensors, weights: Tensors, _: torch.Tensor | int) -> None:
        for average, weight in zip(averages, weights, strict=True):
            average.lerp_(weight, 1 - decay)

    return move


def _measure(prediction: Any) -> dict[str, float]:
    answers = np.asarray(prediction.predictions).argmax(axis=1)
    return {
        "macro_f1": measure_macro_f1(prediction.label_ids, answers),
        "accuracy": float((answers == prediction.label_ids).mean()),
    }


def _weigh_classes(counts: NDArray[np.int64], power: float) -> torch.Tensor:
    """Return a weight per class, 1 in the mean over the rows."""
    weights = (counts.sum() / np.maximum(counts, 1)) ** power
    return torch.tensor(weights * counts.sum() / (weights * counts).sum(), dtype=torch.float32)


def _save_whole(model: torch.nn.Module, path: Path) -> None:
    scratch = path.with_suffix(".part")
    save_model(model, str(scratch))
    scratch.replace(path)


@contextmanager
def _explain_failures(settings: FineTuneSettings) -> Iterator[None]:
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise _say_memory(settings) from error
    except RuntimeError as error:
        if "allocate memory" not in str(error):
            raise
        raise _say_memory(settings) from error


def _say_memory(settings: FineTuneSettings) -> TrainingError:
    return TrainingError(
        f"the memory does not suffice to fine-tune; lower training.transformer.batch_size (now {settings.batch_size})"
        f" or training.transformer.max_tokens (now {settings.max_tokens})."
    )


def _name_rate(settings: FineTuneSettings) -> str:
    if settings.lora is not None:
        return f"training.lora.learning_rate (now {settings.lora.learning_rate:g})"
    return f"training.transformer.learning_rate (now {settings.learning_rate:g})"


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
    for side in rows:
        digest.update(b"\x02")
        for text, target in zip(side.texts, side.targets, strict=True):
            digest.update(f"{target}\x00{text}\x01".encode("utf-8", "replace"))
    return digest.hexdigest()[:16]
