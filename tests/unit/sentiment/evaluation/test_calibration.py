"""Confidence: how far it is from how often a model is right, its mending, and the threshold for uncertain answers."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from scipy.special import softmax

from sentiment.evaluation.calibration import (
    BINS,
    MIN_THRESHOLD_ROWS,
    Calibrator,
    bin_confidences,
    choose_threshold,
    fit_calibrator,
    measure_calibration_error,
)


def measure_error_slowly(confidences: np.ndarray, correct: np.ndarray) -> float:
    """The definition, row by row: fifteen bins, each with its upper edge and without its lower one."""
    edges = np.linspace(0, 1, BINS + 1)
    error = 0.0
    for low, high in pairwise(edges):
        inside = [i for i, sure in enumerate(confidences) if low < sure <= high or sure == low == 0]
        if inside:
            sure, right = (sum(values[i] for i in inside) / len(inside) for values in (confidences, correct))
            error += len(inside) / len(confidences) * abs(sure - right)
    return error


def make_confidences(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    confidences = generator.uniform(0, 1, rows)
    confidences[: rows // 5] = generator.choice(np.linspace(0, 1, BINS + 1), rows // 5)
    return confidences, generator.random(rows) < confidences**2


def make_scores(rows: int, distort: Callable[[np.ndarray], np.ndarray], seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return distorted logits, and targets drawn from what the logits were before."""
    generator = np.random.default_rng(seed)
    true = generator.normal(0, 2, (rows, 3))
    targets = (softmax(true, axis=1).cumsum(axis=1) > generator.random((rows, 1))).argmax(axis=1)
    return distort(true), targets


def measure_miss(probabilities: np.ndarray, targets: np.ndarray) -> float:
    return -np.log(probabilities[np.arange(len(targets)), targets]).mean()


def measure_error(probabilities: np.ndarray, targets: np.ndarray) -> float:
    return measure_calibration_error(probabilities.max(axis=1), probabilities.argmax(axis=1) == targets)


def make_rows(*groups: tuple[float, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return confidences and whether they were right from groups of (confidence, right rows, wrong rows)."""
    confidences = [sure for sure, right, wrong in groups for _ in range(right + wrong)]
    correct = [answer for _, right, wrong in groups for answer in [True] * right + [False] * wrong]
    return np.array(confidences, dtype=np.float64), np.array(correct, dtype=np.bool_)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("rows", [1, 7, 400])
def test_the_calibration_error_is_its_definition(rows: int, seed: int):
    """The error is what a plain loop over bins and rows gives, edges among the confidences."""
    confidences, correct = make_confidences(rows, seed)
    assert measure_calibration_error(confidences, correct) == pytest.approx(measure_error_slowly(confidences, correct))


def test_being_as_sure_as_right_has_no_error():
    """Four of five right at a confidence of 0.8 is calibrated."""
    assert measure_calibration_error(*make_rows((0.8, 4, 1), (1.0, 3, 0))) == pytest.approx(0)


@pytest.mark.parametrize(("right", "wrong", "error"), [(0, 5, 1.0), (5, 0, 0.0), (1, 3, 0.75)])
def test_full_confidence_errs_by_the_share_of_wrong_answers(right: int, wrong: int, error: float):
    """Always sure and always wrong is the worst case, always sure and right the best."""
    assert measure_calibration_error(*make_rows((1.0, right, wrong))) == error


def test_modesty_is_an_error_as_well():
    """Right every time at a confidence of a third is off by two thirds."""
    assert measure_calibration_error(*make_rows((1 / 3, 6, 0))) == pytest.approx(2 / 3)


def test_errors_of_two_bins_do_not_cancel():
    """Too sure in one bin and too modest in another add up."""
    assert measure_calibration_error(*make_rows((0.9, 0, 5), (0.1, 5, 0))) == pytest.approx(0.9)


def test_errors_inside_one_bin_cancel():
    """Within a bin the means count: 0.98 wrong and 0.96 right are 0.97 sure and half right."""
    assert measure_calibration_error(*make_rows((0.98, 0, 1), (0.96, 1, 0))) == pytest.approx(0.47)


@pytest.mark.parametrize(
    ("confidence", "low"),
    [(0.0, 0.0), (2**-40, 0.0), (0.25, 0.0), (0.25 + 2**-40, 0.25), (0.5, 0.25), (0.75, 0.5), (1.0, 0.75)],
)
def test_an_edge_belongs_to_the_bin_below_it(confidence: float, low: float):
    """A bin holds its upper edge; the first one holds zero too."""
    (found,) = bin_confidences(np.array([confidence]), np.array([True]), bins=4)
    assert (found.low, found.high, found.rows) == (low, low + 0.25, 1)


def test_a_confidence_just_over_one_is_in_the_last_bin():
    """Probabilities in single precision may sum to a little more than one."""
    over = np.array([np.nextafter(np.float32(1), np.float32(2))], dtype=np.float64)
    (found,) = bin_confidences(over, np.array([True]))
    assert found.high == 1.0


def test_bins_without_rows_are_left_out():
    """Three confidences in two places make two bins, lowest first."""
    bins = bin_confidences(*make_rows((0.95, 1, 1), (0.4, 1, 0)))
    assert [(item.rows, item.accuracy) for item in bins] == [(1, 1.0), (2, 0.5)]
    assert [item.confidence for item in bins] == pytest.approx([0.4, 0.95])


def test_bins_hold_every_row_once():
    """No row is lost at an edge and none counts twice."""
    confidences, correct = make_confidences(500, 3)
    bins = bin_confidences(confidences, correct)
    assert sum(item.rows for item in bins) == 500
    assert sum(item.rows * item.accuracy for item in bins) == pytest.approx(correct.sum())


def test_a_row_lies_between_the_edges_of_its_bin():
    """The mean confidence of a bin is inside it."""
    bins = bin_confidences(*make_confidences(500, 4))
    assert all(item.low <= item.confidence <= item.high for item in bins)
    assert [item.high - item.low for item in bins] == pytest.approx([1 / BINS] * len(bins))


DISTORTIONS = {
    "too-sure": lambda logits: logits * 5,
    "too-unsure": lambda logits: logits / 5,
    "one-class-shifted": lambda logits: logits + np.array([2.0, 0.0, -1.0]),
    "one-class-stretched": lambda logits: logits * np.array([3.0, 1.0, 0.5]),
    "pairs-of-classes": lambda logits: logits @ np.array([[1.0, 1.0, 0.0], [-1.0, 0.0, 1.0], [0.0, -1.0, -1.0]]),
}


@pytest.mark.parametrize("distortion", DISTORTIONS)
def test_what_was_distorted_is_mended(distortion: str):
    """Whatever a linear map did to the logits, fitted on some rows, is undone on others."""
    scores, targets = make_scores(8000, DISTORTIONS[distortion])
    calibrator = fit_calibrator(scores[:4000], targets[:4000])
    assert measure_error(calibrator.calibrate(scores[4000:]), targets[4000:]) < 0.03


@pytest.mark.parametrize("distortion", ["one-class-shifted", "one-class-stretched"])
def test_no_temperature_would_have_mended_it(distortion: str):
    """One number for all classes leaves the error that the calibrator takes away."""
    scores, targets = make_scores(8000, DISTORTIONS[distortion])
    tempered = min(measure_error(softmax(scores / t, axis=1), targets) for t in np.exp(np.linspace(-3, 3, 50)))
    assert tempered > 2 * measure_error(fit_calibrator(scores, targets).calibrate(scores), targets)


@pytest.mark.parametrize("seed", range(5))
def test_scores_from_chance_get_the_shares_of_the_classes(seed: int):
    """Where the scores know nothing, the probabilities are how often each class occurs."""
    generator = np.random.default_rng(seed)
    targets = generator.choice(3, 4000, p=[0.2, 0.5, 0.3])
    found = fit_calibrator(generator.normal(size=(4000, 3)), targets).calibrate(np.zeros((1, 3)))
    assert found[0] == pytest.approx(np.bincount(targets) / 4000, abs=0.02)


def test_two_classes_have_two_probabilities():
    """One slope would do for two classes; the answer still has a column for each."""
    generator = np.random.default_rng(2)
    scores = generator.normal(0, 3, (3000, 1))
    targets = (generator.random(3000) < 1 / (1 + np.exp(-scores[:, 0]))).astype(np.int64)
    calibrator = fit_calibrator(scores, targets)
    found = calibrator.calibrate(scores)
    assert found.shape == (3000, 2)
    assert found.sum(axis=1) == pytest.approx(np.ones(3000))
    assert found[:, 1] == pytest.approx(1 / (1 + np.exp(-scores[:, 0])), abs=0.03)


def test_few_rows_do_not_make_it_certain():
    """Ten rows that are all right leave room for doubt."""
    targets = np.array([0, 1, 2, 1, 0, 2, 1, 1, 0, 2])
    assert 0.5 < fit_calibrator(np.eye(3)[targets] * 9, targets).calibrate(np.eye(3) * 9).max() < 0.999


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e4, 1e30], ids=["none", "tiny", "large", "huge"])
def test_scores_of_any_size_make_probabilities(size: float):
    """Neither equal nor enormous scores leave the numbers; what counts is how they differ."""
    scores, targets = make_scores(400, lambda logits: logits * size)
    found = fit_calibrator(scores, targets).calibrate(scores)
    assert np.isfinite(found).all()
    if size:
        plain, _ = make_scores(400, lambda logits: logits)
        assert found == pytest.approx(fit_calibrator(plain, targets).calibrate(plain), abs=1e-6)


def test_calibration_makes_the_targets_likelier():
    """It is fitted by likelihood, so that leaving the scores alone is never better by more than the penalty takes."""
    for seed in range(5):
        scores, targets = make_scores(60, lambda logits: logits * 3, seed)
        left = measure_miss(softmax(scores, axis=1), targets)
        assert measure_miss(fit_calibrator(scores, targets).calibrate(scores), targets) < left


def test_a_calibrator_is_a_linear_map_and_a_softmax():
    """Its two arrays say all: they go into the graph as they are."""
    calibrator = Calibrator(np.array([[1.0, 0.0], [0.5, 2.0]]), np.array([0.1, -0.1]))
    assert calibrator.calibrate(np.array([[1.0, 2.0]])) == pytest.approx(softmax([[2.1, 3.9]], axis=1))


def trust(confidences: np.ndarray, correct: np.ndarray, precision: float) -> np.ndarray:
    """Return which rows the chosen threshold leaves certain, compared in single precision as the service does."""
    return ~(confidences.astype(np.float32) < choose_threshold(confidences, correct, precision))


def trust_slowly(confidences: np.ndarray, correct: np.ndarray, precision: float) -> np.ndarray:
    """The definition: every confidence that occurs is tried as the threshold."""
    good = []
    for limit in set(confidences.tolist()):
        above = confidences >= limit
        if above.sum() >= MIN_THRESHOLD_ROWS and correct[above].sum() / above.sum() >= precision:
            good.append(limit)
    return confidences >= min(good, default=2.0)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("precision", [0.5, 0.8, 0.95])
def test_the_threshold_is_its_definition(precision: float, seed: int):
    """The lowest confidence at and above which enough answers are right, ties among them."""
    generator = np.random.default_rng(seed)
    confidences = generator.integers(20, 61, 200) / 64
    correct = generator.random(200) < confidences
    assert np.array_equal(trust(confidences, correct, precision), trust_slowly(confidences, correct, precision))


@pytest.mark.parametrize(("right", "trusted"), [(27, 30), (26, 0)], ids=["on-it", "below-it"])
def test_the_wanted_precision_itself_is_enough(right: int, trusted: int):
    """27 of 30 are nine in ten, 26 are not."""
    assert trust(*make_rows((0.75, right, 30 - right)), 0.9).sum() == trusted


@pytest.mark.parametrize(("rows", "trusted"), [(30, 30), (29, 0), (1, 0), (0, 0)])
def test_a_threshold_stands_on_thirty_rows(rows: int, trusted: int):
    """Thirty right answers are enough; 29, one and none prove nothing, and all are uncertain."""
    assert trust(*make_rows((0.75, rows, 0)), 0.9).sum() == trusted


def test_few_sure_rows_need_those_below_them():
    """29 rows at the top make a threshold only with the next one."""
    assert choose_threshold(*make_rows((0.9, 29, 0), (0.8, 1, 0), (0.7, 0, 20)), 0.9) == 0.8


def test_rows_of_one_confidence_stand_and_fall_together():
    """A threshold cannot part equal confidences, however their rows are ordered."""
    confidences, correct = make_rows((0.9, 30, 0), (0.8, 6, 12))
    mixed = np.random.default_rng(1).permutation(len(correct))
    orders = [np.arange(len(correct)), np.arange(len(correct))[::-1], mixed]
    assert {choose_threshold(confidences[order], correct[order], 0.9) for order in orders} == {0.9}


def test_a_bad_stretch_does_not_hide_a_lower_threshold():
    """The lowest confidence counts, though a higher one misses the precision."""
    assert choose_threshold(*make_rows((0.9, 24, 6), (0.8, 60, 0), (0.7, 0, 50)), 0.9) == 0.8


def test_where_all_answers_are_good_enough_the_least_sure_one_is_the_threshold():
    """Nothing is uncertain in a model that is right."""
    assert choose_threshold(*make_rows((0.9, 20, 0), (0.35, 20, 0)), 1.0) == 0.35


def test_a_threshold_from_single_precision_keeps_its_own_rows():
    """A confidence of 0.8 in single precision, which is a little more than 0.8, is not under itself."""
    sure = np.full(30, 0.8, dtype=np.float32).astype(np.float64)
    assert trust(sure, np.ones(30, dtype=np.bool_), 0.9).all()


def test_full_confidence_that_is_right_is_a_threshold():
    """Right at a confidence of one and wrong below it: only full confidence is certain."""
    confidences, correct = make_rows((1.0, 30, 0), (0.99, 0, 30))
    assert np.array_equal(trust(confidences, correct, 0.9), confidences == 1)


def test_where_the_precision_is_never_reached_every_answer_is_uncertain():
    """A model that is wrong too often at any confidence is trusted at none."""
    assert not trust(*make_rows((0.999, 20, 20), (0.5, 20, 20)), 0.9).any()


def test_full_confidence_that_is_wrong_is_uncertain():
    """Where the precision is never reached, not even a confidence of one is trusted."""
    assert not trust(*make_rows((1.0, 0, 60), (0.9, 20, 20)), 0.9).any()
