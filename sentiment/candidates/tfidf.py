"""The `tfidf` candidate, the yardstick: weighted pieces and pairs of pieces, logistic regression, tables in a graph.

A text's features are its word pieces, the pairs of neighbouring pieces (hashed into buckets) and the character
n-grams inside each piece, each block with a tf-idf weight and a length of one. All three are sums over tokens,
so that the fitted model is a row of numbers per piece and per bucket, which ONNX adds up from the token ids.
"""

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from tokenizers import Tokenizer

from sentiment.bundle.bundle import MODEL_FILE, TOKENIZER_FILE
from sentiment.bundle.onnx_session import TextGraph
from sentiment.candidates.contract import TrainedCandidate, TrainingContext, TrainingSplits
from sentiment.candidates.shared.encoder import find_encoder
from sentiment.candidates.shared.onnx_export import OPSET, add_calibration
from sentiment.errors import EncoderError
from sentiment.evaluation.calibration import fit_calibrator
from sentiment.evaluation.predictions import measure_macro_f1

BUCKETS = 2**18
PAIR_MULTIPLIER = 31337
CHARACTER_LENGTHS = (2, 3, 4, 5)
TEXTS_PER_CALL = 32

Numbers = NDArray[np.float64]
Ids = Sequence[NDArray[np.int64]]


@dataclass(frozen=True)
class TfidfModel:
    """Per piece and per pair bucket: what it adds to each logit, and to the squared length of its block.

    `pieces` is vocabulary x (2 x classes + 2): piece block, character block, their two squared lengths;
    `pairs` is buckets x (classes + 1).
    """

    pieces: Numbers
    pairs: Numbers
    intercepts: Numbers


def train_tfidf(candidate: str, splits: TrainingSplits, context: TrainingContext, folder: Path) -> TrainedCandidate:  # noqa: ARG001
    """Return the yardstick that every other candidate must beat, calibrated on validation."""
    section = context.encoder
    tokenizer = copy_tokenizer(find_encoder(section.source), folder / TOKENIZER_FILE)
    tokenizer.enable_truncation(section.max_tokens)
    tokenizer.no_padding()
    started = time.perf_counter()
    ids = [np.array(encoding.ids) for encoding in tokenizer.encode_batch_fast(splits.train_texts)]
    model = fit_tfidf(ids, splits.train_targets, tokenizer, context.training.tfidf.c)
    seconds = time.perf_counter() - started
    logits_graph = build_graph(model)
    onnx.save(logits_graph, folder / MODEL_FILE)
    logits = (
        TextGraph(
            folder / MODEL_FILE, folder / TOKENIZER_FILE, max_tokens=section.max_tokens, texts_per_call=TEXTS_PER_CALL
        )
        .run(splits.validation_texts)
        .outputs
    )
    calibrator = fit_calibrator(logits.astype(np.float64), splits.validation_targets)
    onnx.save(add_calibration(logits_graph, calibrator), folder / MODEL_FILE)
    probabilities = calibrator.calibrate(logits).astype(np.float32)
    f1 = measure_macro_f1(splits.validation_targets, probabilities)
    return TrainedCandidate(
        base=f"tokens of {section.name}",
        max_tokens=section.max_tokens,
        precision="fp32",
        texts_per_call=TEXTS_PER_CALL,
        probabilities=probabilities,
        metrics={"training_seconds": round(seconds, 3), "validation_macro_f1_fp32": f1},
    )


def copy_tokenizer(origin: Path, destination: Path) -> Tokenizer:
    """Return the tokenizer of an encoder after copying it. Raises EncoderError when it is missing or damaged."""
    file = origin / "tokenizer.json"
    try:
        sound = isinstance(json.loads(file.read_text(encoding="utf-8")).get("model"), dict)
    except (OSError, ValueError, AttributeError):
        sound = False
    if not sound:
        raise EncoderError(f"{file} is missing or damaged; fetch the encoder again, or name another in encoder.source.")
    shutil.copy(file, destination)
    return Tokenizer.from_file(str(destination))


def fit_tfidf(ids: Ids, targets: NDArray[np.int64], tokenizer: Tokenizer, c: float) -> TfidfModel:
    """Return the model fitted on token ids (one array per text) and targets from 0 up."""
    characters = spell_pieces(tokenizer)
    counts = count_features(ids, characters)
    weights = [_weigh(block) for block in counts]
    rows = sparse.hstack([scale_block(block, weight) for block, weight in zip(counts, weights, strict=True)]).tocsr()
    fitted = LogisticRegression(C=c, class_weight="balanced", max_iter=300).fit(rows, targets)
    coefficients, intercepts = fitted.coef_, fitted.intercept_
    if len(coefficients) == 1:
        coefficients = np.vstack([np.zeros_like(coefficients), coefficients])
        intercepts = np.array([0.0, intercepts[0]])
    ends = np.cumsum([block.shape[1] for block in counts])
    piece, pair, character = np.split(coefficients, ends[:-1], axis=1)
    weighted = characters @ sparse.diags(weights[2])
    pieces = np.column_stack(
        [
            (piece * weights[0]).T,
            weighted @ character.T,
            weights[0] ** 2,
            np.asarray(characters @ (weights[2] ** 2)).ravel(),
        ]
    )
    return TfidfModel(pieces, np.column_stack([(pair * weights[1]).T, weights[1] ** 2]), intercepts)


def spell_pieces(tokenizer: Tokenizer) -> sparse.csr_matrix:
    """Return the character n-grams of each piece of the vocabulary, counted; a piece that begins a word has a space."""
    numbers: dict[str, int] = {}
    rows, columns = [], []
    special = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    for piece, row in vocabulary:
        if piece in special:
            continue
        spelled = piece.removeprefix("##") if piece.startswith("##") else " " + piece
        for length in CHARACTER_LENGTHS:
            for start in range(len(spelled) - length + 1):
                rows.append(row)
                columns.append(numbers.setdefault(spelled[start : start + length], len(numbers)))
    return sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(vocabulary[-1][1] + 1, max(len(numbers), 1)))


def count_features(ids: Ids, characters: sparse.csr_matrix) -> list[sparse.csr_matrix]:
    """Return pieces, pairs and character n-grams per text, counted."""
    pieces = _count(ids, characters.shape[0])
    pairs = _count([(row[:-1] * PAIR_MULTIPLIER + row[1:]) % BUCKETS for row in ids], BUCKETS)
    return [pieces, pairs, pieces @ characters]


def scale_block(counts: sparse.csr_matrix, weights: Numbers) -> sparse.csr_matrix:
    """Return the weighted counts, each row over the root of the summed squared weights of what occurs in it."""
    lengths = np.sqrt(np.maximum(counts @ weights**2, 1e-9))
    return sparse.diags(1 / lengths) @ counts @ sparse.diags(weights)


def build_graph(model: TfidfModel) -> onnx.ModelProto:
    """Return the graph from token ids and mask to `logits`."""
    classes = len(model.intercepts)
    constants = {
        "pieces": model.pieces.astype(np.float32),
        "pairs": model.pairs.astype(np.float32),
        "intercepts": model.intercepts.astype(np.float32),
        "multiplier": np.array(PAIR_MULTIPLIER),
        "buckets": np.array(BUCKETS),
        "first": np.array([0]),
        "second": np.array([1]),
        "last": np.array([-1]),
        "end": np.array([np.iinfo(np.int64).max]),
        "along": np.array([1]),
        "across": np.array([2]),
        "piece_widths": np.array([classes, classes, 1, 1]),
        "pair_widths": np.array([classes, 1]),
        "least": np.array(1e-9, dtype=np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "across"], ["present"]),
        helper.make_node("Gather", ["pieces", "input_ids"], ["piece_rows"]),
        helper.make_node("Mul", ["piece_rows", "present"], ["piece_parts"]),
        helper.make_node("ReduceSum", ["piece_parts", "along"], ["piece_sums"], keepdims=0),
        helper.make_node(
            "Split",
            ["piece_sums", "piece_widths"],
            ["piece_logits", "character_logits", "piece_square", "character_square"],
            axis=1,
        ),
        helper.make_node("Slice", ["input_ids", "first", "last", "along"], ["left"]),
        helper.make_node("Slice", ["input_ids", "second", "end", "along"], ["right"]),
        helper.make_node("Slice", ["present", "second", "end", "along"], ["pair_present"]),
        helper.make_node("Mul", ["left", "multiplier"], ["spread"]),
        helper.make_node("Add", ["spread", "right"], ["joined"]),
        helper.make_node("Mod", ["joined", "buckets"], ["pair_ids"]),
        helper.make_node("Gather", ["pairs", "pair_ids"], ["pair_rows"]),
        helper.make_node("Mul", ["pair_rows", "pair_present"], ["pair_parts"]),
        helper.make_node("ReduceSum", ["pair_parts", "along"], ["pair_sums"], keepdims=0),
        helper.make_node("Split", ["pair_sums", "pair_widths"], ["pair_logits", "pair_square"], axis=1),
    ]
    for block in ("piece", "pair", "character"):
        nodes += [
            helper.make_node("Max", [f"{block}_square", "least"], [f"{block}_floor"]),
            helper.make_node("Sqrt", [f"{block}_floor"], [f"{block}_length"]),
            helper.make_node("Div", [f"{block}_logits", f"{block}_length"], [f"{block}_share"]),
        ]
    nodes.append(helper.make_node("Sum", ["piece_share", "pair_share", "character_share", "intercepts"], ["logits"]))
    ids = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["texts", "tokens"])
        for name in ("input_ids", "attention_mask")
    ]
    graph = helper.make_graph(
        nodes,
        "tfidf",
        ids,
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["texts", classes])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    built = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(built)
    return built


def _count(rows: Ids, width: int) -> sparse.csr_matrix:
    texts = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    return sparse.csr_matrix((np.ones(len(texts)), (texts, np.concatenate(rows))), shape=(len(rows), width))


def _weigh(counts: sparse.csr_matrix) -> Numbers:
    """Return the smoothed inverse document frequency of each column, 0 for what never occurs."""
    found = np.asarray((counts > 0).sum(axis=0)).ravel()
    weights: Numbers = np.log((1 + counts.shape[0]) / (1 + found)) + 1
    weights[found == 0] = 0
    return weights
