"""The first stage: what stands behind the mask counts for nothing, and its best epoch is what remains."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from sentiment.candidates.cascade.first_stage import (
    BATCH_SIZE,
    FirstStage,
    FirstStageSettings,
    fit_first_stage,
    pad,
    shuffle_batches,
)
from sentiment.candidates.shared.onnx_export import export_module
from sentiment.errors import TrainingError

VOCABULARY = 50
SETTINGS = FirstStageSettings(epochs=4, width=8, channels=8, learning_rate=1e-2, seed=5)
TEXTS = [[7], [7, 8], [3, 4, 5, 6], [9] * 12, list(range(1, 31))]


def make_stage(classes: int = 3) -> FirstStage:
    torch.manual_seed(0)
    return FirstStage(torch.randn(VOCABULARY, 8), classes, width=8, channels=8).eval()


def make_ids(count: int, *, seed: int, classes: int = 3) -> tuple[list[list[int]], np.ndarray]:
    """Return texts of random ids, of which those of a class start with ids of their own."""
    rng = np.random.default_rng(seed)
    targets = np.arange(count) % classes
    own = [[int(target) * 5 + 1 + int(rng.integers(5))] for target in targets]
    return [first + rng.integers(20, VOCABULARY, size=rng.integers(0, 9)).tolist() for first in own], targets


def fit(settings: FirstStageSettings = SETTINGS, *, classes: int = 3) -> FirstStage:
    torch.manual_seed(1)
    table = torch.randn(VOCABULARY, 8)
    train, validation = (make_ids(count, seed=count, classes=classes) for count in (150, 60))
    return fit_first_stage(table, train, validation, classes, settings)


def ask(stage: FirstStage, texts: list[list[int]]) -> torch.Tensor:
    with torch.no_grad():
        return stage(*pad(texts))


def score(stage: FirstStage, *, seed: int = 60, classes: int = 3) -> float:
    ids, targets = make_ids(60, seed=seed, classes=classes)
    return float(f1_score(targets, ask(stage, ids).argmax(dim=1), average="macro"))


@pytest.mark.parametrize("classes", [2, 3])
def test_neighbours_do_not_change_an_answer(classes: int):
    """A text alone and beside a text of thirty tokens get the same logits, one per class."""
    stage = make_stage(classes)
    alone = torch.cat([ask(stage, [text]) for text in TEXTS])
    assert alone.shape == (len(TEXTS), classes)
    assert (ask(stage, TEXTS) - alone).abs().max() < 1e-5


@pytest.mark.parametrize("padding", [0, 7, VOCABULARY - 1])
@pytest.mark.parametrize("width", [1, 2, 40])
def test_padding_counts_for_nothing(padding: int, width: int):
    """Whatever id stands behind the mask, and however often, the answer is that of the text."""
    stage = make_stage()
    ids, mask = torch.tensor([[3, 4, 5]]), torch.ones((1, 3), dtype=torch.int64)
    padded = torch.cat([ids, torch.full((1, width), padding)], dim=1)
    with torch.no_grad():
        answer = stage(padded, torch.cat([mask, torch.zeros((1, width), dtype=torch.int64)], dim=1))
        assert (answer - stage(ids, mask)).abs().max() < 1e-5


def test_a_text_shorter_than_every_window_has_an_answer():
    """One token is enough."""
    assert torch.isfinite(ask(make_stage(), [[7]])).all()


@pytest.mark.parametrize("texts", [TEXTS, TEXTS[:1]], ids=["padded", "one-token"])
def test_the_exported_stage_answers_like_torch(tmp_path: Path, texts: list[list[int]]):
    """Any number of texts and tokens goes through the graph."""
    import onnxruntime

    stage, file = make_stage(), tmp_path / "stage.onnx"
    export_module(stage, file, output="logits")
    names = ("input_ids", "attention_mask")
    inputs = {name: tensor.numpy() for name, tensor in zip(names, pad(texts), strict=True)}
    answers = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"]).run(None, inputs)[0]
    assert np.abs(answers - ask(stage, texts).numpy()).max() < 1e-5


@pytest.mark.parametrize(("classes", "floor"), [(2, 0.7), (3, 0.6)])
def test_it_learns_what_tells_the_classes_apart(classes: int, floor: float):
    """Texts that it never saw are told apart by the ids of their class."""
    stage = fit(FirstStageSettings(epochs=20, width=8, channels=32, learning_rate=2e-2, seed=5), classes=classes)
    assert score(stage, seed=99, classes=classes) > floor


def test_the_same_seed_gives_the_same_stage():
    """Fitting twice gives the same logits, another seed others."""
    first, second = (ask(fit(), TEXTS) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, ask(fit(FirstStageSettings(4, 8, 8, 1e-2, seed=6)), TEXTS))


def test_the_embeddings_of_the_transformer_stay_as_they_were():
    """The table is read, not fitted."""
    torch.manual_seed(1)
    table = torch.randn(VOCABULARY, 8)
    before = table.clone()
    fit_first_stage(table, make_ids(30, seed=1), make_ids(30, seed=2), 3, SETTINGS)
    assert torch.equal(table, before)


@pytest.mark.parametrize("width", [3, 8, 20])
def test_a_folded_stage_answers_as_before(width: int):
    """A table of narrowed embeddings says the same as narrowing them in each call, and is as narrow as was asked."""
    torch.manual_seed(0)
    stage = FirstStage(torch.randn(VOCABULARY, 8), 3, width=width, channels=8).eval()
    before = ask(stage, TEXTS)
    assert (ask(stage.fold(), TEXTS) - before).abs().max() < 1e-5
    assert stage.embeddings.weight.shape == (VOCABULARY, width)


def test_more_epochs_than_are_good_cost_nothing():
    """What remains is the best epoch on validation, so the first few epochs of many are never better."""
    settings = [FirstStageSettings(epochs, 8, 8, 1.0, seed=5) for epochs in (1, 6)]
    rough = [score(fit(setting)) for setting in settings]
    assert rough[1] >= rough[0]


def test_the_stage_comes_back_ready_to_answer():
    """Dropout is off: asked twice it says the same."""
    stage = fit()
    assert not stage.training
    assert torch.equal(ask(stage, TEXTS), ask(stage, TEXTS))


@pytest.mark.parametrize("count", [1, 63, 64, 65, 2560, 2561])
def test_every_text_is_in_exactly_one_batch(count: int):
    """No text is lost and none comes twice, and no batch is too large."""
    batches = list(shuffle_batches([3] * count, np.random.default_rng(0)))
    assert sorted(np.concatenate(batches)) == list(range(count))
    assert max(len(batch) for batch in batches) <= BATCH_SIZE


def test_a_batch_holds_texts_of_like_length():
    """Of two lengths half and half, no more than one batch is mixed."""
    lengths = [2, 200] * 160
    mixed = [len({lengths[row] for row in batch}) > 1 for batch in shuffle_batches(lengths, np.random.default_rng(0))]
    assert sum(mixed) <= 1


def test_every_epoch_has_another_order():
    """The same generator gives other batches the next time."""
    generator = np.random.default_rng(0)
    first, second = (np.concatenate(list(shuffle_batches([3] * 200, generator))) for _ in range(2))
    assert not np.array_equal(first, second)


def test_texts_are_padded_to_the_longest():
    """Ids are followed by zeros, and the mask says where."""
    ids, mask = pad([[5, 6, 7], [8]])
    assert ids.tolist() == [[5, 6, 7], [8, 0, 0]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]


def test_a_loss_that_is_no_number_is_said(refuses):
    """A learning rate that is far too high ends with one sentence, not with a stage that answers nothing."""
    with refuses(TrainingError):
        fit(FirstStageSettings(epochs=2, width=8, channels=8, learning_rate=1e30, seed=5))
