"""Base models of four megabytes with random weights and the embedded encoder's tokenizer, and rows to fit them on."""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    BertConfig,
    DistilBertConfig,
    RobertaConfig,
)

from sentiment.candidates.contract import TrainingContext, TrainingSplits
from sentiment.candidates.shared.encoder import find_encoder
from sentiment.candidates.transformer.classifier import quieten_transformers
from sentiment.candidates.transformer.trainer import LabelledTexts
from sentiment.config.reader import read_config
from sentiment.data.datasets import Dataset
from sentiment.paths import CHECKOUT, StateFolder
from tests.conftest import ENCODER, LABELS

POSITIONS = 64
PIECES = 30522
WORDS = {
    0: ("bad", "awful", "poor", "worst"),
    1: ("table", "chair", "day", "door"),
    2: ("good", "love", "fine", "best"),
}
KINDS = ("bert", "distilbert", "roberta")
SMALL = {
    "vocab_size": PIECES,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": POSITIONS,
}


def save_base(folder: Path, kind: str = "bert") -> Path:
    """Write a base model: a `bert`, `distilbert` or `roberta`, a bert with a `head` of three or a `poolerless` one."""
    torch.manual_seed(0)
    if kind == "head":
        model = AutoModelForSequenceClassification.from_config(BertConfig(**SMALL, num_labels=3))
    elif kind == "poolerless":
        model = AutoModelForMaskedLM.from_config(BertConfig(**SMALL))
    elif kind == "distilbert":
        model = AutoModelForMaskedLM.from_config(
            DistilBertConfig(
                vocab_size=PIECES, dim=32, n_layers=2, n_heads=2, hidden_dim=64, max_position_embeddings=POSITIONS
            )
        )
    elif kind == "roberta":
        model = AutoModelForMaskedLM.from_config(
            RobertaConfig(**{**SMALL, "max_position_embeddings": POSITIONS + 2}, pad_token_id=0)
        )
    else:
        model = AutoModel.from_config(BertConfig(**SMALL))
    with quieten_transformers():
        model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(find_encoder(ENCODER) / name, folder / name)
    return folder


def make_rows(count: int, *, seed: int, classes: int = 3) -> LabelledTexts:
    """Return short texts of each class in turn, told apart by their words."""
    random = Random(seed)
    targets = np.arange(count) % classes
    words = [WORDS[int(target)] + ("the", "a", "so") for target in targets]
    return LabelledTexts([" ".join(random.choices(some, k=random.randint(2, 9))) for some in words], targets)


def make_splits(train: LabelledTexts, validation: LabelledTexts, labels: Sequence[str] = LABELS) -> TrainingSplits:
    def name(rows: LabelledTexts) -> Dataset:
        return Dataset("made", pd.DataFrame({"text": rows.texts, "label": [labels[target] for target in rows.targets]}))

    return TrainingSplits(name(train), name(validation), dataset_digest="d" * 64, holdout_digest="h" * 64)


def make_context(
    source: Path | str, state: Path, *, precision: str = "fp32", **changes: dict[str, Any]
) -> TrainingContext:
    """Return the project's own context on a small model for a short training; `changes` per section of it."""
    config = read_config(CHECKOUT / "zenml_config.yaml")
    short = {
        "source": str(source),
        "epochs": 1,
        "min_steps": 0,
        "batch_size": 8,
        "max_tokens": 16,
        "learning_rate": 1e-2,
    }
    transformer = {**short, "averaging": 0.5, **changes.pop("transformer", {})}
    cascade = {"epochs": 2, "width": 8, "channels": 8, **changes.pop("cascade", {})}
    encoder = {"source": str(source), "max_tokens": 16, "precision": precision, **changes.pop("encoder", {})}
    sections = {"transformer": transformer, "cascade": cascade, **changes}
    training = config.training.model_copy(
        update={name: getattr(config.training, name).model_copy(update=values) for name, values in sections.items()}
    )
    return TrainingContext(
        config.encoder.model_copy(update=encoder), training, StateFolder(state), lambda metrics, step: None
    )


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny tensors gain nothing from threads, and threads that wait for a busy core cost much."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A base model of each kind; read only."""
    folder = tmp_path_factory.mktemp("bases")
    return {kind: save_base(folder / kind, kind) for kind in (*KINDS, "head", "poolerless")}


@pytest.fixture
def own_base(bases: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the tiny BERT that a test may damage."""
    return Path(shutil.copytree(bases["bert"], tmp_path / "base"))
