"""The smoke test against the service itself, with a model that knows two words."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.smoke import main
from release.smoke_test import find_free_port
from sentiment.paths import CHECKOUT
from tests.support.serving import TAG, Service, run_service

pytestmark = pytest.mark.slow

STORE = f"""
import sys
from pathlib import Path
import numpy as np, onnx
from onnx import TensorProto, helper, numpy_helper
from sentiment.bundle.bundle import TOKENIZER_FILE, seal_bundle
from release.bento_store import store_model
from tests.conftest import ENCODER, LABELS, find_encoder, make_card
from tokenizers import Tokenizer

folder = Path(sys.argv[1]); folder.mkdir()
(folder / TOKENIZER_FILE).write_bytes((find_encoder(ENCODER) / TOKENIZER_FILE).read_bytes())
tokenizer = Tokenizer.from_file(str(folder / TOKENIZER_FILE))
table = np.zeros((tokenizer.get_vocab_size(), 3), dtype=np.float32)
table[tokenizer.token_to_id("love"), 2] = table[tokenizer.token_to_id("hate"), 0] = 4
nodes = [
    helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
    helper.make_node("ReduceSum", ["rows", "axis"], ["logits"], keepdims=0),
    helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
]
inputs = [helper.make_tensor_value_info(n, TensorProto.INT64, ["n", "t"]) for n in ("input_ids", "attention_mask")]
outputs = [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 3])]
constants = [numpy_helper.from_array(table, "table"), numpy_helper.from_array(np.array([1]), "axis")]
graph = helper.make_graph(nodes, "words", inputs, outputs, constants)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
model.ir_version = 9
onnx.save(model, folder / "model.onnx")
store_model(seal_bundle(folder, make_card(LABELS)), {TAG!r})
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    """A model store with a bundle that says what `love` and `hate` say."""
    folder = tmp_path_factory.mktemp("store")
    environment = {**os.environ, "BENTOML_HOME": str(folder / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}
    subprocess.run([sys.executable, "-c", STORE, str(folder / "words")], cwd=CHECKOUT, env=environment, check=True)
    return folder / "bentoml"


@pytest.fixture(scope="module")
def service(store, tmp_path_factory) -> Iterator[Service]:
    """A service with one key."""
    folder = tmp_path_factory.mktemp("service")
    scopes = ("--scope", "predict", "--scope", "read")
    command = [sys.executable, "-m", "sentigate", "keys", "add", "ci", "--file", str(folder / "keys.txt"), *scopes]
    made = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    (folder / "key").write_text(made.stdout)
    with run_service(store, folder, SENTIMENT_API_KEY_FILE=str(folder / "keys.txt")) as service:
        yield service


def test_a_service_with_keys_passes_to_whoever_has_one(service, capsys):
    key_file = str(service.folder / "key")
    assert main([service.url, "--key-file", key_file, "--require-keys", "--version", "tiny"]) == 0
    said = capsys.readouterr().out
    assert "closed to strangers" in said
    assert "8 of 8 answers from tiny" in said
    assert "prediction log: database ok" in said
    assert main([service.url]) == 1
    assert "the service asks for a key" in capsys.readouterr().err


def test_another_model_than_the_wanted_one_does_not_pass(service, capsys):
    assert main([service.url, "--key-file", str(service.folder / "key"), "--digest", "f" * 12]) == 1
    assert "wanted ffffffffffff" in capsys.readouterr().err


def test_a_service_whose_predictions_reach_no_database_does_not_pass(store, tmp_path, capsys):
    nobody = f"postgresql://sentigate@127.0.0.1:{find_free_port()}/sentigate"
    with run_service(store, tmp_path, DATABASE_URL=nobody) as service:
        assert main([service.url]) == 1
    said = capsys.readouterr()
    assert "open to everybody, no key is asked for" in said.out
    assert '"degraded"' in said.err
    assert "wanted status ok, and a database that answers, within 10 s" in said.err
