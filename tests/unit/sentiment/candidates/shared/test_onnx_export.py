"""The export: an ONNX graph answers as its torch module, in fp32, in int8 and with a calibration on top."""

import logging
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from sentiment.bundle.bundle import WEIGHTS_FILE
from sentiment.candidates.shared.onnx_export import (
    OPSET,
    add_calibration,
    export_module,
    move_weights,
    quantise,
    quieten_libraries,
)
from sentiment.evaluation.calibration import Calibrator

VOCABULARY = 50
WIDTH = 64


class Averager(torch.nn.Module):
    """Three logits from the mean of the embeddings that the mask lets through."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(VOCABULARY, WIDTH)
        self.dropout = torch.nn.Dropout(0.5)
        self.hidden = torch.nn.Linear(WIDTH, WIDTH)
        self.head = torch.nn.Linear(WIDTH, 3)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        mask = attention_mask.unsqueeze(-1).to(torch.float32)
        mean = (self.embedding(input_ids) * mask).sum(1) / mask.sum(1).clamp(min=1)
        return self.head(torch.tanh(self.hidden(self.dropout(mean))))


def make_inputs(texts: int, tokens: int) -> dict[str, np.ndarray]:
    """Return ids and a mask that lets between one and all tokens of a text through."""
    generator = np.random.default_rng(texts * 100 + tokens)
    lengths = generator.integers(1, tokens + 1, texts)
    mask = (np.arange(tokens) < lengths[:, None]).astype(np.int64)
    return {"input_ids": generator.integers(0, VOCABULARY, (texts, tokens)), "attention_mask": mask}


def run_graph(graph: Path | onnx.ModelProto, inputs: dict[str, np.ndarray]) -> np.ndarray:
    source = graph.SerializeToString() if isinstance(graph, onnx.ModelProto) else str(graph)
    (answer,) = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"]).run(None, inputs)
    return answer


@pytest.fixture(scope="module")
def module() -> Averager:
    torch.manual_seed(5)
    return Averager()


@pytest.fixture(scope="module")
def exported(module: Averager, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "fp32.onnx"
    export_module(module, path, output="logits")
    return path


@pytest.fixture(scope="module")
def quantised(exported: Path) -> Path:
    path = exported.with_name("int8.onnx")
    quantise(exported, path)
    return path


def make_passthrough(width: int = 3) -> onnx.ModelProto:
    """Return a graph whose logits are its input."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["texts", width]) for name in ("given", "logits")]
    graph = helper.make_graph([helper.make_node("Identity", ["given"], ["logits"])], "same", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = 9
    return model


@pytest.mark.parametrize(("texts", "tokens"), [(1, 1), (1, 8), (2, 8), (7, 3), (3, 40)])
def test_a_graph_answers_as_its_module_for_any_shape(module: Averager, exported: Path, texts: int, tokens: int):
    """The numbers of texts and tokens are free, though one shape was traced."""
    inputs = make_inputs(texts, tokens)
    with torch.no_grad():
        wanted = module.eval()(*map(torch.from_numpy, inputs.values())).numpy()
    assert run_graph(exported, inputs) == pytest.approx(wanted, abs=1e-5)


def test_ids_and_mask_are_two_inputs(exported: Path):
    """The mask is not taken for the ids: another mask makes another answer."""
    inputs = make_inputs(2, 6)
    full = {**inputs, "attention_mask": np.ones_like(inputs["attention_mask"])}
    assert np.abs(run_graph(exported, inputs) - run_graph(exported, full)).max() > 0.01


def test_a_graph_has_the_names_that_the_bundle_wants(exported: Path):
    """Two inputs of whole numbers and one named output with a free number of rows."""
    session = onnxruntime.InferenceSession(str(exported), providers=["CPUExecutionProvider"])
    assert [(item.name, item.type, item.shape) for item in session.get_inputs()] == [
        ("input_ids", "tensor(int64)", ["texts", "tokens"]),
        ("attention_mask", "tensor(int64)", ["texts", "tokens"]),
    ]
    assert [(item.name, item.shape) for item in session.get_outputs()] == [("logits", ["texts", 3])]


def test_a_module_in_training_is_exported_without_dropout(tmp_path: Path):
    """Dropout is for training alone; the same question has the same answer, and the module trains on."""
    module = Averager().train()
    export_module(module, tmp_path / "graph.onnx", output="logits")
    inputs = make_inputs(3, 5)
    assert module.training
    with torch.no_grad():
        wanted = module.eval()(*map(torch.from_numpy, inputs.values())).numpy()
    assert run_graph(tmp_path / "graph.onnx", inputs) == pytest.approx(wanted, abs=1e-5)


def test_an_export_is_one_file(module: Averager, tmp_path: Path):
    """Nothing lies beside the graph, and what was there before is replaced."""
    (tmp_path / "graph.onnx").write_bytes(b"old")
    export_module(module, tmp_path / "graph.onnx", output="embedding")
    assert [path.name for path in tmp_path.iterdir()] == ["graph.onnx"]
    assert [item.name for item in onnx.load(tmp_path / "graph.onnx").graph.output] == ["embedding"]


def test_an_export_is_made_the_same_twice(module: Averager, exported: Path, tmp_path: Path):
    """One module makes one graph, byte for byte, so that its digest holds."""
    export_module(module, tmp_path / "again.onnx", output="logits")
    assert (tmp_path / "again.onnx").read_bytes() == exported.read_bytes()


def test_an_export_is_quiet(module: Averager, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    """What the libraries say about a trusted export is not for the user."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        export_module(module, tmp_path / "graph.onnx", output="logits")
        quantise(tmp_path / "graph.onnx", tmp_path / "int8.onnx")
    assert capfd.readouterr() == ("", "")


def test_int8_answers_nearly_as_fp32(exported: Path, quantised: Path):
    """The answers move by little of their spread, the names stay."""
    inputs = make_inputs(40, 12)
    plain, small = run_graph(exported, inputs), run_graph(quantised, inputs)
    assert 0 < np.abs(plain - small).max() < 0.15 * plain.std()


def test_int8_is_about_a_quarter_of_the_size(exported: Path, quantised: Path):
    """Weights are one byte each; the rest of a small graph stays."""
    assert quantised.stat().st_size < 0.5 * exported.stat().st_size


def test_int8_weights_have_a_scale_per_column(quantised: Path):
    """Each output of a layer has a scale of its own, and the weights are signed bytes."""
    weights = {item.name: item for item in onnx.load(quantised).graph.initializer}
    scales = [numpy_helper.to_array(item) for name, item in weights.items() if name.endswith("_scale")]
    assert WIDTH in [scale.size for scale in scales]
    assert TensorProto.INT8 in [item.data_type for name, item in weights.items() if name.endswith("_quantized")]


def test_quantising_leaves_its_source_alone(exported: Path, tmp_path: Path):
    """The graph in fp32 is still there to be compared with."""
    before = exported.read_bytes()
    quantise(exported, tmp_path / "int8.onnx")
    assert exported.read_bytes() == before


def make_calibrator(seed: int = 3, scores: int = 3, classes: int = 3) -> Calibrator:
    generator = np.random.default_rng(seed)
    return Calibrator(generator.normal(0, 1, (scores, classes)), generator.normal(0, 1, classes))


@pytest.mark.parametrize(("scores", "classes"), [(1, 2), (2, 2), (3, 3), (10, 5)])
def test_probabilities_are_those_of_the_calibrator(scores: int, classes: int):
    """The graph answers what the calibrator computes, for as many scores as there are."""
    calibrator = make_calibrator(scores=scores, classes=classes)
    given = np.random.default_rng(1).normal(0, 3, (30, scores)).astype(np.float32)
    answer = run_graph(add_calibration(make_passthrough(scores), calibrator), {"given": given})
    assert answer == pytest.approx(calibrator.calibrate(given), abs=1e-5)
    assert answer.sum(axis=1) == pytest.approx(np.ones(30), abs=1e-6)


@pytest.mark.parametrize("size", [0.0, 1e4, -1e4, 1e30])
def test_scores_of_any_size_make_probabilities(size: float):
    """Large scores neither overflow nor leave the numbers."""
    given = {"given": np.array([[size, 0, 0]], dtype=np.float32)}
    answer = run_graph(add_calibration(make_passthrough(), make_calibrator()), given)
    assert np.isfinite(answer).all()
    assert answer.sum() == pytest.approx(1)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_output_is_named_and_as_wide_as_the_classes(classes: int):
    """A bundle's graph answers `probabilities`, one column a label, and nothing else."""
    (output,) = add_calibration(make_passthrough(3), make_calibrator(classes=classes)).graph.output
    assert output.name == "probabilities"
    assert [dim.dim_param or dim.dim_value for dim in output.type.tensor_type.shape.dim] == ["texts", classes]


def test_a_graph_keeps_its_scores_when_another_is_calibrated():
    """The graph that was given is not changed, so that one graph may get several calibrators."""
    graph = make_passthrough()
    before = graph.SerializeToString()
    given = {"given": np.array([[1, 2, 4]], dtype=np.float32)}
    one, other = (run_graph(add_calibration(graph, make_calibrator(seed)), given) for seed in (1, 2))
    assert graph.SerializeToString() == before
    assert np.abs(one - other).max() > 0.01


def test_a_second_calibration_is_refused():
    """Probabilities are no scores."""
    with pytest.raises(onnx.checker.ValidationError):
        add_calibration(add_calibration(make_passthrough(), make_calibrator()), make_calibrator())


@pytest.mark.parametrize("precision", ["exported", "quantised"])
def test_a_calibration_fits_on_an_exported_graph(precision: str, request: pytest.FixtureRequest):
    """The graph that is served, in either precision, gives the calibrated probabilities of its logits."""
    path, inputs = request.getfixturevalue(precision), make_inputs(5, 9)
    answer = run_graph(add_calibration(onnx.load(path), make_calibrator()), inputs)
    assert answer == pytest.approx(make_calibrator().calibrate(run_graph(path, inputs)), abs=1e-5)


@pytest.mark.parametrize("before", [logging.NOTSET, logging.INFO, logging.ERROR])
@pytest.mark.parametrize("name", ["onnxruntime", "torch.onnx"])
def test_libraries_may_speak_again_after_an_error(name: str, before: int):
    """Silence ends with the export, however it ends."""
    logger = logging.getLogger(name)
    level, filters = logger.level, list(logging.root.filters)
    logger.setLevel(before)
    try:
        with pytest.raises(RuntimeError), quieten_libraries():
            raise RuntimeError
        assert logger.level == before
        assert logging.root.filters == filters
    finally:
        logger.setLevel(level)


@pytest.mark.parametrize("name", ["onnxruntime.quantization.preprocess", "torch.onnx"])
def test_errors_of_the_libraries_are_heard(name: str, caplog: pytest.LogCaptureFixture):
    """Warnings are silenced, errors are not."""
    with quieten_libraries():
        logging.getLogger(name).warning("a node")
        logging.getLogger(name).error("a fault")
    assert [record.getMessage() for record in caplog.records] == ["a fault"]


def test_an_export_silences_nobody_else(caplog: pytest.LogCaptureFixture):
    """Warnings of other threads are logged meanwhile, by their own logger and by the root."""
    with quieten_libraries():
        logging.getLogger("zenml").warning("one")
        logging.root.warning("two")
    assert caplog.messages == ["one", "two"]


def test_quantisation_is_silent(exported: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """onnxruntime advises to prepare the graph first, which the export did."""
    quantise(exported, tmp_path / "int8.onnx")
    assert caplog.messages == []


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_graph_answers_alike_with_its_weights_beside_it(exported: Path, tmp_path: Path, precision: str):
    """To the last bit, and whoever may read the graph may read the weights."""
    graph = tmp_path / "model.onnx"
    graph.write_bytes(exported.read_bytes())
    if precision == "int8":
        quantise(exported, graph)
    graph.chmod(0o644)
    inputs = make_inputs(5, 9)
    before, size = run_graph(graph, inputs), graph.stat().st_size
    move_weights(graph)
    assert (run_graph(graph, inputs) == before).all()
    assert graph.stat().st_size < size
    assert (tmp_path / WEIGHTS_FILE).stat().st_mode & 0o777 == 0o644


def test_a_graph_of_a_few_numbers_keeps_them(tmp_path: Path):
    """There is no file of weights where there is nothing to put into it."""
    onnx.save(make_passthrough(), tmp_path / "model.onnx")
    move_weights(tmp_path / "model.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
