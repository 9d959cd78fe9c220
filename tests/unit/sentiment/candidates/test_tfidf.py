"""The yardstick: its graph adds up what the fitted regression says, text by text."""

from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from tokenizers import Tokenizer
from tokenizers.models import BPE, WordLevel
from tokenizers.pre_tokenizers import Whitespace

from sentiment.bundle.bundle import MODEL_FILE, TOKENIZER_FILE
from sentiment.bundle.onnx_session import TextGraph
from sentiment.candidates.shared.encoder import find_encoder
from sentiment.candidates.tfidf import (
    BUCKETS,
    PAIR_MULTIPLIER,
    Ids,
    TfidfModel,
    build_graph,
    count_features,
    fit_tfidf,
    scale_block,
    spell_pieces,
    train_tfidf,
)
from sentiment.candidates.transformer.trainer import LabelledTexts
from sentiment.errors import EncoderError
from tests.conftest import ENCODER, LABELS
from tests.unit.sentiment.candidates.conftest import PIECES, make_context, make_rows, make_splits

TOKENIZER = find_encoder(ENCODER) / TOKENIZER_FILE
ODD = ["", "a", "good", "good " * 40, "\x00", "unbelievably tremendous", "love love love love", "😀 naïve @user"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return open_tokenizer()


@pytest.fixture(scope="module")
def model(tokenizer: Tokenizer) -> TfidfModel:
    """The yardstick fitted on sixty rows of three classes."""
    return fit(tokenizer, make_rows(60, seed=1))


@pytest.fixture(scope="module")
def graph_file(model: TfidfModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("graph") / MODEL_FILE
    onnx.save(build_graph(model), file)
    return file


def open_tokenizer() -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(TOKENIZER))
    tokenizer.enable_truncation(16)
    tokenizer.no_padding()
    return tokenizer


def tokenise(tokenizer: Tokenizer, texts: list[str]) -> list[NDArray[np.int64]]:
    return [np.array(encoding.ids, dtype=np.int64) for encoding in tokenizer.encode_batch(texts)]


def fit(tokenizer: Tokenizer, rows: LabelledTexts) -> TfidfModel:
    return fit_tfidf(tokenise(tokenizer, list(rows.texts)), rows.targets, tokenizer, c=2.0)


@cache
def spell() -> sparse.csr_matrix:
    return spell_pieces(open_tokenizer())


def decide_by_pipeline(tokenizer: Tokenizer, rows: LabelledTexts, ids: Ids) -> NDArray[np.float64]:
    """Return the logits of `ids` by scikit-learn alone, fitted on the same rows."""
    characters = spell()
    counts = count_features(tokenise(tokenizer, list(rows.texts)), characters)
    found = [np.asarray((block > 0).sum(axis=0)).ravel() for block in counts]
    weights = [np.where(seen, np.log((1 + len(rows.texts)) / (1 + seen)) + 1, 0) for seen in found]
    scaled, unseen = (
        sparse.hstack([scale_block(block, weight) for block, weight in zip(blocks, weights, strict=True)]).tocsr()
        for blocks in (counts, count_features(ids, characters))
    )
    fitted = LogisticRegression(C=2.0, class_weight="balanced", max_iter=300).fit(scaled, rows.targets)
    logits = fitted.decision_function(unseen)
    return logits if logits.ndim > 1 else np.column_stack([np.zeros(len(ids)), logits])


def ask(graph: onnx.ModelProto | Path, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
    source = str(graph) if isinstance(graph, Path) else graph.SerializeToString()
    session = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["logits"], {"input_ids": ids, "attention_mask": mask})[0])


def open_graph(file: Path, texts_per_call: int) -> TextGraph:
    return TextGraph(file, TOKENIZER, max_tokens=16, texts_per_call=texts_per_call)


@pytest.mark.slow
@pytest.mark.parametrize("classes", [2, 3])
def test_the_graph_answers_like_the_pipeline_it_came_from(tokenizer: Tokenizer, classes: int):
    """Seen and unseen texts get scikit-learn's logits to four digits; of two classes the first has 0."""
    rows, unseen = make_rows(60, seed=1, classes=classes), make_rows(12, seed=2, classes=classes)
    graph = build_graph(fit(tokenizer, rows))
    ids = tokenise(tokenizer, [*unseen.texts, *ODD])
    answers = np.concatenate([ask(graph, row[None], np.ones_like(row[None])) for row in ids])
    assert answers.shape == (len(ids), classes)
    assert np.abs(answers - decide_by_pipeline(tokenizer, rows, ids)).max() < 1e-4


@pytest.mark.slow
def test_the_graph_answers_like_the_pipeline_on_any_ids(tokenizer: Tokenizer, model: TfidfModel):
    """The first and last piece of the vocabulary and hundred random texts hash alike on both sides."""
    rng = np.random.default_rng(5)
    ids = [np.array([0, PIECES - 1, PIECES - 1, 0]), *rng.integers(0, PIECES, size=(100, 9))]
    graph = build_graph(model)
    answers = np.concatenate([ask(graph, row[None], np.ones_like(row[None])) for row in ids])
    assert np.abs(answers - decide_by_pipeline(tokenizer, make_rows(60, seed=1), ids)).max() < 1e-4


@pytest.mark.parametrize("texts_per_call", [2, 32])
def test_neighbours_do_not_change_an_answer(graph_file: Path, texts_per_call: int):
    """A text alone and in a padded call get the same logits."""
    texts = [*make_rows(30, seed=3).texts, *ODD]
    alone = np.concatenate([open_graph(graph_file, 1).run([text]).outputs for text in texts])
    assert np.abs(open_graph(graph_file, texts_per_call).run(texts).outputs - alone).max() < 1e-5


@pytest.mark.parametrize("padding", [0, 1, 2307, PIECES - 1])
def test_padding_counts_for_nothing(graph_file: Path, padding: int):
    """Whatever id stands behind the mask, the answer is that of the text."""
    ids = np.array([[101, 2204, 2293, 102]])
    padded = np.concatenate([ids, np.full((1, 30), padding)], axis=1)
    mask = np.concatenate([np.ones_like(ids), np.zeros((1, 30), dtype=np.int64)], axis=1)
    assert np.abs(ask(graph_file, padded, mask) - ask(graph_file, ids, np.ones_like(ids))).max() < 1e-5


@pytest.mark.slow
def test_a_single_token_has_an_answer(tokenizer: Tokenizer, graph_file: Path):
    """One token makes no pair, and gets the pipeline's logits."""
    ids = np.array([[2204]])
    expected = decide_by_pipeline(tokenizer, make_rows(60, seed=1), [ids[0]])
    assert np.abs(ask(graph_file, ids, np.ones_like(ids)) - expected).max() < 1e-4


def test_no_token_at_all_is_answered_by_the_intercepts(model: TfidfModel, graph_file: Path):
    """A text without any feature has the logits that training gives to nothing."""
    nothing = np.zeros((1, 0), dtype=np.int64)
    assert ask(graph_file, nothing, nothing)[0] == pytest.approx(model.intercepts, abs=1e-5)


def test_words_of_a_class_raise_its_logit(graph_file: Path):
    """New texts of known words are told apart."""
    rows = make_rows(30, seed=9)
    assert (open_graph(graph_file, 8).run(list(rows.texts)).outputs.argmax(axis=1) == rows.targets).all()


def test_words_that_training_never_saw_weigh_nothing_as_pieces(tokenizer: Tokenizer, model: TfidfModel):
    """An unseen piece has no weight of its own; its characters may."""
    row = model.pieces[tokenizer.token_to_id("terrific")]
    assert not row[:3].any()
    assert row[6] == 0


def test_character_grams_know_where_a_word_begins(tokenizer: Tokenizer):
    """`so` at the start of a word and `##so` inside one share the gram `so`, not the gram with a space."""
    characters = spell()
    first, inner = (characters[tokenizer.token_to_id(piece)] for piece in ("so", "##so"))
    assert (first.sum(), inner.sum()) == (3, 1)
    assert first.multiply(inner).sum() == 1


@pytest.mark.parametrize("mark", ["[CLS]", "[SEP]", "[UNK]", "[PAD]"])
def test_marks_have_no_characters(tokenizer: Tokenizer, mark: str):
    """What the tokenizer adds is no word."""
    assert spell()[tokenizer.token_to_id(mark)].sum() == 0


def test_pairs_are_counted_in_order():
    """`not good` and `good not` are other pairs of the same pieces."""
    pieces, pairs, _ = count_features([np.array([5, 9]), np.array([9, 5])], spell())
    assert (pieces[0] != pieces[1]).nnz == 0
    assert pairs[0].indices.tolist() == [(5 * PAIR_MULTIPLIER + 9) % BUCKETS]
    assert pairs[1].indices.tolist() == [(9 * PAIR_MULTIPLIER + 5) % BUCKETS]


def test_a_block_is_scaled_by_the_weights_of_what_occurs_in_it():
    """Counts 1 and 2 of weights 2 and 1 have the length of the root of 1 * 4 + 2 * 1."""
    scaled = scale_block(sparse.csr_matrix([[1.0, 2.0], [0.0, 0.0]]), np.array([2.0, 1.0])).toarray()
    assert scaled == pytest.approx(np.array([[2 / 6**0.5, 2 / 6**0.5], [0, 0]]))


@pytest.mark.slow
@pytest.mark.parametrize("classes", [2, 3])
def test_the_drafted_graph_answers_as_the_draft_says(tmp_path: Path, classes: int):
    """Calibrated probabilities from training are those of the graph in the folder, and nothing else lies there."""
    labels = [LABELS[0], *LABELS[3 - classes + 1 :]]
    splits = make_splits(make_rows(60, seed=1, classes=classes), make_rows(20, seed=2, classes=classes), labels)
    (tmp_path / "made").mkdir()
    trained = train_tfidf("tfidf", splits, make_context(ENCODER, tmp_path), tmp_path / "made")
    answers = open_graph(tmp_path / "made" / MODEL_FILE, trained.texts_per_call).run(splits.validation_texts).outputs
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == sorted((MODEL_FILE, TOKENIZER_FILE))
    assert answers.sum(axis=1) == pytest.approx(np.ones(20), abs=1e-5)
    assert np.abs(answers - trained.probabilities).max() < 1e-5


@pytest.mark.slow
def test_training_twice_gives_the_same_model(tokenizer: Tokenizer, model: TfidfModel):
    """The yardstick has no chance in it."""
    again = fit(tokenizer, make_rows(60, seed=1))
    assert np.array_equal(again.pieces, model.pieces)
    assert np.array_equal(again.pairs, model.pairs)


def test_a_text_without_tokens_can_be_trained_on(tmp_path: Path):
    """A tokenizer without marks makes no token of a smiley that it does not know."""
    Tokenizer(BPE({"g": 0, "b": 1, "d": 2}, [])).save(str(tmp_path / TOKENIZER_FILE))
    rows = LabelledTexts(["g", "b", "d", "\U0001f600", "gd", "bd"], np.array([2, 0, 1, 1, 2, 0]))
    (tmp_path / "made").mkdir()
    trained = train_tfidf("tfidf", make_splits(rows, rows), make_context(tmp_path, tmp_path), tmp_path / "made")
    assert np.isfinite(trained.probabilities).all()


def test_a_vocabulary_may_leave_ids_out():
    """The ids of some tokenizers have holes."""
    tokenizer = Tokenizer(WordLevel({"good": 0, "bad": 1, "[UNK]": 7}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    rows = LabelledTexts(["good", "bad", "other good", "other bad"], np.array([1, 0, 1, 0]))
    model = fit(tokenizer, rows)
    answers = ask(build_graph(model), np.array([[7, 0]]), np.ones((1, 2), dtype=np.int64))
    assert answers.argmax() == 1


@pytest.mark.parametrize("content", [None, "", "{}"], ids=["gone", "empty", "of-nothing"])
def test_a_folder_without_a_sound_tokenizer_is_one_sentence(
    own_base: Path, tmp_path: Path, content: str | None, refuses
):
    """What is missing in encoder.source is said."""
    (own_base / TOKENIZER_FILE).unlink()
    if content is not None:
        (own_base / TOKENIZER_FILE).write_text(content)
    (tmp_path / "made").mkdir()
    splits = make_splits(make_rows(30, seed=1), make_rows(9, seed=2))
    with refuses(EncoderError):
        train_tfidf("tfidf", splits, make_context(own_base, tmp_path), tmp_path / "made")
