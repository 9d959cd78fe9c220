"""A fitted SVM as ONNX nodes, appended to the encoder: one graph from token ids to probabilities."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, numpy_helper

from sentiment.candidates.shared.onnx_export import OPSET, add_calibration
from sentiment.candidates.svm.model import SvmModel


def export_svm(model: SvmModel, encoder: Path, destination: Path) -> None:
    """Write the encoder graph with the machine on top of it to `destination`."""
    body = onnx.load(encoder)
    head = build_head(model)
    head.ir_version = body.ir_version
    merged = compose.merge_models(body, head, io_map=[("embedding", "head_input")])
    onnx.save(add_calibration(merged, model.calibrator), destination)


def build_head(model: SvmModel) -> onnx.ModelProto:
    """Return the graph from `head_input` (texts x dimensions, float32) to `decisions` (texts x pairs of classes)."""
    machine = model.machine
    constants = {
        "mean": model.scaler.mean_,
        "scale": model.scaler.scale_,
        "support_transposed": machine.support.T,
        "support_squared": (machine.support**2).sum(axis=1)[None, :],
        "minus_two": np.array(-2.0),
        "minus_gamma": np.array(-machine.gamma),
        "zero": np.array(0.0),
        "weights": machine.weights,
        "intercepts": machine.intercepts,
    }
    nodes = [
        helper.make_node("Sub", ["head_input", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "scale"], ["scaled"]),
        helper.make_node("ReduceSumSquare", ["scaled"], ["squared"], axes=[1], keepdims=1),
        helper.make_node("MatMul", ["scaled", "support_transposed"], ["products"]),
        helper.make_node("Mul", ["products", "minus_two"], ["crossed"]),
        helper.make_node("Add", ["crossed", "squared"], ["partial"]),
        helper.make_node("Add", ["partial", "support_squared"], ["raw_distances"]),
        helper.make_node("Max", ["raw_distances", "zero"], ["distances"]),
        helper.make_node("Mul", ["distances", "minus_gamma"], ["exponents"]),
        helper.make_node("Exp", ["exponents"], ["kernel"]),
        helper.make_node("Gemm", ["kernel", "weights", "intercepts"], ["decisions"]),
    ]
    graph = helper.make_graph(
        nodes,
        "svm_head",
        [helper.make_tensor_value_info("head_input", TensorProto.FLOAT, ["texts", machine.support.shape[1]])],
        [helper.make_tensor_value_info("decisions", TensorProto.FLOAT, ["texts", len(machine.intercepts)])],
        [numpy_helper.from_array(np.asarray(value, dtype=np.float32), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
