"""From a torch module to ONNX files in fp32 and int8, and the calibration on top of its scores."""

import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from sentiment.bundle.bundle import WEIGHTS_FILE
from sentiment.evaluation.calibration import Calibrator

OPSET = 17
NOISY = ("onnxruntime", "torch.onnx")


def export_module(module: Any, destination: Path, *, output: str) -> None:
    """Write a torch module from `input_ids`, `attention_mask` (int64, texts x tokens) to `output` (texts x width)."""
    import torch
    from onnxruntime.quantization.shape_inference import quant_pre_process

    ids = torch.ones((2, 8), dtype=torch.int64)
    axes = {0: "texts", 1: "tokens"}
    with tempfile.TemporaryDirectory() as scratch, quieten_libraries(), torch.no_grad():
        traced = Path(scratch) / "traced.onnx"
        torch.onnx.export(
            module,
            (ids, ids),
            str(traced),
            input_names=["input_ids", "attention_mask"],
            output_names=[output],
            dynamic_axes={"input_ids": axes, "attention_mask": axes, output: {0: "texts"}},
            opset_version=OPSET,
            dynamo=False,
        )
        quant_pre_process(str(traced), str(destination), skip_symbolic_shape=True)


def quantise(source: Path, destination: Path) -> None:
    """Write a graph with its weights in int8 per channel; activations are quantised as they come."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with quieten_libraries():
        quantize_dynamic(source, destination, weight_type=QuantType.QInt8, per_channel=True)


def move_weights(model: Path) -> None:
    """Move the weights of a graph into a file beside it.

    The engine maps that file: it is read faster, and processes that serve one model share its pages.
    """
    onnx.save(onnx.load(model), model, save_as_external_data=True, location=WEIGHTS_FILE)
    weights = model.with_name(WEIGHTS_FILE)
    if weights.is_file():
        weights.chmod(model.stat().st_mode)  # onnx keeps it from all other users


def add_calibration(graph: onnx.ModelProto, calibrator: Calibrator) -> onnx.ModelProto:
    """Return the graph with its one output, the scores of a model, turned into `probabilities`."""
    extended = onnx.ModelProto()
    extended.CopyFrom(graph)
    (scores,) = extended.graph.output
    constants = {"slopes": calibrator.slopes, "offsets": calibrator.offsets}
    for name, values in constants.items():
        extended.graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), name))
    extended.graph.node.append(helper.make_node("Gemm", [scores.name, *constants], ["calibrated"]))
    extended.graph.node.append(helper.make_node("Softmax", ["calibrated"], ["probabilities"], axis=1))
    del extended.graph.output[:]
    extended.graph.output.append(
        helper.make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, ["texts", len(calibrator.offsets)])
    )
    onnx.checker.check_model(extended)
    return extended


@contextmanager
def quieten_libraries() -> Iterator[None]:
    """Silence what torch and onnxruntime say about every node of a trusted export; their errors are heard."""
    levels = {logger: logger.level for logger in map(logging.getLogger, NOISY)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in levels:
            logger.setLevel(logging.ERROR)
        logging.root.addFilter(_is_wanted)
        try:
            yield
        finally:
            logging.root.removeFilter(_is_wanted)
            for logger, level in levels.items():
                logger.setLevel(level)


def _is_wanted(record: logging.LogRecord) -> bool:
    """Return whether a record is an error or not onnxruntime's, whose quantisation writes to the root logger."""
    return record.levelno >= logging.ERROR or "onnxruntime" not in Path(record.pathname).parts
