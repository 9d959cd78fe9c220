"""The one path that all scoring takes: in order, calibrated, and blind to a text's neighbours."""

import math
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sentiment.bundle.bundle import Bundle, seal_bundle
from sentiment.bundle.predictor import Predictor, open_predictor
from sentiment.errors import BundleError
from tests.conftest import make_tiny_bundle

MIXED = [" ".join(["good"] * random.Random(seed).randint(0, 30)) for seed in range(50)]


def test_one_prediction_per_text_in_order(tiny_bundle: Bundle):
    """The tokens of each answer are those of the text at its place."""
    words = [9, 1, 14, 4, 4, 12]
    predictions = Predictor(tiny_bundle).predict([" ".join(["good"] * count) for count in words])
    assert [prediction.tokens for prediction in predictions] == [count + 2 for count in words]


def test_a_known_graph_gives_known_probabilities(tiny_bundle: Bundle):
    """Five tokens of a graph with slopes -0.1, 0 and 0.1 are a softmax of -0.5, 0 and 0.5."""
    (prediction,) = Predictor(tiny_bundle).predict(["good good good"])
    total = math.exp(-0.5) + 1 + math.exp(0.5)
    expected = {"negative": math.exp(-0.5) / total, "neutral": 1 / total, "positive": math.exp(0.5) / total}
    assert prediction.scores == pytest.approx(expected, abs=1e-6)


def test_the_label_is_the_one_with_the_highest_score(tmp_path: Path):
    """The label follows the order on the card, the confidence is its score."""
    bundle = make_tiny_bundle(tmp_path / "turned", ("positive", "neutral", "negative"))
    (prediction,) = Predictor(bundle).predict(["good"])
    assert prediction.label == "negative"
    assert prediction.confidence == prediction.scores["negative"] == max(prediction.scores.values())


@pytest.mark.parametrize(
    ("shift", "uncertain"), [(-1e-4, False), (0.0, False), (1e-4, True)], ids=["above", "on", "below"]
)
def test_an_answer_below_the_threshold_of_the_card_is_uncertain(tiny_bundle: Bundle, shift: float, uncertain: bool):
    """A confidence on the threshold is sure enough, as it was where the threshold was chosen."""
    confidence = float(Predictor(tiny_bundle).predict_probabilities(["good"]).max())
    bundle = seal_bundle(tiny_bundle.folder, replace(tiny_bundle.card, uncertain_below=confidence + shift))
    (prediction,) = Predictor(bundle).predict(["good"])
    assert prediction.uncertain is uncertain


def test_a_card_without_a_threshold_makes_no_answer_uncertain(tiny_bundle: Bundle):
    """A bundle from before there were thresholds answers as it did."""
    assert tiny_bundle.card.uncertain_below == 0.0
    assert not any(prediction.uncertain for prediction in Predictor(tiny_bundle).predict(MIXED))


def test_the_threshold_changes_no_score(tiny_bundle: Bundle):
    """To be uncertain is said beside the answer, not instead of it."""
    sure = Predictor(tiny_bundle).predict(MIXED)
    unsure = Predictor(seal_bundle(tiny_bundle.folder, replace(tiny_bundle.card, uncertain_below=0.99))).predict(MIXED)
    assert all(prediction.uncertain for prediction in unsure)
    assert [replace(prediction, uncertain=False) for prediction in unsure] == sure


def test_probabilities_of_a_row_sum_to_one(tiny_bundle: Bundle):
    """Texts of every length, empty and cut ones too, get probabilities."""
    rows = Predictor(tiny_bundle).predict_probabilities(MIXED)
    assert rows.shape == (len(MIXED), 3)
    assert rows.sum(axis=1) == pytest.approx(np.ones(len(MIXED)), abs=1e-6)


def test_predictions_carry_the_probabilities(tiny_bundle: Bundle):
    """Both ways to ask give the same numbers, to six digits."""
    predictor = Predictor(tiny_bundle)
    scores = [list(prediction.scores.values()) for prediction in predictor.predict(MIXED)]
    assert np.abs(np.array(scores) - predictor.predict_probabilities(MIXED)).max() < 1e-6


def test_a_cut_text_says_so_and_its_neighbour_does_not(tiny_bundle: Bundle):
    """Truncation is reported for the text that was cut alone."""
    short, long = Predictor(tiny_bundle).predict(["good", "good " * 40])
    assert (short.truncated, short.tokens) == (False, 3)
    assert (long.truncated, long.tokens) == (True, 16)


def test_an_answer_does_not_depend_on_its_neighbours(tiny_bundle: Bundle):
    """A text asked alone is answered as it is in a crowd, to the last bit."""
    predictor = Predictor(tiny_bundle)
    crowd = predictor.predict_probabilities(MIXED)
    alone = np.concatenate([predictor.predict_probabilities([text]) for text in MIXED])
    assert np.array_equal(crowd, alone)


def test_the_order_of_texts_does_not_change_answers(tiny_bundle: Bundle):
    """Turning a list round turns the answers round and changes none."""
    predictor = Predictor(tiny_bundle)
    assert predictor.predict(MIXED[::-1]) == predictor.predict(MIXED)[::-1]


def test_threads_do_not_change_predictions(tiny_bundle: Bundle):
    """Two threads answer as one does."""
    assert Predictor(tiny_bundle, threads=2).predict(MIXED) == Predictor(tiny_bundle).predict(MIXED)


def test_a_predictor_is_safe_to_share(tiny_bundle: Bundle):
    """Callers on several threads each get the answers to their own texts."""
    predictor = Predictor(tiny_bundle, threads=2)
    expected = predictor.predict(MIXED)
    with ThreadPoolExecutor(4) as pool:
        assert all(answer == expected for answer in pool.map(predictor.predict, [MIXED] * 12))


def test_an_empty_list_is_refused(tiny_bundle: Bundle, sentence):
    """There is no answer to nothing."""
    predictor = Predictor(tiny_bundle)
    for ask in (predictor.predict, predictor.predict_probabilities):
        with pytest.raises(ValueError) as refusal:
            ask([])
        assert str(refusal.value) == sentence


@pytest.mark.parametrize("labels", [("negative", "positive"), ("a", "b", "c", "d")], ids=["fewer", "more"])
def test_a_graph_that_answers_another_number_of_labels_is_refused(tmp_path: Path, labels: tuple[str, ...]):
    """A sealed bundle whose card and graph disagree is not served."""
    bundle = make_tiny_bundle(tmp_path / "odd", labels)
    with pytest.raises(BundleError) as refusal:
        Predictor(bundle)
    expected = f"{bundle.folder} answers 3 probabilities for {len(labels)} labels; train and export it again."
    assert str(refusal.value) == expected


def test_opening_a_folder_checks_its_seal(tiny_bundle: Bundle, refuses):
    """An altered bundle never becomes a predictor."""
    with tiny_bundle.model.open("ab") as file:
        file.write(b"\x00")
    with refuses(BundleError):
        open_predictor(tiny_bundle.folder)


def test_opening_a_sound_folder_gives_its_predictor(tiny_bundle: Bundle):
    """A predictor knows the bundle that it answers from."""
    predictor = open_predictor(tiny_bundle.folder, threads=2)
    assert predictor.bundle == tiny_bundle
    assert predictor.labels == ("negative", "neutral", "positive")
