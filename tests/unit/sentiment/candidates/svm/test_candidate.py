"""The trained machine: which precision it embeds in and hands over, and what it says of itself."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from sentiment.bundle.bundle import MODEL_FILE, TOKENIZER_FILE
from sentiment.bundle.onnx_session import TextGraph
from sentiment.candidates.contract import TrainedCandidate, TrainingContext, TrainingSplits
from sentiment.candidates.shared.encoder import Encoder
from sentiment.candidates.svm.candidate import MAX_PARITY_GAP, train_svm
from sentiment.config.reader import read_config
from sentiment.errors import DatasetError
from sentiment.paths import CHECKOUT, StateFolder
from tests.unit.sentiment.candidates.test_train import make_split

pytestmark = pytest.mark.slow

TRAIN, VALIDATION = make_split(40), make_split(20)


@pytest.fixture(scope="module")
def state(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> StateFolder:
    """A state folder of its own with the encoder that this checkout exported."""
    state = StateFolder(tmp_path_factory.mktemp("state"))
    state.encoders.symlink_to(encoder.folder.parent)
    return state


def train(state: StateFolder, folder: Path, candidate: str = "svm", **section: object) -> TrainedCandidate:
    config = read_config(CHECKOUT / "zenml_config.yaml")
    context = TrainingContext(
        config.encoder.model_copy(update=section), config.training, state, lambda metrics, at: None
    )
    return train_svm(candidate, TrainingSplits(TRAIN, VALIDATION, "d", "h"), context, folder)


@pytest.mark.parametrize(("precision", "texts_per_call"), [("int8", 1), ("fp32", 8)])
def test_a_named_precision_is_taken_and_alone_measured(state, tmp_path, precision, texts_per_call):
    """Who asks for one precision gets it, whatever the other would score."""
    made = train(state, tmp_path, precision=precision)
    assert (made.precision, made.texts_per_call) == (precision, texts_per_call)
    assert [name for name in made.metrics if name.startswith("validation")] == [f"validation_macro_f1_{precision}"]


def test_auto_measures_both_precisions(state, tmp_path):
    """The score of each precision is on record, and the choice follows from them."""
    made = train(state, tmp_path, precision="auto", max_int8_loss=1.0)
    assert made.precision == "int8"
    assert {"validation_macro_f1_int8", "validation_macro_f1_fp32"} < set(made.metrics)


def test_a_draft_lies_whole_in_its_folder(state, tmp_path):
    """Graph and tokenizer are there, and the graph passes the checker."""
    train(state, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted((MODEL_FILE, TOKENIZER_FILE))
    onnx.checker.check_model(str(tmp_path / MODEL_FILE))


def test_the_drafted_probabilities_are_those_of_the_graph(state, tmp_path):
    """What the threshold is chosen on is what the graph answers, to three digits."""
    made = train(state, tmp_path, precision="fp32")
    graph = TextGraph(tmp_path / MODEL_FILE, tmp_path / TOKENIZER_FILE, max_tokens=256, texts_per_call=8)
    answered = graph.run(list(VALIDATION.frame["text"])).outputs
    assert made.probabilities.dtype == answered.dtype == np.float32
    assert np.abs(made.probabilities - answered).max() < 1e-3


def test_a_draft_says_how_far_its_graph_is_from_its_model(state, tmp_path):
    """The gap was measured and is within the bound."""
    assert 0 < train(state, tmp_path).metrics["parity_gap"] <= MAX_PARITY_GAP


def test_smote_fills_up_in_the_candidate_of_that_name_alone(state, tmp_path, refuses):
    """With twenty rows of each class and twenty neighbours asked, only svm_smote is refused."""
    config = read_config(CHECKOUT / "zenml_config.yaml")
    greedy = config.training.svm.model_copy(update={"smote_neighbours": 20})
    context = TrainingContext(
        config.encoder, config.training.model_copy(update={"svm": greedy}), state, lambda metrics, at: None
    )
    splits = TrainingSplits(TRAIN, VALIDATION, "d", "h")
    assert train_svm("svm", splits, context, tmp_path).base == "all-MiniLM-L6-v2"
    with refuses(DatasetError):
        train_svm("svm_smote", splits, context, tmp_path)
