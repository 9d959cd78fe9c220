"""The `cascade` candidate: a cheap first stage answers what it is sure of, the transformer the rest, in one graph."""

import logging
import tempfile
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, compose, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from sentiment.bundle.bundle import MODEL_FILE, TOKENIZER_FILE
from sentiment.bundle.onnx_session import Floats, TextGraph
from sentiment.candidates.cascade.first_stage import FirstStageSettings, fit_first_stage
from sentiment.candidates.contract import TrainedCandidate, TrainingContext, TrainingSplits
from sentiment.candidates.shared.onnx_export import add_calibration, export_module, quieten_libraries
from sentiment.candidates.transformer.candidate import tune_and_export
from sentiment.evaluation.calibration import OUT_OF_REACH, fit_calibrator
from sentiment.evaluation.predictions import measure_macro_f1

FIRST, SECOND = "first_", "second_"

logger = logging.getLogger(__name__)


def train_cascade(candidate: str, splits: TrainingSplits, context: TrainingContext, folder: Path) -> TrainedCandidate:
    """Return the two stages as one graph, with the threshold that lets the first one answer most at no loss of F1.

    It takes one text per call: a call goes on to the transformer as a whole, or not at all.
    """
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        made = tune_and_export(candidate, splits, context, Path(scratch))
        section, targets = context.training.cascade, splits.validation_targets
        reader = TextGraph(
            made.graph, made.tokenizer, max_tokens=context.training.transformer.max_tokens, texts_per_call=1
        )
        stage = fit_first_stage(
            made.tuned.model.token_embeddings,
            (reader.tokenise(splits.train_texts), splits.train_targets),
            (reader.tokenise(splits.validation_texts), targets),
            len(splits.labels),
            FirstStageSettings(seed=context.training.seed, **section.model_dump(exclude={"max_loss"})),
        )
        exported = Path(scratch) / "first_stage.onnx"
        export_module(stage, exported, output="logits")
        with quieten_libraries():
            quantize_dynamic(exported, exported, weight_type=QuantType.QInt8, op_types_to_quantize=["Gather"])
        opened = TextGraph(
            exported, made.tokenizer, max_tokens=context.training.transformer.max_tokens, texts_per_call=1
        )
        first_logits = opened.run(splits.validation_texts).outputs
        calibrator = fit_calibrator(first_logits.astype(np.float64), targets)
        first, second = calibrator.calibrate(first_logits).astype(np.float32), made.probabilities
        threshold = choose_cascade_threshold(first, second, targets, section.max_loss)
        answered = first.max(axis=1) >= threshold
        graph = join_stages(
            add_calibration(onnx.load(exported), calibrator),
            add_calibration(onnx.load(made.graph), made.calibrator),
            threshold,
        )
        onnx.save(graph, folder / MODEL_FILE)
        made.tokenizer.replace(folder / TOKENIZER_FILE)
    share = float(answered.mean())
    logger.info(
        "cascade: the first stage answers %.0f%% of validation, from a confidence of %.3f", 100 * share, threshold
    )
    return TrainedCandidate(
        base=context.training.transformer.source,
        max_tokens=context.training.transformer.max_tokens,
        precision=made.precision,
        texts_per_call=1,
        probabilities=np.where(answered[:, None], first, second),
        metrics={
            **made.metrics,
            "first_stage_macro_f1": measure_macro_f1(targets, first),
            "first_stage_threshold": threshold,
            "first_stage_share": share,
        },
    )


def choose_cascade_threshold(first: Floats, second: Floats, targets: NDArray[np.int64], max_loss: float) -> float:
    """Return the lowest confidence of the first stage down to which its answers never cost over `max_loss` macro F1.

    It goes down from the surest answers and stops before the first loss, since a lower threshold that happens to
    lose nothing again is luck. 2.0, which no confidence reaches, where the surest answers lose already.
    """
    confidences = first.max(axis=1)
    wanted = measure_macro_f1(targets, second) - max_loss
    chosen = OUT_OF_REACH
    for threshold in np.quantile(confidences, np.arange(99, -1, -1) / 100, method="higher"):
        answers = np.where(confidences >= threshold, first.argmax(axis=1), second.argmax(axis=1))
        if np.isnan(threshold) or measure_macro_f1(targets, answers) < wanted:
            break
        chosen = float(threshold)
    return chosen


def join_stages(first: onnx.ModelProto, second: onnx.ModelProto, threshold: float) -> onnx.ModelProto:
    """Return one graph that runs `second` only where `first` is not sure; both go from ids to `probabilities`.

    Its second output, `first_stage`, says which of the two answered.
    """
    outer = compose.add_prefix(first, FIRST, rename_inputs=False)
    later = compose.add_prefix(second, SECOND, rename_inputs=False)
    sure = f"{FIRST}probabilities"
    classes = first.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    inner = helper.make_graph(
        list(later.graph.node), "second_stage", [], list(later.graph.output), list(later.graph.initializer)
    )
    kept = helper.make_graph(
        [helper.make_node("Identity", [sure], ["kept"])],
        "first_stage_answers",
        [],
        [helper.make_tensor_value_info("kept", TensorProto.FLOAT, ["texts", classes])],
    )
    nodes = [
        *outer.graph.node,
        helper.make_node("ReduceMax", [sure], ["confidences"], axes=[1], keepdims=0),
        helper.make_node("ReduceMin", ["confidences"], ["least"], keepdims=0),
        helper.make_node("GreaterOrEqual", ["least", "threshold"], ["first_stage"]),
        helper.make_node("If", ["first_stage"], ["probabilities"], then_branch=kept, else_branch=inner),
    ]
    graph = helper.make_graph(
        nodes,
        "cascade",
        list(first.graph.input),
        [
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["texts", classes]),
            helper.make_tensor_value_info("first_stage", TensorProto.BOOL, []),
        ],
        [*outer.graph.initializer, numpy_helper.from_array(np.array(threshold, dtype=np.float32), "threshold")],
    )
    opsets = {item.domain: item.version for model in (first, second) for item in model.opset_import}
    built = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid(domain, number) for domain, number in opsets.items()],
        ir_version=first.ir_version,
    )
    onnx.checker.check_model(built)
    return built
