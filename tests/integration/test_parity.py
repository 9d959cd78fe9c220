"""From token ids to probabilities: the whole graph against the scikit-learn pipeline, on real comments."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sentiment.candidates import MAX_PARITY_GAP, Workbench, measure_parity, train_svm_candidate
from sentiment.candidates.svm_model import SvmModel, SvmSettings, fit_svm
from sentiment.datasets import Dataset
from sentiment.embeddings import embed_reference, embed_texts
from sentiment.encoder import Encoder
from sentiment.errors import EncoderError
from sentiment.evaluation import encode_labels, evaluate_predictor
from sentiment.predictor import open_predictor
from sentiment.state import CHECKOUT
from tests.conftest import ENCODER

pytestmark = pytest.mark.slow

THREE = ("negative", "neutral", "positive")
TWO = ("negative", "positive")
SETTINGS = SvmSettings(c=1.0, gamma="scale", smote_neighbours=5, seed=0)


@pytest.fixture(scope="module")
def bench(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    """A workbench whose embeddings are computed once for this file."""
    return Workbench(encoder, ENCODER, tmp_path_factory.mktemp("embeddings"), "fp32", max_int8_loss=0.01)


@pytest.fixture(scope="module")
def comments() -> pd.DataFrame:
    """Five hundred rows to measure on and three hundred to calibrate on."""
    frame = pd.read_csv(CHECKOUT / "data" / "comments.csv")[["text", "label"]]
    return frame.sample(800, random_state=1).reset_index(drop=True)


def cut(comments: pd.DataFrame, labels: tuple[str, ...]) -> tuple[Dataset, Dataset]:
    sides = (comments.iloc[:500], comments.iloc[500:])
    train, held_out = (Dataset("comments", side[side["label"].isin(labels)]) for side in sides)
    return train, held_out


def fit(comments: pd.DataFrame, bench: Workbench, labels: tuple[str, ...], *, smote: bool = False) -> SvmModel:
    train, held_out = cut(comments, labels)
    rows, held_out_rows = (
        embed_texts(list(side.frame["text"]), bench.encoder, "fp32", bench.embeddings) for side in (train, held_out)
    )
    calibration = (held_out_rows, encode_labels(held_out, labels))
    return fit_svm(rows, encode_labels(train, labels), labels, SETTINGS, smote=smote, calibration=calibration)


@pytest.mark.parametrize("smote", [False, True], ids=["svm", "svm_smote"])
@pytest.mark.parametrize("labels", [TWO, THREE], ids=["two", "three"])
def test_the_graph_answers_as_the_pipeline_it_came_from(
    comments: pd.DataFrame, bench: Workbench, labels: tuple[str, ...], smote: bool
):
    """Probabilities of five hundred comments agree with sentence-transformers and scikit-learn to four digits."""
    model = fit(comments, bench, labels, smote=smote)
    gap = measure_parity(model, bench, list(comments["text"].iloc[:500]))
    assert 0 < gap <= 1e-4


def test_a_graph_that_answers_otherwise_is_refused(comments: pd.DataFrame, bench: Workbench, tmp_path: Path):
    """An int8 graph in the place of the fp32 one does not pass for it."""
    model = fit(comments, bench, THREE)
    false = tmp_path / bench.encoder.digest
    false.mkdir()
    shutil.copy(bench.encoder.graph("int8"), false / "fp32.onnx")
    shutil.copy(bench.encoder.tokenizer, false / "tokenizer.json")
    swapped = replace(bench, encoder=replace(bench.encoder, folder=false))
    with pytest.raises(EncoderError, match=r"differs from scikit-learn by .* on 50 texts, more than 1e-04; delete"):
        measure_parity(model, swapped, list(comments["text"].iloc[:50]))


@pytest.mark.parametrize("candidate", ["svm", "svm_smote"])
def test_a_trained_bundle_answers_as_scikit_learn_does(
    comments: pd.DataFrame, bench: Workbench, tmp_path: Path, candidate: str
):
    """What is sealed and opened again gives the probabilities of the same fit in Python."""
    train, held_out = cut(comments, THREE)
    bundle = train_svm_candidate(
        candidate, train, held_out, SETTINGS, bench, tmp_path / "bundle", dataset_digest="d", holdout_digest="h"
    )
    texts = list(held_out.frame["text"])[:100]
    model = fit(comments, bench, THREE, smote=candidate == "svm_smote")
    expected = model.predict_probabilities(embed_reference(texts, bench.encoder, bench.embeddings))
    answers = open_predictor(bundle.folder).predict_probabilities(texts)
    assert np.abs(answers - expected).max() < 1e-4


def test_a_card_says_how_its_bundle_was_made(comments: pd.DataFrame, bench: Workbench, tmp_path: Path):
    """Precision, rows, parity and the score that chose the precision are on the card."""
    train, held_out = cut(comments, THREE)
    bundle = train_svm_candidate(
        "svm", train, held_out, SETTINGS, bench, tmp_path / "bundle", dataset_digest="d", holdout_digest="h"
    )
    card = bundle.card
    assert (card.labels, card.precision, card.texts_per_call) == (THREE, "fp32", 8)
    assert (card.train_rows, card.dataset_digest, card.holdout_digest) == (500, "d", "h")
    assert card.metrics["parity_gap"] <= MAX_PARITY_GAP
    scored = evaluate_predictor(open_predictor(bundle.folder), held_out).macro_f1
    assert scored == pytest.approx(card.metrics["validation_macro_f1_fp32"], abs=0.005)


def test_an_int8_bundle_answers_alike_whatever_the_neighbours(comments: pd.DataFrame, bench: Workbench, tmp_path: Path):
    """A text asked of an int8 bundle alone has the bits that it has in a crowd, on one thread and on two."""
    train, held_out = cut(comments, THREE)
    quick = replace(bench, precision="int8")
    bundle = train_svm_candidate(
        "svm", train, held_out, SETTINGS, quick, tmp_path / "bundle", dataset_digest="d", holdout_digest="h"
    )
    texts = list(held_out.frame["text"])[:60]
    predictor = open_predictor(bundle.folder)
    crowd = predictor.predict_probabilities(texts)
    assert (bundle.card.precision, bundle.card.texts_per_call) == ("int8", 1)
    assert np.array_equal(crowd, np.concatenate([predictor.predict_probabilities([text]) for text in texts]))
    assert np.array_equal(crowd, open_predictor(bundle.folder, threads=2).predict_probabilities(texts))
