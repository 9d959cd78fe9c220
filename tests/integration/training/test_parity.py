"""From token ids to probabilities: the whole graph against the scikit-learn pipeline, on real comments."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sentiment.bundle.bundle import Bundle
from sentiment.bundle.predictor import open_predictor
from sentiment.candidates.contract import TrainingContext, TrainingSplits
from sentiment.candidates.shared.embeddings import embed_reference, embed_texts
from sentiment.candidates.shared.encoder import Encoder
from sentiment.candidates.svm.candidate import MAX_PARITY_GAP, measure_parity
from sentiment.candidates.svm.model import SvmModel, SvmSettings, fit_svm
from sentiment.candidates.train import train_bundle
from sentiment.config.reader import read_config
from sentiment.data.datasets import Dataset
from sentiment.errors import EncoderError
from sentiment.evaluation.predictions import encode_labels, predict_rows, score_predictions
from sentiment.paths import CHECKOUT, StateFolder

pytestmark = pytest.mark.slow

THREE = ("negative", "neutral", "positive")
TWO = ("negative", "positive")
SHIPPED = read_config(CHECKOUT / "zenml_config.yaml")
SETTINGS = SvmSettings(seed=SHIPPED.training.seed, **SHIPPED.training.svm.model_dump())


@pytest.fixture(scope="module")
def state(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> StateFolder:
    """A state folder with the encoder of this checkout, whose embeddings are computed once for this file."""
    state = StateFolder(tmp_path_factory.mktemp("state"))
    state.encoders.symlink_to(encoder.folder.parent)
    return state


@pytest.fixture(scope="module")
def comments() -> pd.DataFrame:
    """Five hundred rows to measure on and three hundred to calibrate on."""
    frame = pd.read_csv(CHECKOUT / "data" / "comments.csv")[["text", "label"]]
    return frame.sample(800, random_state=1).reset_index(drop=True)


def cut(comments: pd.DataFrame, labels: tuple[str, ...]) -> tuple[Dataset, Dataset]:
    splits = (comments.iloc[:500], comments.iloc[500:])
    train, held_out = (Dataset("comments", split[split["label"].isin(labels)]) for split in splits)
    return train, held_out


def fit(
    comments: pd.DataFrame, encoder: Encoder, state: StateFolder, labels: tuple[str, ...], *, smote: bool = False
) -> SvmModel:
    train, held_out = cut(comments, labels)
    rows, held_out_rows = (
        embed_texts(list(split.frame["text"]), encoder, "fp32", state.embeddings) for split in (train, held_out)
    )
    calibration = (held_out_rows, encode_labels(held_out, labels))
    return fit_svm(rows, encode_labels(train, labels), labels, SETTINGS, smote=smote, calibration=calibration)


def train(
    comments: pd.DataFrame, state: StateFolder, folder: Path, candidate: str = "svm", precision: str = "fp32"
) -> Bundle:
    section = SHIPPED.encoder.model_copy(update={"precision": precision})
    folder.mkdir()
    context = TrainingContext(section, SHIPPED.training, state, lambda metrics, at: None)
    return train_bundle(candidate, TrainingSplits(*cut(comments, THREE), "d", "h"), context, folder)


@pytest.mark.parametrize("smote", [False, True], ids=["svm", "svm_smote"])
@pytest.mark.parametrize("labels", [TWO, THREE], ids=["two", "three"])
def test_the_graph_answers_as_the_pipeline_it_came_from(
    comments: pd.DataFrame, encoder: Encoder, state: StateFolder, labels: tuple[str, ...], smote: bool
):
    """Probabilities of five hundred comments agree with sentence-transformers and scikit-learn to four digits."""
    model = fit(comments, encoder, state, labels, smote=smote)
    gap = measure_parity(model, encoder, list(comments["text"].iloc[:500]), state.embeddings)
    assert 0 < gap <= 1e-4


def test_a_graph_that_answers_otherwise_is_refused(
    comments: pd.DataFrame, encoder: Encoder, state: StateFolder, tmp_path: Path
):
    """An int8 graph in the place of the fp32 one does not pass for it."""
    model = fit(comments, encoder, state, THREE)
    false = tmp_path / encoder.digest
    false.mkdir()
    shutil.copy(encoder.graph("int8"), false / "fp32.onnx")
    shutil.copy(encoder.tokenizer, false / "tokenizer.json")
    swapped = replace(encoder, folder=false)
    with pytest.raises(EncoderError, match=r"differs from the fitted model by .* on 50 texts, more than 1e-04; delete"):
        measure_parity(model, swapped, list(comments["text"].iloc[:50]), state.embeddings)


@pytest.mark.parametrize("candidate", ["svm", "svm_smote"])
def test_a_trained_bundle_answers_as_scikit_learn_does(
    comments: pd.DataFrame, encoder: Encoder, state: StateFolder, tmp_path: Path, candidate: str
):
    """What is sealed and opened again gives the probabilities of the same fit in Python."""
    bundle = train(comments, state, tmp_path / "bundle", candidate)
    texts = list(comments["text"].iloc[500:600])
    model = fit(comments, encoder, state, THREE, smote=candidate == "svm_smote")
    expected = model.predict_probabilities(embed_reference(texts, encoder, state.embeddings))
    answers = open_predictor(bundle.folder).predict_probabilities(texts)
    assert np.abs(answers - expected).max() < 1e-4


def test_a_card_says_how_its_bundle_was_made(comments: pd.DataFrame, state: StateFolder, tmp_path: Path):
    """Precision, rows, parity, threshold and the score that chose the precision are on the card."""
    bundle = train(comments, state, tmp_path / "bundle")
    card = bundle.card
    assert (card.labels, card.precision, card.texts_per_call) == (THREE, "fp32", 8)
    assert (card.train_rows, card.dataset_digest, card.holdout_digest) == (500, "d", "h")
    assert card.metrics["parity_gap"] <= MAX_PARITY_GAP
    answers = predict_rows(open_predictor(bundle.folder), cut(comments, THREE)[1])
    assert score_predictions(answers).macro_f1 == pytest.approx(card.metrics["validation_macro_f1_fp32"], abs=0.005)
    sure = answers.confidences >= card.uncertain_below
    assert answers.correct[sure].mean() >= SHIPPED.training.uncertain_precision - 0.01


def test_an_int8_bundle_answers_alike_whatever_the_neighbours(
    comments: pd.DataFrame, state: StateFolder, tmp_path: Path
):
    """A text asked of an int8 bundle alone has the bits that it has in a crowd, on one thread and on two."""
    bundle = train(comments, state, tmp_path / "bundle", precision="int8")
    texts = list(comments["text"].iloc[500:560])
    predictor = open_predictor(bundle.folder)
    crowd = predictor.predict_probabilities(texts)
    assert (bundle.card.precision, bundle.card.texts_per_call) == ("int8", 1)
    assert np.array_equal(crowd, np.concatenate([predictor.predict_probabilities([text]) for text in texts]))
    assert np.array_equal(crowd, open_predictor(bundle.folder, threads=2).predict_probabilities(texts))
