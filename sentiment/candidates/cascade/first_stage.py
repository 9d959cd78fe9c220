"""The first stage of a cascade: convolutions over the frozen token embeddings of the fine-tuned transformer.

It costs a small part of the transformer and is right about most plain texts. What it is sure of need not go on.
"""

import copy
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from sentiment.candidates.shared.progress import Progress
from sentiment.errors import TrainingError
from sentiment.evaluation.predictions import measure_macro_f1

WINDOWS = (1, 3, 5)
DROPOUT = 0.3
LABEL_SMOOTHING = 0.05
BATCH_SIZE = 64
POOLED_BATCHES = 40
FAR_BELOW = -1e4

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FirstStageSettings:
    """Embeddings of `width` numbers, `channels` per window of 1, 3 and 5 tokens; the learning rate falls to zero."""

    epochs: int
    width: int
    channels: int
    learning_rate: float
    seed: int


class FirstStage(torch.nn.Module):
    """Token ids and mask (int64, texts x tokens) to logits (float32, texts x classes).

    Embeddings are narrowed to `width` numbers first, which a folded stage looks up instead of computing.
    """

    def __init__(self, embeddings: torch.Tensor, classes: int, width: int, channels: int) -> None:
        super().__init__()
        self.embeddings = torch.nn.Embedding.from_pretrained(embeddings.clone(), freeze=True)  # type: ignore[no-untyped-call]
        self.narrow = torch.nn.Sequential(
            torch.nn.LayerNorm(embeddings.shape[1]),
            torch.nn.Dropout(DROPOUT),
            torch.nn.Linear(embeddings.shape[1], width),
        )
        self.windows = torch.nn.ModuleList(
            torch.nn.Conv1d(width, channels, size, padding=size // 2) for size in WINDOWS
        )
        self.dropout = torch.nn.Dropout(DROPOUT)
        self.output = torch.nn.Linear(2 * channels * len(WINDOWS), classes)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Return the logits from the largest and the mean activation of each channel; padding counts for neither."""
        present = attention_mask.unsqueeze(1).float()
        rows = self.narrow(self.embeddings(input_ids)).transpose(1, 2) * present
        pooled = []
        for window in self.windows:
            found = functional.gelu(window(rows))
            pooled.append((found * present + FAR_BELOW * (1 - present)).amax(dim=2))
            pooled.append((found * present).sum(dim=2) / present.sum(dim=2))
        logits: torch.Tensor = self.output(self.dropout(torch.cat(pooled, dim=1)))
        return logits

    def fold(self) -> "FirstStage":
        """Return the same stage with a table of the narrowed embeddings of the whole vocabulary, ready to answer."""
        self.eval()
        with torch.no_grad():
            table = self.narrow(self.embeddings.weight)
        self.embeddings = torch.nn.Embedding.from_pretrained(table, freeze=True)  # type: ignore[no-untyped-call]
        self.narrow = torch.nn.Sequential()
        return self


def fit_first_stage(
    embeddings: torch.Tensor,
    train: tuple[Sequence[Sequence[int]], NDArray[np.int64]],
    validation: tuple[Sequence[Sequence[int]], NDArray[np.int64]],
    classes: int,
    settings: FirstStageSettings,
) -> FirstStage:
    """Return the stage as it was after the epoch with the best macro F1 on validation; ids and targets per text."""
    torch.manual_seed(settings.seed)
    generator = np.random.default_rng(settings.seed)
    stage = FirstStage(embeddings, classes, settings.width, settings.channels)
    trained = [weights for weights in stage.parameters() if weights.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=settings.learning_rate)
    batches_per_epoch = -(-len(train[0]) // BATCH_SIZE)
    schedule = torch.optim.lr_scheduler.LinearLR(
        optimiser, start_factor=1.0, end_factor=0.01, total_iters=settings.epochs * batches_per_epoch
    )
    progress = Progress(logger, "first stage, batch", settings.epochs * batches_per_epoch)
    targets = torch.from_numpy(train[1])
    best, best_f1, done = copy.deepcopy(stage), -1.0, 0
    for _ in range(settings.epochs):
        stage.train()
        for rows in shuffle_batches([len(ids) for ids in train[0]], generator):
            logits = stage(*pad([train[0][row] for row in rows]))
            loss = functional.cross_entropy(logits, targets[rows], label_smoothing=LABEL_SMOOTHING)
            if not torch.isfinite(loss):
                raise TrainingError(
                    "the loss of the first stage is not a number; lower training.cascade.learning_rate"
                    f" (now {settings.learning_rate:g})."
                )
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            done += 1
            progress.reach(done)
        f1 = measure_macro_f1(validation[1], _answer(stage, validation[0]))
        if f1 > best_f1:
            best, best_f1 = copy.deepcopy(stage), f1
    return best.fold()


def shuffle_batches(lengths: Sequence[int], generator: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Yield the positions of every text once, in batches of like length, in random order."""
    order = generator.permutation(len(lengths))
    batches = []
    for start in range(0, len(order), BATCH_SIZE * POOLED_BATCHES):
        pool = sorted(order[start : start + BATCH_SIZE * POOLED_BATCHES], key=lengths.__getitem__)
        batches += [np.array(pool[first : first + BATCH_SIZE]) for first in range(0, len(pool), BATCH_SIZE)]
    for position in generator.permutation(len(batches)):
        yield batches[position]


def pad(ids: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and mask, texts x the longest text."""
    width = max(len(row) for row in ids)
    padded = torch.zeros((len(ids), width), dtype=torch.int64)
    mask = torch.zeros_like(padded)
    for position, row in enumerate(ids):
        padded[position, : len(row)] = torch.tensor(row)
        mask[position, : len(row)] = 1
    return padded, mask


def _answer(stage: FirstStage, ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
    stage.eval()
    order = np.argsort([len(row) for row in ids])
    answers = np.empty((len(ids), stage.output.out_features), dtype=np.float32)
    with torch.no_grad():
        for start in range(0, len(order), BATCH_SIZE):
            rows = order[start : start + BATCH_SIZE]
            answers[rows] = stage(*pad([ids[row] for row in rows])).numpy()
    return answers
