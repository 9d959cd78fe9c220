"""The machine on the embeddings: calibrated, seeded, and filled up only where there is enough to fill from."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import log_loss
from sklearn.svm import SVC

from sentiment.candidates.svm.model import (
    ROWS_PER_CHUNK,
    SvmModel,
    SvmSettings,
    fit_svm,
    load_svc,
    measure_gamma,
    read_machine,
)
from sentiment.errors import DatasetError

SETTINGS = SvmSettings(c=1.0, gamma="scale", smote_neighbours=5, seed=0)
LABELS = ("negative", "neutral", "positive")


def make_rows(counts: Sequence[int], *, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return unit-length random embeddings that lean towards the centre of their class, shuffled."""
    rng = np.random.default_rng(seed)
    targets = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    centres = np.random.default_rng(99).normal(size=(len(counts), 24))
    rows = centres[targets] + rng.normal(size=(len(targets), 24)) * 1.5
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), targets


def fit(counts: Sequence[int], *, smote: bool = False, settings: SvmSettings = SETTINGS) -> SvmModel:
    rows, targets = make_rows(counts)
    calibration = make_rows([20] * len(counts), seed=1)
    return fit_svm(rows, targets, LABELS[: len(counts)], settings, smote=smote, calibration=calibration)


@pytest.mark.parametrize("counts", [(40, 40), (40, 40, 40)], ids=["two", "three"])
def test_probabilities_are_one_row_per_text_and_sum_to_one(counts: Sequence[int]):
    """One column per label, each row a distribution."""
    rows, _ = make_rows([10] * len(counts), seed=2)
    probabilities = fit(counts).predict_probabilities(rows)
    assert probabilities.shape == (len(rows), len(counts))
    assert probabilities.min() >= 0
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(len(rows)))


@pytest.mark.parametrize("counts", [(60, 60), (60, 60, 60)], ids=["two", "three"])
def test_the_columns_are_in_the_order_of_the_labels(counts: Sequence[int]):
    """The highest column names the class of nearly every separable row."""
    rows, targets = make_rows([30] * len(counts), seed=3)
    answers = fit(counts).predict_probabilities(rows).argmax(axis=1)
    assert (answers == targets).mean() > 0.9


def test_calibrated_probabilities_beat_a_guess_of_equal_shares():
    """On rows never seen the log loss is below that of knowing nothing."""
    rows, targets = make_rows([50, 50, 50], seed=4)
    assert log_loss(targets, fit((60, 60, 60)).predict_probabilities(rows)) < np.log(3)


@pytest.mark.parametrize("shares", [(30, 10), (30, 10, 20)], ids=["two", "three"])
def test_probabilities_of_the_calibration_rows_average_to_their_class_shares(shares: tuple[int, ...]):
    """The mean probability of a class is its share of the rows that the model was calibrated on."""
    rows, targets = make_rows([40] * len(shares))
    held_out = make_rows(shares, seed=5)
    model = fit_svm(rows, targets, LABELS[: len(shares)], SETTINGS, smote=False, calibration=held_out)
    means = model.predict_probabilities(held_out[0]).mean(axis=0)
    assert means == pytest.approx(np.array(shares) / sum(shares), abs=1e-3)


def test_calibration_rows_decide_the_calibration_alone():
    """Other calibration rows leave the machine as it was and change the probabilities."""
    rows, targets = make_rows((40, 40))
    first, second = (
        fit_svm(rows, targets, LABELS[:2], SETTINGS, smote=False, calibration=make_rows((30, 30), seed=seed))
        for seed in (5, 6)
    )
    scaled = first.scaler.transform(rows)
    assert np.array_equal(first.machine.decide(scaled), second.machine.decide(scaled))
    assert not np.allclose(first.predict_probabilities(rows), second.predict_probabilities(rows))


@pytest.mark.parametrize("smote", [False, True], ids=["svm", "svm_smote"])
def test_the_same_seed_gives_the_same_model(smote: bool):
    """Training twice gives the same probabilities."""
    rows, _ = make_rows((15, 15, 15), seed=7)
    first, second = (fit((40, 12, 30), smote=smote).predict_probabilities(rows) for _ in range(2))
    assert np.array_equal(first, second)


def test_smote_gives_the_small_class_a_larger_share():
    """Filling up moves the decisions towards the class with few rows."""
    rows, _ = make_rows((30, 30), seed=8)
    plain, filled = (fit((120, 8), smote=smote) for smote in (False, True))
    scaled = plain.scaler.transform(rows)
    assert filled.machine.decide(scaled).mean() > plain.machine.decide(scaled).mean()


def test_smote_leaves_the_scaler_to_the_real_rows():
    """Synthetic rows do not change how real rows are scaled."""
    assert np.array_equal(fit((40, 12)).scaler.mean_, fit((40, 12), smote=True).scaler.mean_)


@pytest.mark.parametrize("few", [5, 2])
def test_smote_says_which_class_has_too_few_rows(few: int, refuses):
    """A class without enough neighbours stops the candidate with the way out."""
    with refuses(DatasetError):
        fit((40, few, 30), smote=True)


def test_smote_takes_a_class_with_one_row_more_than_its_neighbours():
    """Six rows are enough for five neighbours."""
    assert fit((40, 6, 30), smote=True).labels == LABELS


def test_a_small_class_does_not_stop_the_plain_machine():
    """Only resampling needs neighbours."""
    assert fit((40, 2, 30), smote=False).labels == LABELS


@pytest.mark.parametrize(("counts", "pairs"), [((30, 30), 1), ((30, 30, 30), 3)], ids=["two", "three"])
def test_decisions_are_one_column_per_pair_of_classes(counts: Sequence[int], pairs: int):
    """Two classes make one decision, three make three."""
    model = fit(counts)
    rows, _ = make_rows([4] * len(counts), seed=9)
    assert model.machine.decide(model.scaler.transform(rows)).shape == (len(rows), pairs)


@pytest.mark.parametrize("counts", [(60, 60), (60, 40, 50)], ids=["two", "three"])
def test_a_machine_decides_as_scikit_learn_does(counts: Sequence[int]):
    """The machine that is read from scikit-learn's SVC says what libsvm says, also of more rows than fit a chunk."""
    rows, targets = make_rows(counts)
    unseen = make_rows([ROWS_PER_CHUNK] * len(counts), seed=10)[0].astype(float)
    svc = SVC(C=1.0, gamma=0.05, decision_function_shape="ovo").fit(rows, targets)
    said = svc.decision_function(unseen).reshape(len(unseen), -1)
    assert np.abs(read_machine(svc).decide(unseen) - said).max() < 1e-9


def test_no_rows_have_no_decisions():
    """An empty table has the shape that a full one has."""
    assert fit((30, 30, 30)).machine.decide(np.zeros((0, 24))).shape == (0, 3)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("sizes", [(30, 60, 90), (97, 174, 269), (103, 180)], ids=["three", "many", "two"])
def test_both_makers_of_the_machine_decide_alike(sizes: Sequence[int], seed: int):
    """Intel's machine and scikit-learn's decide within the tolerance that both are solved to."""
    pytest.importorskip("sklearnex", reason="scikit-learn-intelex is not installed; there is one maker to compare")
    rows, targets = make_rows(sizes, seed=seed)
    unseen, _ = make_rows([20] * len(sizes), seed=seed + 10)
    quick, plain = (maker(C=1.0, gamma=0.05).fit(rows.astype(float), targets) for maker in (load_svc(), SVC))
    assert type(quick) is not type(plain)
    assert np.abs(read_machine(quick).decide(unseen) - read_machine(plain).decide(unseen)).max() < 5e-3


def test_what_intel_decides_wrongly_is_decided_right():
    """On this set Intel's own decisions were off by 0.06 (AVX-512, AMX); what it has learnt is right."""
    rng = np.random.default_rng(0)
    classes, count = int(rng.integers(2, 4)), int(rng.integers(100, 700))
    targets = rng.permutation(np.arange(count) % classes)
    rows = rng.normal(size=(classes, 384))[targets] + rng.normal(size=(count, 384)) * 3
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rows = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    unseen = rng.normal(size=(60, 384))
    gamma = measure_gamma(rows, "scale")
    plain = SVC(gamma=gamma, decision_function_shape="ovo").fit(rows, targets)
    gap = read_machine(load_svc()(gamma=gamma).fit(rows, targets)).decide(unseen) - plain.decision_function(unseen)
    assert np.abs(gap).max() < 5e-3


@pytest.mark.parametrize("gamma", ["scale", "auto", 0.05])
@pytest.mark.parametrize("spread", [1.0, 0.0], ids=["rows", "one row again and again"])
def test_gamma_is_the_number_that_scikit_learn_takes(gamma: str | float, spread: float):
    """A machine by name and a machine by number decide alike, to the last bit."""
    rows, targets = make_rows((20, 20))
    rows = rows.astype(float) * spread
    named, numbered = (SVC(gamma=one).fit(rows, targets) for one in (gamma, measure_gamma(rows, gamma)))
    assert (named.decision_function(rows) == numbered.decision_function(rows)).all()
