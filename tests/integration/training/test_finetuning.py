"""Fine-tuning a tiny model for a few steps: the same every time, resumed when killed, and its failures in sentences."""

import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.metrics import f1_score
from transformers import TrainingArguments

from sentiment.candidates.transformer.checkpoints import BEST_FILE, DONE_FILE, SEAL_FILE, find_checkpoint
from sentiment.candidates.transformer.classifier import LoraSettings, TextClassifier, load_tokenizer
from sentiment.candidates.transformer.finetuning import FineTuned, fine_tune
from sentiment.candidates.transformer.trainer import AveragingTrainer, FineTuneSettings, LabelledTexts
from sentiment.errors import SentimentError, TrainingError
from sentiment.paths import CHECKOUT
from tests.unit.sentiment.candidates.conftest import make_rows, save_base

FILES = (
    "model.safetensors",
    "optimizer.pt",
    "scheduler.pt",
    "rng_state.pth",
    "trainer_state.json",
    SEAL_FILE,
    "averaged.safetensors",
)
SETTINGS = FineTuneSettings(
    runs=1,
    epochs=1,
    min_steps=0,
    batch_size=4,
    learning_rate=1e-2,
    warmup=0.1,
    weight_decay=0.01,
    class_weight=0.5,
    label_smoothing=0.1,
    focal=0,
    averaging=0.5,
    patience=9,
    max_tokens=16,
    seed=3,
)
LORA = LoraSettings(rank=2, alpha=4, dropout=0.1, learning_rate=1e-2)
FROZEN = {"learning_rate": 1e-9, "averaging": 0}
PATIENT = {"learning_rate": 3e-3, "epochs": 8}
"""Learns from chance weights with any seed; with larger steps it hangs on the seed and the processor."""
LONG_ROWS = 600


class KilledError(BaseException):
    """What a run dies of here, which nothing in it catches."""


class Listener:
    """Keeps what is reported; dies at the first report of a step from `last` on."""

    def __init__(self, last: int = sys.maxsize) -> None:
        self.heard: list[tuple[int, dict[str, float]]] = []
        self._last = last

    def __call__(self, metrics: Mapping[str, float], step: int) -> None:
        self.heard.append((step, dict(metrics)))
        if step >= self._last:
            raise KilledError

    @property
    def losses(self) -> dict[int, float]:
        return {step: metrics["eval_loss"] for step, metrics in self.heard if "eval_loss" in metrics}

    @property
    def evaluated(self) -> list[int]:
        return list(self.losses)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Tiny tensors gain nothing from threads, and a child must add up as its parent does."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny BERT; read only."""
    return save_base(tmp_path_factory.mktemp("bases") / "bert")


@pytest.fixture(scope="module")
def killed(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a run of two epochs that died at step 20, after checkpoints at 5 and 15 at the least; read only."""
    store = tmp_path_factory.mktemp("killed")
    kill(base, store, at=20, epochs=2, **FROZEN)
    return store


def tune(base: Path, store: Path, report: Any = None, *, rows: int = 40, classes: int = 3, **changes: Any) -> FineTuned:
    """Fine-tune on `rows` rows of `classes` classes: 40 rows are ten steps an epoch, an evaluation every five."""
    return fine_tune(
        base,
        load_tokenizer(base, "mine"),
        changes.pop("train", make_rows(rows, seed=1, classes=classes)),
        changes.pop("validation", make_rows(20, seed=2, classes=classes)),
        classes,
        replace(SETTINGS, **changes),
        store=store,
        report=report or Listener(),
    )


def kill(base: Path, store: Path, *, at: int, **changes: Any) -> None:
    with pytest.raises(KilledError):
        tune(base, store, Listener(at), **changes)


def open_store(store: Path) -> Path:
    (folder,) = store.iterdir()
    return folder


def copy_store(store: Path, to: Path) -> Path:
    return Path(shutil.copytree(store, to))


def list_steps(folder: Path) -> list[int]:
    return sorted(int(path.name.rpartition("-")[2]) for path in folder.glob("checkpoint-*"))


def measure_gap(first: FineTuned, second: FineTuned) -> float:
    """Return the largest difference of a weight."""
    both = zip(first.model.state_dict().values(), second.model.state_dict().values(), strict=True)
    return max(float((one.double() - other.double()).abs().max()) for one, other in both)


def ask(tuned: FineTuned, base: Path, rows: LabelledTexts) -> np.ndarray:
    tokenizer = load_tokenizer(base, "mine")
    encoded = tokenizer(list(rows.texts), padding=True, return_tensors="pt", return_token_type_ids=False)
    with torch.no_grad():
        return tuned.model(**encoded).argmax(dim=1).numpy()


def ask_f1(tuned: FineTuned, base: Path, *, rows: int = 20) -> float:
    validation = make_rows(rows, seed=2)
    return float(f1_score(validation.targets, ask(tuned, base, validation), average="macro"))


def cut(path: Path, to: str) -> None:
    content = path.read_bytes()
    path.unlink()
    if to != "gone":
        path.write_bytes(content[: {"empty": 0, "half": len(content) // 2, "last-bytes": len(content) - 2}[to]])


def measure_loss(base: Path, folder: Path, weights: list[float], **changes: float) -> float:
    """Return the loss of a batch of two: probabilities 0.5, 0.25, 0.25 of class 0 and 0.1, 0.8, 0.1 of class 1."""
    settings = replace(SETTINGS, **{"label_smoothing": 0, **changes})
    trainer = AveragingTrainer(
        model=TextClassifier(base, 3),
        args=TrainingArguments(output_dir=str(folder), use_cpu=True, report_to="none"),
        settings=settings,
        class_weights=torch.tensor(weights),
    )
    logits = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]]).log()
    batch = {"logits": logits, "labels": torch.tensor([0, 1])}
    return float(trainer.compute_loss(lambda logits: logits, batch))


@pytest.mark.parametrize(("lora", "floor"), [(None, 0.8), (LORA, 0.5)], ids=["all", "lora"])
def test_it_learns_what_tells_the_classes_apart(base: Path, tmp_path: Path, lora: LoraSettings | None, floor: float):
    """Texts that it never saw are told apart, by adapters on chance weights less well, but better than by chance."""
    tuned = tune(base, tmp_path, rows=120, lora=lora, **PATIENT)
    unseen = make_rows(60, seed=9)
    assert (ask(tuned, base, unseen) == unseen.targets).mean() > floor
    assert tuned.validation_f1 > floor
    assert not tuned.model.training


def test_two_classes_are_enough(base: Path, tmp_path: Path):
    """A head of two is fitted like a head of three."""
    tuned = tune(base, tmp_path, rows=80, classes=2, **PATIENT)
    unseen = make_rows(40, seed=9, classes=2)
    assert (ask(tuned, base, unseen) == unseen.targets).mean() > 0.8


@pytest.mark.parametrize("lora", [None, LORA], ids=["all", "lora"])
def test_the_same_seed_gives_the_same_weights(base: Path, tmp_path: Path, lora: LoraSettings | None):
    """Two runs agree to the last bit."""
    first, second = (tune(base, tmp_path / name, epochs=2, lora=lora) for name in ("first", "second"))
    assert measure_gap(first, second) == 0
    assert first.validation_f1 == second.validation_f1


def test_another_seed_gives_other_weights(base: Path, tmp_path: Path):
    """The seed decides the order of the rows."""
    first, second = (tune(base, tmp_path / str(seed), seed=seed) for seed in (3, 4))
    assert measure_gap(first, second) > 0


def test_the_score_on_record_is_that_of_the_weights(base: Path, tmp_path: Path):
    """What comes back reaches on validation what was promised."""
    tuned = tune(base, tmp_path, epochs=3)
    assert ask_f1(tuned, base) == pytest.approx(tuned.validation_f1)


def test_it_is_evaluated_twice_an_epoch_and_at_the_end(base: Path, tmp_path: Path):
    """Eleven steps an epoch are evaluated after six, twelve, eighteen and the last."""
    listener = Listener()
    tune(base, tmp_path, listener, rows=44, epochs=2)
    assert listener.evaluated == [6, 12, 18, 22]


@pytest.mark.parametrize("epochs", [0.05, 0.25])
def test_a_part_of_an_epoch_is_evaluated_too(base: Path, tmp_path: Path, epochs: float):
    """However short the training is, it ends with weights and a score."""
    assert 0 <= tune(base, tmp_path, epochs=epochs).validation_f1 <= 1


def test_metrics_are_reported_as_they_come(base: Path, tmp_path: Path):
    """Loss and scores arrive by step as plain numbers."""
    listener = Listener()
    tune(base, tmp_path, listener)
    names = {name for _, metrics in listener.heard for name in metrics}
    assert {"loss", "learning_rate", "eval_loss", "eval_macro_f1", "eval_accuracy"} <= names
    assert {type(value) for _, metrics in listener.heard for value in metrics.values()} == {float}
    assert [step for step, _ in listener.heard] == sorted(step for step, _ in listener.heard)


def test_a_finished_training_leaves_only_its_weights(base: Path, tmp_path: Path):
    """Checkpoints go when they are of no more use."""
    tune(base, tmp_path)
    assert sorted(path.name for path in open_store(tmp_path).iterdir()) == sorted([BEST_FILE, DONE_FILE])


def test_a_finished_training_is_read_and_not_repeated(base: Path, tmp_path: Path):
    """Asked again, the weights and the record are the same and nothing is reported."""
    first, listener = tune(base, tmp_path), Listener()
    again = tune(base, tmp_path, listener)
    assert listener.heard == []
    assert measure_gap(first, again) == 0
    assert (again.validation_f1, again.seconds) == (first.validation_f1, first.seconds)


@pytest.mark.parametrize(
    "change",
    [{"seed": 4}, {"focal": 2.0}, {"max_tokens": 8}, {"lora": LORA}, {"validation": make_rows(21, seed=2)}],
    ids=lambda change: next(iter(change)),
)
def test_another_recipe_is_another_training(base: Path, tmp_path: Path, change: dict[str, Any]):
    """Whatever decides the weights is part of the name that they are kept under."""
    tune(base, tmp_path)
    tune(base, tmp_path, **change)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_row_that_changes_its_split_is_another_training(base: Path, tmp_path: Path):
    """The last training row moved to the front of validation: other splits, other weights."""
    rows = make_rows(61, seed=1)
    for end in (40, 41):
        splits = (LabelledTexts(rows.texts[part], rows.targets[part]) for part in (slice(0, end), slice(end, 61)))
        tune(base, tmp_path, **dict(zip(("train", "validation"), splits, strict=True)))
    assert len(list(tmp_path.iterdir())) == 2


def test_the_same_tokenizer_asks_for_the_same_training(base: Path, tmp_path: Path):
    """A tokenizer that was used for a training finds it again."""
    tokenizer, splits = load_tokenizer(base, "mine"), (make_rows(40, seed=1), make_rows(20, seed=2))
    for _ in range(2):
        fine_tune(base, tokenizer, *splits, 3, SETTINGS, store=tmp_path, report=Listener())
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(("patience", "last"), [(1, 10), (2, 15), (9, 20)])
def test_it_stops_after_so_many_evaluations_without_gain(base: Path, tmp_path: Path, patience: int, last: int):
    """Weights that do not move stop at the second evaluation plus the patience, or at the end."""
    listener = Listener()
    tune(base, tmp_path, listener, epochs=2, patience=patience, **FROZEN)
    assert listener.evaluated[-1] == last


@pytest.mark.parametrize(("min_steps", "last"), [(0, 10), (10, 10), (11, 11), (25, 25)])
def test_small_data_are_gone_over_until_the_least_steps(base: Path, tmp_path: Path, min_steps: int, last: int):
    """One epoch of ten steps is lengthened where more are wanted, and left alone where not."""
    listener = Listener()
    tune(base, tmp_path, listener, epochs=1, min_steps=min_steps, **FROZEN)
    assert listener.heard[-1][0] == last


def test_a_killed_run_goes_on_from_its_checkpoint(base: Path, killed: Path, tmp_path: Path):
    """What was evaluated before is not evaluated again."""
    store, listener = copy_store(killed, tmp_path / "store"), Listener()
    tune(base, store, listener, epochs=2, **FROZEN)
    assert listener.evaluated == [20]
    assert sorted(path.name for path in open_store(store).iterdir()) == sorted([BEST_FILE, DONE_FILE])


@pytest.mark.slow
@pytest.mark.extended
@pytest.mark.parametrize("lora", [None, LORA], ids=["all", "lora"])
@pytest.mark.parametrize("at", [10, 15, 20], ids=["first-epoch", "between-epochs", "second-epoch"])
def test_a_killed_run_ends_as_one_that_was_not(base: Path, tmp_path: Path, at: int, lora: LoraSettings | None):
    """Resumed from the checkpoint five steps before its death, it measures and keeps the same to the last bit."""
    kill(base, tmp_path / "killed", at=at, epochs=3, lora=lora)
    after, whole = Listener(), Listener()
    resumed = tune(base, tmp_path / "killed", after, epochs=3, lora=lora)
    expected = tune(base, tmp_path / "whole", whole, epochs=3, lora=lora)
    assert after.evaluated == list(range(at, 31, 5))
    assert {step: whole.losses[step] for step in after.losses} == after.losses
    assert measure_gap(resumed, expected) == 0


@pytest.mark.slow
@pytest.mark.extended
def test_a_run_killed_by_the_system_ends_as_one_that_was_not(
    base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    """SIGKILL after the first checkpoint, then the rest: the same weights as in one go."""
    process = start_child(base, tmp_path / "killed")
    try:
        wait_for(tmp_path / "killed", f"*/checkpoint-*/{SEAL_FILE}", process)
    finally:
        process.send_signal(signal.SIGKILL)
        assert process.wait(30) == -signal.SIGKILL
    with caplog.at_level(logging.INFO):
        resumed = tune(base, tmp_path / "killed", rows=LONG_ROWS)
    assert "going on from checkpoint-75" in caplog.text
    assert measure_gap(resumed, tune(base, tmp_path / "whole", rows=LONG_ROWS)) == 0


@pytest.mark.slow
@pytest.mark.extended
def test_a_run_that_is_killed_again_and_again_ends(base: Path, tmp_path: Path):
    """Killed while its first file is written and wherever it then is, the rest still gives the same weights."""
    for pattern in ("*/best.*", "*/checkpoint-*/*.part", "*/checkpoint-*/optimizer.pt"):
        process = start_child(base, tmp_path / "killed")
        try:
            wait_for(tmp_path / "killed", pattern, process)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait(30)
    resumed = tune(base, tmp_path / "killed", rows=LONG_ROWS)
    assert measure_gap(resumed, tune(base, tmp_path / "whole", rows=LONG_ROWS)) == 0
    assert sorted(path.name for path in open_store(tmp_path / "killed").iterdir()) == sorted([BEST_FILE, DONE_FILE])


def test_a_killed_run_remembers_how_long_it_gained_nothing(base: Path, tmp_path: Path):
    """Patience of two ends at the third evaluation, also where the run died after the second."""
    settings = {"epochs": 3, "patience": 2, **FROZEN}
    kill(base, tmp_path, at=15, **settings)
    listener = Listener()
    tune(base, tmp_path, listener, **settings)
    assert listener.evaluated == [15]


@pytest.mark.parametrize("to", ["gone", "empty", "half", "last-bytes"])
@pytest.mark.parametrize("name", FILES)
def test_a_cut_checkpoint_is_passed_over(killed: Path, tmp_path: Path, name: str, to: str):
    """The one before it is taken, and the cut one removed."""
    folder = open_store(copy_store(killed, tmp_path / "store"))
    assert list_steps(folder) == [5, 15]
    cut(folder / "checkpoint-15" / name, to)
    assert find_checkpoint(folder) == folder / "checkpoint-5"
    assert list_steps(folder) == [5]


def test_the_newest_whole_checkpoint_is_taken(killed: Path):
    """By number, not by name: 15 comes after 5."""
    assert find_checkpoint(open_store(killed)) == open_store(killed) / "checkpoint-15"


def test_a_passed_over_checkpoint_is_said(killed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """The log names the folder."""
    folder = open_store(copy_store(killed, tmp_path / "store"))
    cut(folder / "checkpoint-15" / "optimizer.pt", "half")
    find_checkpoint(folder)
    assert caplog.messages == [f"{folder / 'checkpoint-15'} was cut short and is passed over"]


def test_without_a_whole_checkpoint_it_starts_anew(base: Path, killed: Path, tmp_path: Path):
    """Nothing sound is left: the run starts at its first step and ends."""
    store, listener = copy_store(killed, tmp_path / "store"), Listener()
    for step in (5, 15):
        cut(open_store(store) / f"checkpoint-{step}" / "model.safetensors", "half")
    tune(base, store, listener, epochs=2, **FROZEN)
    assert listener.evaluated == [5, 10, 15, 20]


@pytest.mark.parametrize("name", FILES)
def test_a_run_with_a_cut_checkpoint_ends_as_one_without(base: Path, tmp_path: Path, name: str):
    """It goes on from the checkpoint before, in the first epoch, to the same weights."""
    kill(base, tmp_path / "killed", at=15, epochs=2)
    cut(open_store(tmp_path / "killed") / "checkpoint-10" / name, "half")
    resumed = tune(base, tmp_path / "killed", epochs=2)
    assert measure_gap(resumed, tune(base, tmp_path / "whole", epochs=2)) == 0


def test_a_folder_without_checkpoints_has_none(tmp_path: Path):
    """Before the first evaluation there is nothing to go on from."""
    assert find_checkpoint(tmp_path) is None


@pytest.mark.parametrize("to", ["gone", "half"])
def test_a_killed_run_whose_best_weights_are_lost_starts_anew(base: Path, killed: Path, tmp_path: Path, to: str):
    """Later weights that are no better never replace lost ones, so it cannot go on."""
    store = copy_store(killed, tmp_path / "store")
    cut(open_store(store) / BEST_FILE, to)
    assert tune(base, store, epochs=2, **FROZEN).validation_f1 >= 0


@pytest.mark.parametrize("to", ["empty", "half", "last-bytes"])
@pytest.mark.parametrize("name", [DONE_FILE, BEST_FILE])
def test_a_finished_training_that_was_damaged_is_repeated(base: Path, tmp_path: Path, name: str, to: str):
    """What a full disk or a lost plug cut short is made again, not an error for ever."""
    first = tune(base, tmp_path)
    cut(open_store(tmp_path) / name, to)
    assert measure_gap(tune(base, tmp_path), first) == 0


def test_a_finished_training_without_its_record_is_repeated(base: Path, tmp_path: Path):
    """The record is written last, so without it nothing is finished."""
    first, listener = tune(base, tmp_path), Listener()
    (open_store(tmp_path) / DONE_FILE).unlink()
    assert measure_gap(tune(base, tmp_path, listener), first) == 0
    assert listener.evaluated == [5, 10]


def test_a_finished_training_without_its_weights_is_repeated(base: Path, tmp_path: Path):
    """A record alone is no model."""
    first = tune(base, tmp_path)
    (open_store(tmp_path) / BEST_FILE).unlink()
    assert measure_gap(tune(base, tmp_path), first) == 0


def test_a_loss_that_is_no_number_is_one_sentence(base: Path, tmp_path: Path):
    """A learning rate that is far too high is named, with the step; asked again the answer is the same."""
    for _ in range(2):
        with pytest.raises(TrainingError) as refusal:
            tune(base, tmp_path, learning_rate=1e30)
        assert str(refusal.value) == (
            "the loss is not a number at step 2; lower training.transformer.learning_rate (now 1e+30)."
        )


def test_a_loss_of_lora_that_is_no_number_names_the_rate_of_lora(base: Path, tmp_path: Path):
    """The rate to lower is the one that was used."""
    with pytest.raises(TrainingError, match=r"training\.lora\.learning_rate \(now 1e\+30\)"):
        tune(base, tmp_path, lora=LoraSettings(rank=2, alpha=4, dropout=0.0, learning_rate=1e30))


def test_more_tokens_than_the_model_has_positions_are_one_sentence(base: Path, tmp_path: Path):
    """The tiny BERT has 64 positions."""
    with pytest.raises(SentimentError, match="max_tokens"):
        tune(base, tmp_path, train=LabelledTexts(["good " * 100] * 6, np.arange(6) % 3), max_tokens=128)


def test_a_class_without_training_rows_is_no_crash(base: Path, tmp_path: Path):
    """Of three classes the last has no row; the head still has three."""
    rows = make_rows(20, seed=1, classes=2)
    assert tune(base, tmp_path, train=rows).validation_f1 >= 0


@pytest.mark.parametrize(
    "texts", [["", "good", "bad"], ["\x00", "\t", "😀"], ["same"] * 3, ["word " * 500, "b", "c"]], ids=str
)
def test_odd_texts_are_no_crash(base: Path, tmp_path: Path, texts: list[str]):
    """Empty, equal and very long texts are rows like others."""
    assert tune(base, tmp_path, train=LabelledTexts(texts, np.arange(3))).validation_f1 >= 0


@pytest.mark.parametrize("averaging", [0.0, 0.999])
def test_averaging_has_no_bad_edge(base: Path, tmp_path: Path, averaging: float):
    """No average at all and a very slow one both learn."""
    assert tune(base, tmp_path, rows=120, epochs=4, averaging=averaging).validation_f1 > 0.5


def test_without_averaging_the_last_weights_are_the_average(base: Path, tmp_path: Path):
    """At a decay of 0 the average follows every step at once."""
    kill(base, tmp_path, at=10, averaging=0)
    live, averaged = (load_file(open_store(tmp_path) / "checkpoint-5" / name) for name in (FILES[0], FILES[-1]))
    assert all(torch.equal(averaged[f"module.{name}"], weights) for name, weights in live.items())


@pytest.mark.parametrize(
    ("weights", "changes", "expected"),
    [
        ([1, 1, 1], {}, (np.log(2) + np.log(1.25)) / 2),
        ([3, 1, 1], {}, (3 * np.log(2) + np.log(1.25)) / 4),
        (
            [1, 1, 1],
            {"label_smoothing": 0.3},
            0.7 * (np.log(2) + np.log(1.25)) / 2
            + 0.1 * (np.log(2) + 2 * np.log(4) + np.log(1.25) + 2 * np.log(10)) / 2,
        ),
        ([1, 1, 1], {"focal": 2}, (0.25 * np.log(2) + 0.04 * np.log(1.25)) / 2),
        ([1, 1, 1], {"focal": 0.5}, (0.5**0.5 * np.log(2) + 0.2**0.5 * np.log(1.25)) / 2),
        ([3, 1, 1], {"focal": 2}, (3 * 0.25 * np.log(2) + 0.04 * np.log(1.25)) / 2),
        ([1, 1, 1], {"focal": 2, "label_smoothing": 0.3}, (0.25 * np.log(2) + 0.04 * np.log(1.25)) / 2),
    ],
    ids=["plain", "weighted", "smoothed", "focal", "focal-half", "focal-weighted", "focal-is-not-smoothed"],
)
def test_the_loss_of_a_batch_is_what_the_formula_says(
    base: Path, tmp_path: Path, weights: list[float], changes: dict[str, float], expected: float
):
    """Cross entropy, smoothed cross entropy and focal loss, computed by hand for two rows."""
    assert measure_loss(base, tmp_path, [float(weight) for weight in weights], **changes) == pytest.approx(expected)


def test_two_runs_are_averaged_or_the_better_is_taken(base: Path, tmp_path: Path):
    """Every weight is the mean of the two, or all are those of the better one, and the score is theirs."""
    tuned = tune(base, tmp_path, runs=2, epochs=2)
    one, other = (load_file(folder / BEST_FILE) for folder in sorted(tmp_path.iterdir()))
    own = {name: weights for name, weights in tuned.model.state_dict().items() if name in one}
    sources = (one, other, {name: (one[name] + other[name]) / 2 for name in one})
    assert set(own) == set(one)
    assert any(all(torch.allclose(own[name], source[name], atol=1e-6) for name in own) for source in sources)
    assert ask_f1(tuned, base) == pytest.approx(tuned.validation_f1)


def test_two_runs_start_alike_and_go_other_ways(base: Path, tmp_path: Path):
    """The second run is evaluated as often as the first, to other scores."""
    listener = Listener()
    tune(base, tmp_path, listener, runs=2)
    steps = [(step, metrics["eval_loss"]) for step, metrics in listener.heard if "eval_loss" in metrics]
    assert [step for step, _ in steps] == [5, 10, 5, 10]
    assert steps[:2] != steps[2:]


def test_a_first_run_that_was_finished_alone_is_read(base: Path, tmp_path: Path):
    """One run more costs one run."""
    tune(base, tmp_path)
    listener = Listener()
    tune(base, tmp_path, listener, runs=2)
    assert listener.evaluated == [5, 10]
    assert len(listener.heard) == len({step for step, _ in listener.heard}) + 2


def test_a_kill_in_the_second_run_does_not_cost_the_first(base: Path, tmp_path: Path):
    """Resumed, the first run is read, and the weights are those of two runs in one go."""

    class OnceDone(Listener):
        def __call__(self, metrics: Mapping[str, float], step: int) -> None:
            if step >= 10 and any("train_loss" in earlier for _, earlier in self.heard):
                raise KilledError
            super().__call__(metrics, step)

    with pytest.raises(KilledError):
        tune(base, tmp_path / "killed", OnceDone(), runs=2)
    listener = Listener()
    resumed = tune(base, tmp_path / "killed", listener, runs=2)
    assert listener.evaluated == [10]
    assert measure_gap(resumed, tune(base, tmp_path / "whole", runs=2)) == 0


def test_a_run_of_an_average_is_no_run_of_another_seed(base: Path, tmp_path: Path):
    """Seed 4 gives the same weights whether two runs of seed 3 went before or not."""
    tune(base, tmp_path / "used", seed=3, runs=2)
    assert measure_gap(tune(base, tmp_path / "used", seed=4), tune(base, tmp_path / "fresh", seed=4)) == 0


def test_a_file_that_lacks_weights_is_not_taken_for_a_model(base: Path, tmp_path: Path):
    """A best.safetensors without the weights of this model is damage, not an untrained model."""
    first = tune(base, tmp_path)
    save_file({"x": torch.zeros(3)}, open_store(tmp_path) / BEST_FILE)
    assert measure_gap(tune(base, tmp_path), first) == 0


def start_child(base: Path, store: Path) -> subprocess.Popen[bytes]:
    """Start a fine-tuning of 150 steps, with checkpoints at 75 and 150, in a process of its own."""
    code = (
        "import sys, torch; torch.set_num_threads(1); from pathlib import Path;"
        " from tests.integration.training.test_finetuning import LONG_ROWS, tune;"
        " tune(Path(sys.argv[1]), Path(sys.argv[2]), rows=LONG_ROWS)"
    )
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code, str(base), str(store)], cwd=CHECKOUT, env=environment
    )


def wait_for(folder: Path, pattern: str, process: subprocess.Popen[bytes]) -> None:
    """Return when a file with something in it is there, or when the process has ended."""
    until = time.monotonic() + 120
    while not any(has_content(path) for path in folder.glob(pattern)) and process.poll() is None:
        assert time.monotonic() < until, f"no {pattern} in {folder}"
        time.sleep(0.002)


def has_content(path: Path) -> bool:
    """Return whether a file that may be renamed at any moment has something in it."""
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:
        return False
