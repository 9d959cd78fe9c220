"""From a base model to a graph that answers like torch, in the precision that was chosen."""

import json
import re
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from tokenizers import Tokenizer

from sentiment.bundle.bundle import MODEL_FILE, TOKENIZER_FILE
from sentiment.bundle.onnx_session import TextGraph
from sentiment.candidates.contract import TrainedCandidate, TrainingContext, TrainingSplits
from sentiment.candidates.shared.encoder import TEXTS_PER_CALL, find_encoder
from sentiment.candidates.shared.onnx_export import export_module
from sentiment.candidates.transformer.candidate import measure_parity, train_transformer, tune_and_export
from sentiment.candidates.transformer.classifier import LoraSettings, TextClassifier, load_tokenizer
from sentiment.errors import EncoderError, SentimentError
from tests.conftest import LABELS
from tests.unit.sentiment.candidates.conftest import KINDS, make_context, make_rows, make_splits

LORA = LoraSettings(rank=2, alpha=4, dropout=0.0, learning_rate=1e-3)
ODD = ["", "a", "good", "long " * 80, "\t", "naïve café 😀", "@user https://example.org"]


def export(origin: Path, folder: Path, lora: LoraSettings | None = None) -> tuple[TextClassifier, Path, Path]:
    """Return a model with adapters that are not zero, its graph and its tokenizer."""
    torch.manual_seed(4)
    model = TextClassifier(origin, 3, lora)
    for name, weights in model.named_parameters():
        if "lora_B" in name or "classifier" in name:
            torch.nn.init.normal_(weights, std=0.3)
    model = model.merge_adapters().prepare_export()
    export_module(model, folder / "graph.onnx", output="logits")
    backend = load_tokenizer(origin, "mine").backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    backend.save(str(folder / TOKENIZER_FILE))
    return model, folder / "graph.onnx", folder / TOKENIZER_FILE


def make_both_splits() -> TrainingSplits:
    return make_splits(make_rows(60, seed=1), make_rows(30, seed=2), LABELS)


def train(candidate: str, context: TrainingContext, folder: Path) -> TrainedCandidate:
    folder.mkdir()
    return train_transformer(candidate, make_both_splits(), context, folder)


@pytest.mark.parametrize("lora", [None, LORA], ids=["all", "lora"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_encoder_exports_faithfully(
    bases: dict[str, Path], tmp_path: Path, kind: str, lora: LoraSettings | None
):
    """Short, cut and empty texts get torch's probabilities from the graph, adapters and all."""
    model, graph, tokenizer = export(bases[kind], tmp_path, lora)
    assert measure_parity(model, graph, tokenizer, [*make_rows(20, seed=6).texts, *ODD], 32) < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_no_answer(bases: dict[str, Path], tmp_path: Path, kind: str):
    """Texts that share a call get the logits that they get alone, also where padding is no piece of its own."""
    _, graph, tokenizer = export(bases[kind], tmp_path)
    texts = [*make_rows(30, seed=3).texts, *ODD]
    alone, shared = (
        TextGraph(graph, tokenizer, max_tokens=32, texts_per_call=count).run(texts).outputs for count in (1, 8)
    )
    assert np.abs(shared - alone).max() < 1e-4


def test_a_graph_that_answers_otherwise_is_refused(bases: dict[str, Path], tmp_path: Path):
    """A gap above one in ten thousand stops the candidate, and the sentence says by how much."""
    model, graph, tokenizer = export(bases["bert"], tmp_path)
    altered = onnx.load(graph)
    bias = next(item for item in altered.graph.initializer if "classifier.bias" in item.name)
    bias.CopyFrom(numpy_helper.from_array(np.array([5, 0, 0], dtype=np.float32), bias.name))
    onnx.save(altered, graph)
    with pytest.raises(EncoderError, match=r"\de-01 .*2 .*1e-04.*training\.transformer\.source"):
        measure_parity(model, graph, tokenizer, ["good", "bad"], 16)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("candidate", ["transformer", "lora"])
def test_the_drafted_graph_answers_as_the_draft_says(
    bases: dict[str, Path], tmp_path: Path, candidate: str, precision: str
):
    """Calibrated probabilities from training are those of the graph in the folder, and nothing else lies there."""
    folder = tmp_path / "made"
    made = train(candidate, make_context(bases["bert"], tmp_path, precision=precision), folder)
    opened = TextGraph(
        folder / MODEL_FILE, folder / TOKENIZER_FILE, max_tokens=made.max_tokens, texts_per_call=made.texts_per_call
    )
    answers = opened.run(make_both_splits().validation_texts).outputs
    assert sorted(path.name for path in folder.iterdir()) == sorted((MODEL_FILE, TOKENIZER_FILE))
    assert (made.precision, made.texts_per_call) == (precision, TEXTS_PER_CALL[precision])
    assert np.abs(answers - made.probabilities).max() < 1e-5
    assert answers.sum(axis=1) == pytest.approx(np.ones(30), abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("max_loss", "precision"), [(1.0, "int8")])
def test_auto_measures_both_precisions(bases: dict[str, Path], tmp_path: Path, max_loss: float, precision: str):
    """Where every loss is allowed the small graph is taken, and both are on the record."""
    context = make_context(bases["bert"], tmp_path, precision="auto", encoder={"max_int8_loss": max_loss})
    made = train("transformer", context, tmp_path / "made")
    assert made.precision == precision
    assert {"validation_macro_f1_int8", "validation_macro_f1_fp32", "parity_gap"} <= set(made.metrics)


@pytest.mark.slow
def test_transformer_and_cascade_share_one_fine_tuning(bases: dict[str, Path], tmp_path: Path):
    """Asked a second time, the weights are read and the answers are the same."""
    context = make_context(bases["bert"], tmp_path)
    answers = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        answers.append(tune_and_export("transformer", make_both_splits(), context, tmp_path / name).probabilities)
    assert len(list(context.state.finetuned.iterdir())) == 1
    assert np.array_equal(*answers)


@pytest.mark.slow
def test_transformer_and_lora_are_two_fine_tunings(bases: dict[str, Path], tmp_path: Path):
    """The adapters are part of what the weights are kept under."""
    context = make_context(bases["bert"], tmp_path)
    for candidate in ("transformer", "lora"):
        train(candidate, context, tmp_path / candidate)
    assert len(list(context.state.finetuned.iterdir())) == 2


@pytest.mark.slow
def test_a_twitter_model_takes_its_clean_up_along(own_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The bundle's tokenizer replaces handles and links, cuts nothing and pads nothing."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cardiffnlp").mkdir()
    own_base.rename(tmp_path / "cardiffnlp" / "twitter-tiny")
    made = train("transformer", make_context("cardiffnlp/twitter-tiny", tmp_path), tmp_path / "made")
    tokenizer = Tokenizer.from_file(str(tmp_path / "made" / TOKENIZER_FILE))
    written = json.loads((tmp_path / "made" / TOKENIZER_FILE).read_text())
    assert tokenizer.encode("@bob https://a.org b@c.de").ids == tokenizer.encode("@user http b@c.de").ids
    assert tokenizer.encode("b@c.de").ids != tokenizer.encode("b @user").ids
    assert (written["truncation"], written["padding"]) == (None, None)
    assert made.base == "cardiffnlp/twitter-tiny"


@pytest.mark.parametrize("source", ["no-such-user/no-such-model", "no such name", "../absent", "a/b/c", "~nobody/x"])
def test_a_base_model_that_cannot_be_reached_is_one_sentence(tmp_path: Path, source: str):
    """A name that is no folder and not on the hub ends the candidate within seconds."""
    started = time.monotonic()
    with pytest.raises(EncoderError, match=re.escape(repr(source))):
        train("transformer", make_context(source, tmp_path), tmp_path / "made")
    assert time.monotonic() - started < 15
    assert list((tmp_path / "made").iterdir()) == []


def test_a_name_that_no_file_system_takes_is_one_sentence():
    """However long a source is, it is told as unknown."""
    with pytest.raises(EncoderError):
        find_encoder("x" * 300)


def test_the_way_out_names_the_setting_that_is_wrong(tmp_path: Path, refuses):
    """A base model is set in training.transformer.source."""
    context = make_context("package:no_such_encoder/model", tmp_path)
    with refuses(EncoderError):
        train("transformer", context, tmp_path / "made")


@pytest.mark.parametrize("missing", ["model.safetensors", "config.json"])
def test_a_folder_without_a_model_is_one_sentence(own_base: Path, tmp_path: Path, missing: str):
    """A base model that lacks a file is said, and the folder is left empty."""
    (own_base / missing).unlink()
    with pytest.raises(EncoderError):
        train("transformer", make_context(own_base, tmp_path), tmp_path / "made")
    assert list((tmp_path / "made").iterdir()) == []


def test_more_tokens_than_the_model_has_positions_are_one_sentence(bases: dict[str, Path], tmp_path: Path, refuses):
    """The tiny BERT has 64 positions; `max_tokens` of 128 is refused before the training."""
    rows = make_rows(60, seed=1)
    rows.texts[0] = "good " * 100
    splits = make_splits(rows, make_rows(30, seed=2))
    (tmp_path / "made").mkdir()
    context = make_context(bases["bert"], tmp_path, transformer={"max_tokens": 128})
    with refuses(SentimentError):
        train_transformer("transformer", splits, context, tmp_path / "made")
