"""Two stages in one graph: the second runs where the first is not sure, and only there."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from sentiment.bundle.bundle import MODEL_FILE, TOKENIZER_FILE
from sentiment.bundle.onnx_session import TextGraph
from sentiment.candidates.cascade.candidate import choose_cascade_threshold, join_stages, train_cascade
from tests.conftest import LABELS
from tests.unit.sentiment.candidates.conftest import make_context, make_rows, make_splits

SURE, UNSURE = 7, 3
TABLE = {SURE: (0.125, 0.125, 0.75), UNSURE: (0.25, 0.5, 0.25)}
SECOND = (0.875, 0.0625, 0.0625)


def make_first(classes: int = 3, **renamed: str) -> onnx.ModelProto:
    """Return a stage that looks its answer up by the first token: id 7 is sure by 0.75, id 3 by 0.5."""
    table = np.full((10, classes), 0.0, dtype=np.float32)
    for row, answer in TABLE.items():
        table[row] = answer[:classes] if classes == 3 else (1 - max(answer), max(answer))
    nodes = [
        helper.make_node("Gather", ["input_ids", "place"], ["begin"], axis=1),
        helper.make_node("Gather", ["table", "begin"], ["probabilities"], axis=0),
    ]
    for node in nodes:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    constants = {"place": np.array(0), renamed.get("table", "table"): table}
    return make_model(nodes, constants, classes)


def make_second(answer: tuple[float, ...] = SECOND, names: tuple[str, str, str] = ("zeros", "rows", "answer")):
    """Return a stage that gives every text the same answer, with the names that are wanted for its values."""
    zeros, rows, constant = names
    nodes = [
        helper.make_node("Sub", ["input_ids", "input_ids"], [zeros]),
        helper.make_node("Gather", [zeros, "place"], [rows], axis=1),
        helper.make_node("Gather", [constant, rows], ["probabilities"], axis=0),
    ]
    constants = {"place": np.array(0), constant: np.array([answer], dtype=np.float32)}
    return make_model(nodes, constants, len(answer))


def make_broken_second() -> onnx.ModelProto:
    """Return a stage that cannot run: it looks up a row that its table does not have."""
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["wide"], axis=0)]
    nodes.append(helper.make_node("ReduceMax", ["wide"], ["probabilities"], axes=[1], keepdims=0))
    return make_model(nodes, {"table": np.zeros((1, 3), dtype=np.float32)}, 3)


def make_model(nodes: list[onnx.NodeProto], constants: dict[str, NDArray], classes: int) -> onnx.ModelProto:
    ids = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["texts", "tokens"])
        for name in ("input_ids", "attention_mask")
    ]
    outputs = [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["texts", classes])]
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "stage", ids, outputs, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def ask(model: onnx.ModelProto, *first_tokens: int) -> tuple[NDArray[np.float32], bool]:
    ids = np.array([[token, 1, 2] for token in first_tokens])
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    answer, said = session.run(["probabilities", "first_stage"], inputs)
    return np.asarray(answer), bool(said)


def make_answers(*rows: tuple[float, float]) -> NDArray[np.float32]:
    return np.array(rows, dtype=np.float32)


@pytest.mark.parametrize(
    ("threshold", "first"),
    [(0.74, True), (0.75, True), (np.nextafter(np.float32(0.75), 1, dtype=np.float32), False), (0.76, False)],
    ids=["above", "exactly-on", "one-bit-below", "below"],
)
def test_the_first_stage_answers_from_its_threshold_on(threshold: float, first: bool):
    """A confidence of 0.75 is enough for 0.75 and for no bit more; the graph says who answered."""
    answer, said = ask(join_stages(make_first(), make_second(), float(threshold)), SURE)
    assert answer.tolist() == [list(TABLE[SURE] if first else SECOND)]
    assert said is first


def test_the_second_stage_does_not_run_where_the_first_is_sure():
    """A second stage that cannot run does no harm to a sure text, and stops an unsure one."""
    joined = join_stages(make_first(), make_broken_second(), 0.6)
    assert ask(joined, SURE)[1]
    with pytest.raises(Exception, match="indices element out of data bounds"):
        ask(joined, UNSURE)


@pytest.mark.parametrize(("tokens", "first"), [((SURE, SURE), True), ((SURE, UNSURE), False), ((UNSURE, SURE), False)])
def test_a_call_goes_on_as_a_whole(tokens: tuple[int, int], first: bool):
    """One text that the first stage is not sure of sends its neighbours to the second."""
    answer, said = ask(join_stages(make_first(), make_second(), 0.6), *tokens)
    assert said is first
    assert answer.tolist() == [list(TABLE[SURE] if first else SECOND)] * 2


@pytest.mark.parametrize(("threshold", "first"), [(0.0, True), (2.0, False)])
def test_one_stage_may_answer_all(threshold: float, first: bool):
    """At 0 the first stage answers everything, at 2 nothing."""
    joined = join_stages(make_first(), make_second(), threshold)
    assert [ask(joined, token)[1] for token in (SURE, UNSURE)] == [first, first]


def test_two_classes_are_enough():
    """The width of the answers is that of the stages."""
    joined = join_stages(make_first(classes=2), make_second((0.875, 0.125)), 0.6)
    assert ask(joined, SURE)[0].tolist() == [[0.25, 0.75]]
    assert ask(joined, UNSURE)[0].tolist() == [[0.875, 0.125]]


def test_a_graph_can_follow_itself():
    """Every name of one stage may be a name of the other."""
    joined = join_stages(make_first(), make_first(), 0.6)
    assert ask(joined, SURE)[0].tolist() == [list(TABLE[SURE])]
    assert ask(joined, UNSURE)[0].tolist() == [list(TABLE[UNSURE])]


@pytest.mark.parametrize(
    "names",
    [
        ("zeros", "rows", "threshold"),
        ("least", "confidences", "answer"),
        ("kept", "first_stage", "answer"),
    ],
)
def test_a_second_stage_may_use_the_names_of_the_frame(names: tuple[str, str, str]):
    """What the second stage calls its values changes no answer."""
    joined = join_stages(make_first(), make_second(names=names), 0.6)
    assert ask(joined, SURE)[0].tolist() == [list(TABLE[SURE])]
    assert ask(joined, UNSURE)[0].tolist() == [list(SECOND)]


def test_a_first_stage_may_use_the_names_of_the_frame():
    """What the first stage calls its values changes no answer."""
    joined = join_stages(make_first(begin="least", table="threshold"), make_second(), 0.6)
    assert ask(joined, SURE)[0].tolist() == [list(TABLE[SURE])]


def test_joining_leaves_both_stages_as_they_were():
    """The two graphs can be joined again at another threshold."""
    first, second = make_first(), make_second()
    before = first.SerializeToString(), second.SerializeToString()
    join_stages(first, second, 0.6)
    assert (first.SerializeToString(), second.SerializeToString()) == before


def test_a_first_stage_that_is_as_good_answers_everything():
    """Where nothing is lost the threshold is the lowest confidence that was seen."""
    answers = make_answers((0.9, 0.1), (0.4, 0.6), (0.8, 0.2), (0.3, 0.7))
    assert choose_cascade_threshold(answers, answers, np.array([0, 1, 0, 1]), 0.0) == pytest.approx(0.6)


def test_an_equal_score_is_enough():
    """Both wrong in the same row: the first stage may answer it too."""
    first, second = make_answers((0.9, 0.1), (0.4, 0.6)), make_answers((0.6, 0.4), (0.1, 0.9))
    assert choose_cascade_threshold(first, second, np.array([0, 0]), 0.0) == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("max_loss", "low", "high"), [(0.0, 2.0, 2.0), (0.66, 2.0, 2.0), (0.67, 0.601, 0.9), (1.0, 0.6, 0.6)]
)
def test_a_first_stage_that_is_always_wrong_answers_what_may_be_lost(max_loss: float, low: float, high: float):
    """One wrong answer of two costs two thirds, both cost all: less than that is not enough, exactly all is."""
    first, second = make_answers((0.9, 0.1), (0.4, 0.6)), make_answers((0.1, 0.9), (0.9, 0.1))
    threshold = choose_cascade_threshold(first, second, np.array([1, 0]), max_loss)
    assert low - 1e-6 < threshold < high + 1e-6


@pytest.mark.parametrize(("max_loss", "low", "high"), [(0.0, 0.55, 0.7), (0.3, 0.5, 0.55)])
def test_answers_that_cost_too_much_are_left_to_the_second_stage(max_loss: float, low: float, high: float):
    """The least sure answer of the first stage is wrong: it is taken only where its cost is allowed."""
    first = make_answers((0.9, 0.1), (0.2, 0.8), (0.7, 0.3), (0.55, 0.45))
    second = make_answers((0.9, 0.1), (0.2, 0.8), (0.7, 0.3), (0.45, 0.55))
    threshold = choose_cascade_threshold(first, second, np.array([0, 1, 0, 1]), max_loss)
    assert low < np.float32(threshold) <= np.float32(high)


def test_a_gain_further_down_does_not_make_up_for_a_loss():
    """The surest answer is wrong; that others are better than the second stage's is luck, and none is taken."""
    first = make_answers((0.95, 0.05), (0.8, 0.2), (0.3, 0.7), (0.6, 0.4))
    second = make_answers((0.1, 0.9), (0.4, 0.6), (0.6, 0.4), (0.6, 0.4))
    assert choose_cascade_threshold(first, second, np.array([1, 0, 1, 0]), 0.0) == 2.0


def test_equal_confidences_stand_or_fall_together():
    """Of two answers that are equally sure one is wrong: neither is taken."""
    first, second = make_answers((0.8, 0.2), (0.8, 0.2)), make_answers((0.8, 0.2), (0.2, 0.8))
    assert choose_cascade_threshold(first, second, np.array([0, 1]), 0.0) == 2.0


@pytest.mark.parametrize("second", [(0.9, 0.1), (0.1, 0.9)])
def test_a_single_row_is_enough(second: tuple[float, float]):
    """A right answer is taken whether the second stage has it or not."""
    assert choose_cascade_threshold(make_answers((0.75, 0.25)), make_answers(second), np.array([0]), 0.0) == 0.75


def test_the_threshold_cuts_alike_in_the_graph():
    """The rows that were counted as answered are those that reach the threshold in the graph's precision."""
    for row in (7, 14, 28, 55, 56, 57):
        targets = (np.arange(101) <= row).astype(np.int64)
        second = np.column_stack([1 - targets, targets]).astype(np.float32)
        for seed in range(20):
            confidences = np.sort(np.random.default_rng(seed).uniform(0.5, 0.99, 101).astype(np.float32))
            first = np.column_stack([confidences, 1 - confidences])
            assert np.float32(choose_cascade_threshold(first, second, targets, 0.0)) > confidences[row]


def test_a_first_stage_without_numbers_answers_nothing():
    """NaN reaches no threshold, and is none."""
    first, second = np.full((4, 2), np.nan, dtype=np.float32), make_answers(*[(0.9, 0.1), (0.2, 0.8)] * 2)
    assert choose_cascade_threshold(first, second, np.array([0, 1, 0, 1]), 0.0) == 2.0


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_drafted_cascade_answers_as_the_draft_says(bases: dict[str, Path], tmp_path: Path, precision: str):
    """Texts one by one get the probabilities from training, from the stage that training counted."""
    splits = make_splits(make_rows(60, seed=1), make_rows(30, seed=2), LABELS)
    folder = tmp_path / "made"
    folder.mkdir()
    trained = train_cascade("cascade", splits, make_context(bases["bert"], tmp_path, precision=precision), folder)
    opened = TextGraph(folder / MODEL_FILE, folder / TOKENIZER_FILE, max_tokens=16, texts_per_call=1)
    assert sorted(path.name for path in folder.iterdir()) == sorted((MODEL_FILE, TOKENIZER_FILE))
    assert trained.texts_per_call == 1
    assert np.abs(opened.run(splits.validation_texts).outputs - trained.probabilities).max() < 1e-4
    said = [
        ask_file(folder / MODEL_FILE, ids, threshold=trained.metrics["first_stage_threshold"])
        for ids in opened.tokenise(splits.validation_texts)
    ]
    assert np.mean(said) == pytest.approx(trained.metrics["first_stage_share"], abs=1 / 30)


def ask_file(model: Path, ids: list[int], threshold: float) -> bool:
    """Return whether the first stage answered, which is so only from the threshold on."""
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    tensor = np.array([ids])
    answer, said = session.run(
        ["probabilities", "first_stage"], {"input_ids": tensor, "attention_mask": np.ones_like(tensor)}
    )
    assert not said or answer.max() >= threshold - 1e-6
    return bool(said)
