"""A fitted SVM as ONNX nodes, appended to the encoder: one graph from token ids to probabilities."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, compose, helper, numpy_helper

from sentiment.candidates.svm_model import SvmModel
from sentiment.export import OPSET, add_calibration


def export_svm(model: SvmModel, encoder: Path, destination: Path) -> None:
    """Write the encoder graph with the machine on top of it to `destination`."""
    body = onnx.load(encoder)
    head = build_head(model)
    head.ir_version = body.ir_version
    merged = compose.merge_models(body, head, io_map=[("embedding", "head_input")])
    onnx.save(add_calibration(merged, model.calibrator), destination)


def build_head(model: SvmModel) -> onnx.ModelProto:
    """Return the graph from `head_input` (texts x dimensions, float32) to `decisions` (texts x pairs of classes)."""
    support, weights, intercepts = _read_machine(model)
    constants = {
        "mean": model.scaler.mean_,
        "scale": model.scaler.scale_,
        "support_transposed": support.T,
        "support_squared": (support**2).sum(axis=1)[None, :],
        "minus_two": np.array(-2.0),
        "minus_gamma": np.array(-_read_gamma(model.machine)),
        "zero": np.array(0.0),
        "weights": weights,
        "intercepts": intercepts,
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
        [helper.make_tensor_value_info("head_input", TensorProto.FLOAT, ["texts", support.shape[1]])],
        [helper.make_tensor_value_info("decisions", TensorProto.FLOAT, ["texts", len(intercepts)])],
        [numpy_helper.from_array(np.asarray(value, dtype=np.float32), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])


def _read_machine(model: SvmModel) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return support vectors, their one-vs-one weights (vectors x pairs) and the intercepts.

    libsvm keeps the dual coefficients by class block: a vector of class i has one row per other class.
    """
    support = np.asarray(model.machine.support_vectors_)
    dual = np.asarray(model.machine.dual_coef_)
    counts = np.asarray(model.machine.n_support_)
    intercepts = np.atleast_1d(np.asarray(model.machine.intercept_))
    if len(dual) == 1:
        return support, dual.T, intercepts
    ends = np.cumsum(counts)
    blocks = [slice(end - count, end) for end, count in zip(ends, counts, strict=True)]
    pairs = [(i, j) for i in range(len(blocks)) for j in range(i + 1, len(blocks))]
    weights = np.zeros((len(support), len(pairs)))
    for column, (i, j) in enumerate(pairs):
        weights[blocks[i], column] = dual[j - 1, blocks[i]]
        weights[blocks[j], column] = dual[i, blocks[j]]
    return support, weights, intercepts


def _read_gamma(machine: Any) -> float:
    return float(machine._gamma)
