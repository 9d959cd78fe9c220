"""Confidence: how far it is from how often a model is right, its mending, and the threshold for uncertain answers."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from sentiment.calibration import (
    BINS,
    MIN_THRESHOLD_ROWS,
    bin_confidences,
    choose_threshold,
    fit_temperature,
    measure_calibration_error,
)

WARMEST, COLDEST = np.exp(3.0), np.exp(-3.0)


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


def make_logits(rows: int, temperature: float, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return logits that are too large by a factor, and targets drawn from what they were before."""
    generator = np.random.default_rng(seed)
    true = generator.normal(0, 2, (rows, 3))
    targets = (softmax(true, axis=1).cumsum(axis=1) > generator.random((rows, 1))).argmax(axis=1)
    return true * temperature, targets


def measure_miss(logits: np.ndarray, targets: np.ndarray, temperature: float) -> float:
    return -log_softmax(logits / temperature, axis=1)[np.arange(len(targets)), targets].mean()


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


@pytest.mark.parametrize("temperature", [0.2, 0.5, 1.0, 2.0, 8.0])
def test_a_known_temperature_is_found(temperature: float):
    """Logits that are too large by a factor get that factor as their temperature."""
    logits, targets = make_logits(20_000, temperature)
    assert fit_temperature(logits, targets) == pytest.approx(temperature, rel=0.04)


@pytest.mark.parametrize("seed", range(5))
def test_no_other_temperature_is_likelier(seed: int):
    """The temperature is the best one, to a thousandth of a nat, on few rows too."""
    logits, targets = make_logits(25, 3.0, seed)
    best = measure_miss(logits, targets, fit_temperature(logits, targets))
    others = np.exp(np.linspace(-3, 3, 200))
    assert best <= min(measure_miss(logits, targets, other) for other in others) + 1e-3


def test_the_temperature_mends_the_calibration_error():
    """Five times too sure, then divided by the temperature: calibrated."""
    logits, targets = make_logits(5000, 5.0)
    before, after = (
        measure_calibration_error(sure.max(axis=1), sure.argmax(axis=1) == targets)
        for sure in (softmax(logits, axis=1), softmax(logits / fit_temperature(logits, targets), axis=1))
    )
    assert before > 0.1
    assert after < 0.03


def test_answers_that_are_always_right_may_be_as_sure_as_allowed():
    """Without an error the temperature goes to its lower limit, not to zero."""
    assert fit_temperature(np.eye(3)[[0, 1, 2, 1]], np.array([0, 1, 2, 1])) == pytest.approx(COLDEST, rel=0.01)


def test_answers_that_are_always_wrong_are_made_as_unsure_as_allowed():
    """Where no temperature helps, it goes to its upper limit, not to infinity."""
    assert fit_temperature(np.eye(3)[[0, 1, 2, 1]], np.array([1, 2, 0, 0])) == pytest.approx(WARMEST, rel=0.01)


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e4, 1e30], ids=["none", "tiny", "large", "huge"])
def test_logits_of_any_size_have_a_temperature_within_the_limits(size: float):
    """Neither equal nor enormous logits leave the numbers."""
    logits, targets = make_logits(40, size)
    assert COLDEST <= fit_temperature(logits, targets) <= WARMEST


def test_adding_a_constant_to_the_logits_of_a_text_changes_nothing():
    """The temperature depends on differences of logits alone."""
    logits, targets = make_logits(300, 2.0)
    moved = logits + np.arange(300)[:, None]
    assert fit_temperature(moved, targets) == pytest.approx(fit_temperature(logits, targets), rel=1e-3)


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
