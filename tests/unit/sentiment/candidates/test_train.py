"""From a candidate's name to a sealed bundle: every name has its maker, and the card says what was made."""

from pathlib import Path

import pandas as pd
import pytest

from sentiment.bundle.bundle import BUNDLE_FILES, WEIGHTS_FILE, Bundle, open_bundle
from sentiment.bundle.predictor import Predictor
from sentiment.candidates.contract import TrainingContext, TrainingSplits
from sentiment.candidates.train import MAKERS, VERSIONED, train_bundle
from sentiment.config.reader import read_config
from sentiment.config.schema import CANDIDATES
from sentiment.data.datasets import Dataset
from sentiment.errors import DatasetError
from sentiment.evaluation.calibration import OUT_OF_REACH
from sentiment.paths import CHECKOUT, StateFolder

WORDS = {"negative": ("bad", "awful", "broken"), "positive": ("good", "lovely", "great")}


def make_split(rows: int, wrong: int = 0) -> Dataset:
    """Return rows whose words give their class away, half of each; the last `wrong` are labelled the other way."""
    said = [list(WORDS)[row % 2] for row in range(rows)]
    texts = [f"{WORDS[label][row % 3]} film number {row}" for row, label in enumerate(said)]
    turned = [list(WORDS)[(row + 1) % 2] for row in range(rows - wrong, rows)]
    return Dataset("made", pd.DataFrame({"text": texts, "label": [*said[: rows - wrong], *turned]}))


VALIDATION = make_split(40, wrong=4)


def make_context(folder: Path, uncertain_precision: float = 0.9) -> TrainingContext:
    config = read_config(CHECKOUT / "zenml_config.yaml")
    training = config.training.model_copy(update={"uncertain_precision": uncertain_precision})
    return TrainingContext(config.encoder, training, StateFolder(folder / "state"), lambda metrics, at: None)


def train(folder: Path, validation: Dataset = VALIDATION, uncertain_precision: float = 0.9) -> Bundle:
    (folder / "bundle").mkdir()
    splits = TrainingSplits(make_split(60), validation, "d" * 64, "h" * 64)
    return train_bundle("tfidf", splits, make_context(folder, uncertain_precision), folder / "bundle")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The yardstick trained on sixty rows."""
    return train(tmp_path_factory.mktemp("trained"))


def test_every_candidate_has_a_maker():
    """Each name that the configuration accepts has a function that trains it."""
    assert tuple(MAKERS) == CANDIDATES


def test_a_trained_bundle_is_sealed_and_lies_alone(trained: Bundle):
    """The folder holds the files of a bundle, its weights beside the graph, and it opens as it was sealed."""
    assert sorted(path.name for path in trained.folder.iterdir()) == sorted((*BUNDLE_FILES, WEIGHTS_FILE))
    assert trained.model.stat().st_size < (trained.folder / WEIGHTS_FILE).stat().st_size
    assert open_bundle(trained.folder) == trained


def test_the_card_says_what_was_trained_on_what(trained: Bundle):
    """Candidate, dataset, digests, rows and labels are on the card."""
    card = trained.card
    assert (card.candidate, card.dataset, card.train_rows) == ("tfidf", "made", 60)
    assert (card.dataset_digest, card.holdout_digest) == ("d" * 64, "h" * 64)
    assert card.labels == ("negative", "positive")


def test_the_card_names_the_libraries_that_made_it(trained: Bundle):
    """Each library that decides the numbers has its version there."""
    assert set(trained.card.versions) == set(VERSIONED)
    assert all(trained.card.versions.values())


def test_a_trained_bundle_answers(trained: Bundle):
    """What was learnt is what is served."""
    found = Predictor(trained).predict(["a lovely film", "an awful film"])
    assert [prediction.label for prediction in found] == ["positive", "negative"]


def test_answers_that_are_not_uncertain_are_right_as_often_as_asked(trained: Bundle):
    """Nine of ten answers on validation at and above the threshold are right, and such answers there are."""
    found = Predictor(trained).predict(list(VALIDATION.frame["text"]))
    pairs = zip(found, VALIDATION.frame["label"], strict=True)
    right = [prediction.label == label for prediction, label in pairs if not prediction.uncertain]
    assert 0 < trained.card.uncertain_below < 1
    assert len(right) >= 30
    assert sum(right) / len(right) >= 0.9


@pytest.mark.parametrize("wrong", [2, 0], ids=["errors", "no-errors"])
def test_too_few_rows_for_a_threshold_leave_every_answer_uncertain(tmp_path: Path, wrong: int):
    """Twenty rows of validation stand behind no threshold, not even where all were right."""
    bundle = train(tmp_path, make_split(20, wrong=wrong))
    (prediction,) = Predictor(bundle).predict(["a lovely film"])
    assert bundle.card.uncertain_below == OUT_OF_REACH
    assert prediction.uncertain
    assert prediction.confidence < 1


def test_the_threshold_is_under_the_seal(trained: Bundle, tmp_path: Path):
    """The same graph with another threshold is another model."""
    other = train(tmp_path, uncertain_precision=1.0)
    assert (other.card.model_digest, other.card.weights_digest) == (
        trained.card.model_digest,
        trained.card.weights_digest,
    )
    assert other.card.uncertain_below != trained.card.uncertain_below
    assert other.card.digest != trained.card.digest


def test_training_twice_gives_the_same_model(trained: Bundle, tmp_path: Path):
    """Same rows, same settings, same digest: the gate can tell that nothing is new."""
    assert train(tmp_path).card.digest == trained.card.digest


@pytest.mark.parametrize("candidate", CANDIDATES)
def test_a_refused_side_leaves_no_files(tmp_path: Path, candidate, refuses):
    """The classes are checked before any work, whatever the candidate."""
    one_class = Dataset("made", pd.DataFrame({"text": ["good"], "label": ["positive"]}))
    splits = TrainingSplits(make_split(6), one_class, "d" * 64, "h" * 64)
    with refuses(DatasetError):
        train_bundle(candidate, splits, make_context(tmp_path), tmp_path)
    assert list(tmp_path.iterdir()) == []
