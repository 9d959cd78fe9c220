"""Bundles that are sealed well and do harm to whoever opens them, made of nothing but graphs, tokenizers and files."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sentiment.bundle.bundle import seal_bundle
from tests.conftest import make_card, make_tiny_bundle

FOREVER = 2**60


def make_killing_bundle(folder: Path, depth: int = 3000) -> Path:
    """A graph whose functions call each other so deep that the engine's stack ends: SIGSEGV."""
    versions = [helper.make_opsetid("", 17), helper.make_opsetid("deep", 1)]

    def define(place: int) -> onnx.FunctionProto:
        last = place == depth
        inner = "Identity" if last else f"f{place + 1}"
        node = helper.make_node(inner, ["in"], ["out"], domain="" if last else "deep")
        return helper.make_function("deep", f"f{place}", ["in"], ["out"], [node], versions)

    def change(model: onnx.ModelProto) -> None:
        insert(model, helper.make_node("f0", ["count"], ["moved"], domain="deep"))
        model.functions.extend(define(place) for place in range(depth + 1))
        model.opset_import.append(versions[1])

    return change_graph(folder, change)


def make_hanging_bundle(folder: Path) -> Path:
    """A graph that turns for ever before its first answer, and takes no memory."""
    state = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 1]) for name in ("before", "after")]
    flags = [helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("more", "still")]
    turn = helper.make_tensor_value_info("turn", TensorProto.INT64, [])
    step = [helper.make_node("Sin", ["before"], ["after"]), helper.make_node("Identity", ["more"], ["still"])]
    body = helper.make_graph(step, "body", [turn, flags[0], state[0]], [flags[1], state[1]])
    trips = numpy_helper.from_array(np.array(FOREVER, dtype=np.int64), "trips")

    def change(model: onnx.ModelProto) -> None:
        insert(model, helper.make_node("Loop", ["trips", "", "count"], ["moved"], body=body))
        model.graph.initializer.append(trips)

    return change_graph(folder, change)


def make_swelling_bundle(folder: Path, numbers: int = 2**30) -> Path:
    """A graph of a few kilobytes that wants 4 GB before its first answer."""
    shape = numpy_helper.from_array(np.array([numbers], dtype=np.int64), "shape")

    def change(model: onnx.ModelProto) -> None:
        zero = helper.make_tensor("value", TensorProto.FLOAT, [1], [0.0])
        insert(
            model,
            helper.make_node("ConstantOfShape", ["shape"], ["big"], value=zero),
            helper.make_node("ReduceMax", ["big"], ["most"], keepdims=0),
            helper.make_node("Add", ["count", "most"], ["moved"]),
        )
        model.graph.initializer.append(shape)

    return change_graph(folder, change)


def make_huge_bundle(folder: Path) -> Path:
    """A bundle whose graph is a file of 3 TB, of which the disk holds nothing."""
    bundle = make_tiny_bundle(folder)
    with bundle.model.open("r+b") as file:
        file.truncate(3 * 10**12)
    return folder


def make_panicking_bundle(folder: Path) -> Path:
    """A tokenizer over which the library in Rust panics, which is no Exception in Python."""

    def change(tokenizer: dict) -> None:
        tokenizer["post_processor"] = {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [],
            "special_tokens": {},
        }

    return change_tokenizer(folder, change)


def make_growing_bundle(folder: Path) -> Path:
    """A tokenizer that makes 100 characters of each, eight times over."""
    step = {"type": "Replace", "pattern": {"Regex": "."}, "content": "a" * 100}

    def change(tokenizer: dict) -> None:
        tokenizer["normalizer"] = {"type": "Sequence", "normalizers": [step] * 8}

    return change_tokenizer(folder, change)


def insert(model: onnx.ModelProto, *nodes: onnx.NodeProto) -> None:
    """Put nodes from `count` to `moved` before the logits of the tiny bundle."""
    at = next(place for place, node in enumerate(model.graph.node) if node.output[0] == "logits")
    model.graph.node[at].input[0] = "moved"
    for offset, node in enumerate(nodes):
        model.graph.node.insert(at + offset, node)


def change_graph(folder: Path, change: Callable[[onnx.ModelProto], None]) -> Path:
    bundle = make_tiny_bundle(folder)
    model = onnx.load(bundle.model)
    change(model)
    onnx.save(model, bundle.model)
    return seal_bundle(folder, make_card()).folder


def change_tokenizer(folder: Path, change: Callable[[dict], None]) -> Path:
    bundle = make_tiny_bundle(folder)
    tokenizer = json.loads(bundle.tokenizer.read_text())
    change(tokenizer)
    bundle.tokenizer.write_text(json.dumps(tokenizer))
    return seal_bundle(folder, make_card()).folder
