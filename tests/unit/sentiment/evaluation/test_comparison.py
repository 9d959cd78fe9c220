"""The paired comparison: the intervals that a bootstrap row by row gives, and an exact test."""

from collections.abc import Sequence

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import f1_score

from sentiment.evaluation.comparison import (
    Interval,
    compare_predictions,
    count_cells,
    draw_cells,
    measure_interval,
    score_confusions,
)
from sentiment.evaluation.predictions import Predictions, score_predictions

LABELS = ("negative", "neutral", "positive")
RESAMPLES = 4000
SIDES = ["champion", "challenger", "difference"]


def make_predictions(targets: Sequence[int], chosen: Sequence[int], labels: tuple[str, ...] = LABELS) -> Predictions:
    probabilities = np.eye(len(labels), dtype=np.float32)[np.asarray(chosen, dtype=np.int64)]
    return Predictions("bundle", "dataset", labels, probabilities, np.asarray(targets, dtype=np.int64))


def compare(
    champion: Predictions, challenger: Predictions, *, resamples: int = 200, confidence: float = 0.95, seed: int = 7
):
    return compare_predictions(champion, challenger, resamples=resamples, confidence=confidence, seed=seed)


def make_pair(rows: tuple[int, ...], *, right: tuple[float, float] = (0.65, 0.75), seed: int = 3):
    """Return two models whose answers go together, with a number of rows per class."""
    generator = np.random.default_rng(seed)
    targets = generator.permutation(np.repeat(np.arange(len(rows)), rows))
    luck = generator.random(len(targets))
    slips = generator.integers(1, len(rows), len(targets))
    own = np.where(generator.random(len(targets)) < 0.2, generator.random(len(targets)), luck)
    champion = np.where(luck < right[0], targets, (targets + slips) % len(rows))
    challenger = np.where(own < right[1], targets, (targets + slips) % len(rows))
    labels = LABELS[: len(rows)]
    return make_predictions(targets, champion, labels), make_predictions(targets, challenger, labels)


def make_table(only_champion: int, only_challenger: int, both: int = 10) -> tuple[Predictions, Predictions]:
    """Return two models of which each is right alone on so many rows."""
    champion = [0] * (only_champion + both) + [1] * only_challenger
    challenger = [1] * only_champion + [0] * (both + only_challenger)
    return make_predictions([0] * len(champion), champion), make_predictions([0] * len(champion), challenger)


def bootstrap_rows(champion: Predictions, challenger: Predictions, resamples: int, seed: int) -> dict[str, np.ndarray]:
    """Draw whole rows with replacement within each true class, the same rows for both models."""
    generator = np.random.default_rng(seed)
    places = [np.flatnonzero(champion.targets == true) for true in np.unique(champion.targets)]
    drawn = np.concatenate([generator.choice(own, (resamples, len(own))) for own in places], axis=1)
    targets = champion.targets[drawn]
    scores = {
        "champion": measure_f1(targets, champion.chosen[drawn], len(champion.labels)),
        "challenger": measure_f1(targets, challenger.chosen[drawn], len(champion.labels)),
    }
    return scores | {"difference": scores["challenger"] - scores["champion"]}


def measure_f1(targets: np.ndarray, chosen: np.ndarray, classes: int) -> np.ndarray:
    scores = []
    for label in range(classes):
        hits = ((targets == label) & (chosen == label)).sum(axis=1)
        misses = ((targets == label) != (chosen == label)).sum(axis=1)
        scores.append(hits / (hits + misses / 2))
    return np.mean(scores, axis=0)


def bootstrap_cells(champion: Predictions, challenger: Predictions, resamples: int, seed: int) -> dict[str, np.ndarray]:
    drawn = draw_cells(count_cells(champion, challenger), resamples, np.random.default_rng(seed))
    before, after = score_confusions(drawn.sum(axis=3)), score_confusions(drawn.sum(axis=2))
    return {"champion": before, "challenger": after, "difference": after - before}


@pytest.fixture(scope="module", params=[(80, 60, 100), (300, 12, 40), (50, 150)], ids=["even", "skewed", "two"])
def pair(request: pytest.FixtureRequest) -> tuple[Predictions, Predictions]:
    return make_pair(request.param)


@pytest.fixture(scope="module")
def by_row(pair: tuple[Predictions, Predictions]) -> dict[str, np.ndarray]:
    return bootstrap_rows(*pair, RESAMPLES, seed=11)


@pytest.mark.parametrize("side", SIDES)
def test_resampled_cells_have_the_mean_of_resampled_rows(pair, by_row, side: str):
    """Drawing cells and drawing rows agree in the mean within the error of chance."""
    cells, rows = bootstrap_cells(*pair, RESAMPLES, seed=5)[side], by_row[side]
    assert cells.mean() == pytest.approx(rows.mean(), abs=4 * rows.std() * np.sqrt(2 / RESAMPLES))


@pytest.mark.parametrize("side", SIDES)
def test_resampled_cells_spread_as_resampled_rows_do(pair, by_row, side: str):
    """Drawing cells and drawing rows agree in the standard deviation, of the paired difference as well."""
    cells, rows = bootstrap_cells(*pair, RESAMPLES, seed=5)[side], by_row[side]
    assert cells.std() == pytest.approx(rows.std(), rel=4 / np.sqrt(RESAMPLES))


@pytest.mark.parametrize("confidence", [0.8, 0.95])
@pytest.mark.parametrize("side", SIDES)
def test_an_interval_ends_where_the_quantiles_of_resampled_rows_are(pair, by_row, side: str, confidence: float):
    """Both ends lie within a quarter of a standard deviation of those that rows give."""
    interval = getattr(compare(*pair, resamples=RESAMPLES, confidence=confidence), side)
    ends = np.quantile(by_row[side], [(1 - confidence) / 2, (1 + confidence) / 2])
    assert (interval.low, interval.high) == pytest.approx(tuple(ends), abs=by_row[side].std() / 4)


@pytest.mark.parametrize("side", SIDES)
def test_two_models_resampled_apart_would_spread_more(side: str):
    """The pairing counts: the difference spreads less than that of models on other rows, each model the same."""
    pair = make_pair((80, 60, 100))
    together, apart = bootstrap_cells(*pair, RESAMPLES, seed=5), bootstrap_cells(*pair, RESAMPLES, seed=6)
    apart["difference"] = apart["challenger"] - together["champion"]
    ratio = together[side].std() / apart[side].std()
    assert ratio < 0.8 if side == "difference" else ratio == pytest.approx(1, rel=0.06)


def test_every_draw_keeps_the_rows_of_each_class():
    """A resample has as many rows of a class as the dataset, even one or none."""
    cells = np.zeros((3, 3, 3), dtype=np.int64)
    cells[0] = [[5, 1, 0], [2, 0, 0], [0, 7, 3]]
    cells[2, 1, 1] = 1
    drawn = draw_cells(cells, 500, np.random.default_rng(1))
    assert {tuple(rows) for rows in drawn.sum(axis=(2, 3))} == {(18, 0, 1)}


def test_a_pair_of_answers_that_never_occurred_is_never_drawn():
    """What no row shows has no chance."""
    pair = make_pair((300, 12, 40))
    cells = count_cells(*pair)
    assert (cells == 0).any()
    assert not draw_cells(cells, 2000, np.random.default_rng(1))[:, cells == 0].any()


def test_cells_count_every_row_once():
    """A cell is true class, champion's answer, challenger's answer, in that order."""
    cells = count_cells(make_predictions([0, 0, 2], [1, 1, 2]), make_predictions([0, 0, 2], [0, 0, 1]))
    assert cells[0, 1, 0] == 2
    assert cells[2, 2, 1] == 1
    assert cells.sum() == 3


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("present", [(0, 1, 2), (0, 2), (1,)], ids=["all", "two", "one"])
def test_macro_f1_is_that_of_scikit_learn_over_the_classes_with_rows(seed: int, present: tuple[int, ...]):
    """A class without rows does not count, whether or not it is answered."""
    generator = np.random.default_rng(seed)
    targets, chosen = generator.choice(present, 40), generator.integers(0, 3, 40)
    predictions = make_predictions(targets, chosen)
    wanted = f1_score(targets, chosen, labels=np.unique(targets), average="macro", zero_division=0)
    value = compare(predictions, predictions).champion.value
    assert value == pytest.approx(wanted)
    assert value == pytest.approx(score_predictions(predictions).macro_f1)


def test_a_class_that_is_never_found_counts_nothing():
    """All rows answered as one of two classes: one F1 of two thirds and one of zero."""
    assert score_confusions(np.array([[4, 0], [4, 0]])) == pytest.approx(1 / 3)


def test_the_values_are_macro_f1_on_the_rows_themselves(pair: tuple[Predictions, Predictions]):
    """The measured values are not resampled, and the difference is theirs."""
    champion, challenger = (score_predictions(predictions).macro_f1 for predictions in pair)
    found = compare(*pair)
    assert (found.champion.value, found.challenger.value) == pytest.approx((champion, challenger))
    assert found.difference.value == pytest.approx(challenger - champion)


def test_the_comparison_says_what_it_was_made_of(pair: tuple[Predictions, Predictions]):
    """Rows, resamples and confidence go with the result."""
    found = compare(*pair, resamples=321, confidence=0.9)
    assert (found.rows, found.resamples, found.confidence) == (len(pair[0].targets), 321, 0.9)


def test_a_seed_gives_one_result(pair: tuple[Predictions, Predictions]):
    """The same answers and seed make the same comparison, to the last digit."""
    assert compare(*pair, seed=4) == compare(*pair, seed=4)


def test_another_seed_moves_the_ends_alone(pair: tuple[Predictions, Predictions]):
    """What was measured does not depend on the seed; where the interval ends does, a little."""
    one, other = compare(*pair, seed=4), compare(*pair, seed=5)
    assert one.difference != other.difference
    assert (one.difference.value, one.mcnemar_p) == (other.difference.value, other.mcnemar_p)


def test_identical_models_do_not_differ(pair: tuple[Predictions, Predictions]):
    """The same answers give no difference, no doubt and a p of one."""
    found = compare(pair[1], pair[1])
    assert found.difference == Interval(0.0, 0.0, 0.0)
    assert (found.mcnemar_p, found.only_champion_right, found.only_challenger_right) == (1.0, 0, 0)
    assert found.detectable == 0.0
    assert found.champion == found.challenger


def test_models_that_are_always_right_have_an_interval_of_one_point():
    """Without an error there is nothing to resample."""
    predictions = make_predictions([0, 1, 2, 2], [0, 1, 2, 2])
    assert measure_interval(predictions, resamples=100, confidence=0.95, seed=1) == Interval(1.0, 1.0, 1.0)


def test_a_single_row_can_be_compared():
    """The smallest dataset has an answer."""
    found = compare(make_predictions([1], [0]), make_predictions([1], [1]))
    assert found.difference == Interval(1.0, 1.0, 1.0)
    assert found.mcnemar_p == 1.0


def test_more_confidence_makes_a_wider_interval(pair: tuple[Predictions, Predictions]):
    """An interval lies inside the one of the same resamples with more confidence."""
    narrow, wide = (compare(*pair, confidence=confidence).difference for confidence in (0.8, 0.99))
    assert wide.low <= narrow.low <= narrow.high <= wide.high
    assert wide.high - wide.low > narrow.high - narrow.low


def test_the_other_way_round_is_the_mirror_image(pair: tuple[Predictions, Predictions]):
    """Champion and challenger exchanged: the signs and the counts change, the p does not."""
    one, other = compare(*pair, resamples=RESAMPLES), compare(*reversed(pair), resamples=RESAMPLES)
    assert other.difference.value == pytest.approx(-one.difference.value)
    assert other.difference.low == pytest.approx(-one.difference.high, abs=one.detectable / 8)
    assert (other.only_champion_right, other.mcnemar_p) == (one.only_challenger_right, one.mcnemar_p)


def test_the_order_of_the_labels_changes_no_value(pair: tuple[Predictions, Predictions]):
    """Both models reordered alike score the same."""
    turned = compare(*(predictions.reorder(tuple(reversed(predictions.labels))) for predictions in pair))
    found = compare(*pair)
    assert turned.difference.value == pytest.approx(found.difference.value)
    assert turned.mcnemar_p == found.mcnemar_p


@pytest.mark.parametrize(
    ("only_champion", "only_challenger", "p"),
    [
        (0, 0, 1.0),
        (1, 0, 1.0),
        (0, 5, 0.0625),
        (0, 6, 0.03125),
        (1, 9, 0.021484375),
        (9, 1, 0.021484375),
        (7, 7, 1.0),
        (2, 10, 0.03857421875),
    ],
)
def test_mcnemar_is_exact_and_two_sided(only_champion: int, only_challenger: int, p: float):
    """Twice the tail of a fair coin over the rows on which one model alone is right."""
    found = compare(*make_table(only_champion, only_challenger))
    assert (found.only_champion_right, found.only_challenger_right) == (only_champion, only_challenger)
    assert found.mcnemar_p == pytest.approx(p)


def test_mcnemar_agrees_with_scipy(pair: tuple[Predictions, Predictions]):
    """On real tables the p is that of a binomial test, worked out by hand."""
    champion, challenger = (predictions.chosen == predictions.targets for predictions in pair)
    losses, gains = int((champion & ~challenger).sum()), int((~champion & challenger).sum())
    assert compare(*pair).mcnemar_p == pytest.approx(binomtest(gains, gains + losses, 0.5).pvalue)


def test_rows_that_both_get_wrong_differently_change_nothing_in_mcnemar():
    """Two wrong answers are two wrong predictions."""
    champion, challenger = make_predictions([0] * 6, [1, 1, 1, 2, 0, 0]), make_predictions([0] * 6, [2, 2, 2, 1, 0, 0])
    assert compare(champion, challenger).mcnemar_p == 1.0


def test_one_model_alone_has_the_interval_that_it_has_in_a_pair(pair: tuple[Predictions, Predictions]):
    """The interval of a model does not depend on what it is compared with, but for chance."""
    alone = measure_interval(pair[1], resamples=RESAMPLES, confidence=0.95, seed=2)
    paired = compare(*pair, resamples=RESAMPLES).challenger
    width = paired.high - paired.low
    assert (alone.low, alone.value, alone.high) == pytest.approx(
        (paired.low, paired.value, paired.high), abs=width / 15
    )


def draw_pair(cells: np.ndarray, generator: np.random.Generator) -> tuple[Predictions, Predictions]:
    """Return two models on rows drawn from cells of probabilities per class, 100 rows of each."""
    drawn = np.stack([generator.multinomial(100, own.ravel()).reshape(own.shape) for own in cells])
    true, champion, challenger = np.repeat(np.argwhere(drawn >= 0), drawn.ravel(), axis=0).T
    return make_predictions(true, champion), make_predictions(true, challenger)


def make_cells(gain: float) -> np.ndarray:
    """Return probabilities of cells: both right, both wrong, and a share `gain` more for the challenger alone."""
    cells = np.zeros((3, 3, 3))
    for true in range(3):
        slip = (true + 1) % 3
        cells[true, true, true], cells[true, slip, slip] = 0.6, 0.2
        cells[true, true, slip], cells[true, slip, true] = 0.1 - gain / 2, 0.1 + gain / 2
    return cells


def measure_truth(cells: np.ndarray) -> float:
    return float(score_confusions(cells.sum(axis=1)) - score_confusions(cells.sum(axis=2)))


def test_the_interval_holds_the_true_difference_as_often_as_it_says():
    """Of 300 worlds with a known difference, about nine in ten have it inside their interval of 90%."""
    generator, cells = np.random.default_rng(17), make_cells(0.06)
    truth = measure_truth(cells)
    found = [compare(*draw_pair(cells, generator), confidence=0.9).difference for _ in range(300)]
    assert 0.84 <= np.mean([item.low <= truth <= item.high for item in found]) <= 0.95


def test_a_difference_of_the_detectable_size_is_seen_four_times_in_five():
    """Where the true difference is what `detectable` says, the interval lies above zero in about 80 of 100 worlds."""
    generator, cells = np.random.default_rng(19), make_cells(0.07)
    found = [compare(*draw_pair(cells, generator)) for _ in range(300)]
    assert np.mean([item.detectable for item in found]) == pytest.approx(measure_truth(cells), rel=0.05)
    assert 0.7 <= np.mean([item.difference.low > 0 for item in found]) <= 0.9
