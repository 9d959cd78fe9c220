"""The fitted machine as an ONNX graph answers as the machine, and as scikit-learn, do."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from sklearn.svm import SVC

from sentiment.candidates.shared.onnx_export import add_calibration
from sentiment.candidates.svm.model import SvmModel, fit_svm, read_machine
from sentiment.candidates.svm.onnx_head import build_head, export_svm
from tests.unit.sentiment.candidates.svm.test_model import SETTINGS, fit, make_rows

COUNTS = {"two": (60, 25), "three": (60, 25, 40)}
IR_VERSION = 9


@pytest.fixture(params=COUNTS.values(), ids=COUNTS.keys())
def counts(request: pytest.FixtureRequest) -> tuple[int, ...]:
    return request.param


def run_head(model: SvmModel, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    head = add_calibration(build_head(model), model.calibrator)
    head.ir_version = IR_VERSION
    session = onnxruntime.InferenceSession(head.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["probabilities"], {"head_input": rows})[0]


@pytest.mark.parametrize("smote", [False, True], ids=["svm", "svm_smote"])
def test_the_head_answers_as_the_model_does(counts: tuple[int, ...], smote: bool):
    """Probabilities of unseen embeddings agree to four digits."""
    model = fit(counts, smote=smote)
    rows, _ = make_rows([50] * len(counts), seed=2)
    assert np.abs(run_head(model, rows) - model.predict_probabilities(rows)).max() < 1e-4


@pytest.mark.parametrize("gamma", ["scale", "auto", 0.05, 1.0])
def test_every_width_of_the_kernel_is_exported(counts: tuple[int, ...], gamma: str | float):
    """A named gamma and a number both arrive in the graph, on rows of training too."""
    model = fit(counts, settings=replace(SETTINGS, gamma=gamma))
    rows, _ = make_rows(counts)
    assert np.abs(run_head(model, rows) - model.predict_probabilities(rows)).max() < 1e-4


def test_the_head_of_scikit_learns_machine_answers_as_its_own_decisions_do(counts: tuple[int, ...]):
    """What libsvm decides, calibrated, is what the graph says: vectors, weights and intercepts are read right."""
    model = fit(counts)
    rows, targets = make_rows(counts)
    unseen = model.scaler.transform(make_rows([50] * len(counts), seed=2)[0])
    svc = SVC(gamma=model.machine.gamma, decision_function_shape="ovo").fit(model.scaler.transform(rows), targets)
    said = model.calibrator.calibrate(svc.decision_function(unseen).reshape(len(unseen), -1))
    head = replace(model, machine=read_machine(svc))
    assert np.abs(run_head(head, make_rows([50] * len(counts), seed=2)[0]) - said).max() < 1e-4


def test_a_row_of_the_head_does_not_depend_on_its_neighbours(counts: tuple[int, ...]):
    """One row alone and in a crowd has the same probabilities."""
    model = fit(counts)
    rows, _ = make_rows([10] * len(counts), seed=3)
    alone = np.concatenate([run_head(model, row[None, :]) for row in rows])
    assert np.abs(alone - run_head(model, rows)).max() < 1e-6


def test_an_embedding_far_from_all_training_rows_has_finite_probabilities(counts: tuple[int, ...]):
    """Where every kernel value is zero the answer is still a distribution."""
    answer = run_head(fit(counts), np.full((1, 24), 1e4, dtype=np.float32))
    assert answer.sum() == pytest.approx(1, abs=1e-6)


def test_export_puts_the_head_on_the_encoder(tmp_path: Path):
    """The written graph goes from the encoder's input to probabilities, as the encoder and the head do one by one."""
    model = fit(COUNTS["three"])
    onnx.save(make_halving_encoder(), tmp_path / "encoder.onnx")
    export_svm(model, tmp_path / "encoder.onnx", tmp_path / "model.onnx")
    rows, _ = make_rows([5, 5, 5], seed=4)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    (answer,) = session.run(None, {"doubled": rows * 2})
    assert np.abs(answer - model.predict_probabilities(rows)).max() < 1e-4


def make_halving_encoder() -> onnx.ModelProto:
    """Return a graph whose `embedding` is half of what it is given."""
    half = helper.make_tensor("half", TensorProto.FLOAT, [], [0.5])
    graph = helper.make_graph(
        [helper.make_node("Mul", ["doubled", "half"], ["embedding"])],
        "halving",
        [helper.make_tensor_value_info("doubled", TensorProto.FLOAT, ["texts", 24])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["texts", 24])],
        [half],
    )
    encoder = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    encoder.ir_version = IR_VERSION
    return encoder


@pytest.mark.parametrize("seed", [0, 1])
def test_the_head_agrees_where_single_precision_does_not(seed: int):
    """What Intel's machine decides in single precision is off on some small binary sets; it is never asked."""
    generator = np.random.default_rng(seed)
    rows = generator.normal(size=(326, 384)).astype(np.float32)
    targets = (rows[:, :5].sum(axis=1) + generator.normal(size=326) > 0).astype(np.int64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    held_out = (rows[269:], targets[269:])
    model = fit_svm(rows[:269], targets[:269], ("negative", "positive"), SETTINGS, smote=False, calibration=held_out)
    assert np.abs(run_head(model, rows[269:]) - model.predict_probabilities(rows[269:])).max() < 1e-4
