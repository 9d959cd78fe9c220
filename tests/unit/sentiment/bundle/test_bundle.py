"""A bundle is read as it was sealed, or refused with a sentence."""

import hashlib
import json
import re
import shutil
from dataclasses import fields, replace
from pathlib import Path

import pytest

from sentiment.bundle.bundle import (
    BUNDLE_FILES,
    WEIGHTS_FILE,
    Bundle,
    Card,
    copy_bundle,
    digest_file,
    open_bundle,
    read_card,
    seal_bundle,
)
from sentiment.errors import BundleError
from sentiment.evaluation.calibration import OUT_OF_REACH
from tests.conftest import make_card, make_tiny_bundle


def flip_last_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def edit_card(bundle: Bundle, **changes: object) -> None:
    path = bundle.folder / "card.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_sealed_bundle_opens_as_it_was_sealed(tiny_bundle: Bundle):
    """What is read back is what was sealed, field by field."""
    assert open_bundle(tiny_bundle.folder) == tiny_bundle


def test_a_moved_bundle_opens(tiny_bundle: Bundle, tmp_path: Path):
    """A bundle may lie anywhere: no path is part of its seal."""
    moved = shutil.move(tiny_bundle.folder, tmp_path / "elsewhere")
    assert open_bundle(Path(moved)).card == tiny_bundle.card


def test_the_card_carries_the_digests_and_the_size_of_its_files(tiny_bundle: Bundle):
    """The digests are SHA-256 of the two files, the size is theirs in bytes."""
    model, tokenizer = tiny_bundle.model.read_bytes(), tiny_bundle.tokenizer.read_bytes()
    assert tiny_bundle.card.model_digest == hashlib.sha256(model).hexdigest()
    assert tiny_bundle.card.tokenizer_digest == hashlib.sha256(tokenizer).hexdigest()
    assert tiny_bundle.card.size_bytes == len(model) + len(tokenizer)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_one_flipped_bit_is_refused(tiny_bundle: Bundle, name: str, refuses):
    """A file that changed by one bit since it was sealed is not loaded."""
    sealed = digest_file(tiny_bundle.folder / name)
    flip_last_byte(tiny_bundle.folder / name)
    altered = hashlib.sha256((tiny_bundle.folder / name).read_bytes()).hexdigest()
    with refuses(BundleError) as refusal:
        open_bundle(tiny_bundle.folder)
    assert re.findall(r"[0-9a-f]{12}", str(refusal.value)) == [altered[:12], sealed[:12]]


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": ["positive", "neutral", "negative"]},
        {"labels": ["negative", "neutral"]},
        {"labels": ["negative", "neutral", "positive", "mixed"]},
        {"texts_per_call": 32},
        {"max_tokens": 8},
        {"uncertain_below": 0.5},
        {"digest": "0" * 64},
    ],
    ids=["label-order", "fewer-labels", "more-labels", "texts-per-call", "max-tokens", "threshold", "digest"],
)
def test_a_card_that_would_change_answers_is_refused(tiny_bundle: Bundle, changes: dict):
    """Labels, their order and the way texts are called are under the seal."""
    edit_card(tiny_bundle, **changes)
    with pytest.raises(BundleError) as refusal:
        open_bundle(tiny_bundle.folder)
    expected = f"card.json in {tiny_bundle.folder} was altered; fetch the bundle again from the registry."
    assert str(refusal.value) == expected


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "card.json"])
def test_a_missing_file_is_named(tiny_bundle: Bundle, name: str, refuses):
    """A folder without one of the three files is no bundle, and the sentence says which one is missing."""
    (tiny_bundle.folder / name).unlink()
    with refuses(BundleError):
        open_bundle(tiny_bundle.folder)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path, refuses):
    """A wrong path is a BundleError, not a stack trace."""
    with refuses(BundleError):
        open_bundle(tmp_path / "absent")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe\x00",
        b'"labels"',
        b"[" * 100_000,
        b'{"labels":' * 5_000,
        b'{"a":"\\ud800"}',
    ],
    ids=["empty", "cut", "list", "null", "binary", "string", "deep", "deep labels", "half a character"],
)
def test_an_unreadable_card_is_refused(tiny_bundle: Bundle, content: bytes, refuses):
    """A card that is no JSON object with the known fields is refused by one sentence."""
    path = tiny_bundle.folder / "card.json"
    path.write_bytes(content)
    with refuses(BundleError):
        open_bundle(tiny_bundle.folder)


NO_TEXTS = [None, 3, ["a"], {}, True, "a\nb", "nul\0", "\x1b[31m", "x" * 501]
NO_NUMBERS = [None, "16", [16], {}, True, -1, 10**30, float("nan"), float("inf")]
NO_MAPPINGS = [None, [], "a", 3]
NO_VALUES: dict[str, list[object]] = {
    "labels": [None, "ab", {}, [], ["one"], [1, 2], ["a", "a"], ["", "b"], ["a", None], ["a", "b\0"], ["a", "x" * 501]],
    "max_tokens": [*NO_NUMBERS, 0, 1.5, 65_537],
    "texts_per_call": [*NO_NUMBERS, 0, 1.5],
    "uncertain_below": [*NO_NUMBERS, 2.1],
    "train_rows": [*NO_NUMBERS, 0.5],
    "size_bytes": [*NO_NUMBERS, 0.5],
    **dict.fromkeys(
        ("candidate", "encoder", "precision", "dataset", "dataset_digest", "holdout_digest", "created_at"), NO_TEXTS
    ),
    "mlflow_run": NO_TEXTS,
    **{
        name: [None, 3, ["a" * 64], "", "a" * 63, "A" * 64, "g" * 64, "a" * 64 + "\n", "../../etc/passwd"]
        for name in ("model_digest", "tokenizer_digest", "digest")
    },
    "weights_digest": [None, 3, "a" * 63, "/etc/passwd"],
    **{
        name: [*NO_MAPPINGS, {"a": "1"}, {"a": None}, {"a": float("nan")}, {"a": float("-inf")}, {"a\0": 1}]
        for name in ("latency_ms", "metrics")
    },
    "versions": [*NO_MAPPINGS, {"a": 1}, {"a": "\0"}, {"a": "x" * 501}, {str(n): "1" for n in range(1001)}],
}


def test_every_field_of_the_card_is_checked():
    """No field may be added without values that it refuses."""
    assert NO_VALUES.keys() == {field.name for field in fields(Card)}


@pytest.mark.parametrize("name", NO_VALUES)
def test_a_card_with_a_value_that_cannot_be_is_refused(tiny_bundle: Bundle, name: str):
    """One sentence names the field and what was seen, whatever is wrong with it."""
    path = tiny_bundle.folder / "card.json"
    content = json.loads(path.read_text())
    for value in NO_VALUES[name]:
        path.write_text(json.dumps({**content, name: value}))
        with pytest.raises(BundleError) as refusal:
            read_card(tiny_bundle.folder)
        said = str(refusal.value)
        assert said.startswith(f"{path} is not a sound card: {name} is ")
        assert said.endswith("; fetch the bundle again from the registry.")
        assert "\n" not in said
        assert len(said) < len(str(path)) + 300


@pytest.mark.parametrize("name", [field.name for field in fields(Card) if field.default is field.default_factory])
def test_a_card_without_a_field_names_it(tiny_bundle: Bundle, name: str, refuses):
    """What the first cards had, all must have."""
    path = tiny_bundle.folder / "card.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != name}))
    with refuses(BundleError):
        read_card(tiny_bundle.folder)


def test_a_card_without_an_end_is_not_read(tiny_bundle: Bundle, refuses):
    """A file of a terabyte that is called a card takes no memory."""
    with (tiny_bundle.folder / "card.json").open("wb") as file:
        file.truncate(10**12)
    with refuses(BundleError):
        read_card(tiny_bundle.folder)


def test_an_unknown_key_in_the_card_is_ignored(tiny_bundle: Bundle):
    """A card written by a later version opens."""
    edit_card(tiny_bundle, signature="later", carbon_grams=3)
    assert open_bundle(tiny_bundle.folder).card == tiny_bundle.card


def test_a_card_from_before_there_were_thresholds_opens(tiny_bundle: Bundle):
    """A bundle in production stays in production: what its card does not say has no effect."""
    path = tiny_bundle.folder / "card.json"
    old = {k: v for k, v in json.loads(path.read_text()).items() if k != "uncertain_below"}
    path.write_text(json.dumps(old))
    card = open_bundle(tiny_bundle.folder).card
    assert (card.uncertain_below, card.digest) == (0.0, tiny_bundle.card.digest)


@pytest.mark.parametrize("threshold", [0.1 + 0.2, 1.0, 2**-40, 1, OUT_OF_REACH], ids=str)
def test_a_threshold_opens_as_it_was_sealed(tiny_bundle: Bundle, threshold: float):
    """JSON keeps every digit of it, so that the seal holds."""
    sealed = seal_bundle(tiny_bundle.folder, replace(tiny_bundle.card, uncertain_below=threshold))
    assert open_bundle(tiny_bundle.folder) == sealed
    assert sealed.card.digest != tiny_bundle.card.digest


def test_a_copied_bundle_is_the_bundle(tiny_bundle: Bundle, tmp_path: Path):
    """The three files and nothing else arrive, and open."""
    (tiny_bundle.folder / "notes.txt").write_text("mine")
    (tmp_path / "copy").mkdir()
    copy_bundle(tiny_bundle, tmp_path / "copy")
    assert sorted(path.name for path in (tmp_path / "copy").iterdir()) == sorted(BUNDLE_FILES)
    assert open_bundle(tmp_path / "copy").card == tiny_bundle.card


def seal_with_weights(bundle: Bundle, weights: bytes) -> Bundle:
    (bundle.folder / WEIGHTS_FILE).write_bytes(weights)
    return seal_bundle(bundle.folder, bundle.card)


def test_weights_beside_the_graph_are_under_the_seal(tiny_bundle: Bundle, refuses):
    """The same graph with other weights is another model, and weights that changed are refused."""
    one, other = (seal_with_weights(tiny_bundle, weights).card for weights in (b"one", b"other"))
    assert one.model_digest == other.model_digest
    assert len({tiny_bundle.card.digest, one.digest, other.digest}) == 3
    assert other.size_bytes == tiny_bundle.card.size_bytes + len(b"other")
    flip_last_byte(tiny_bundle.folder / WEIGHTS_FILE)
    with refuses(BundleError):
        open_bundle(tiny_bundle.folder)


def test_weights_that_are_missing_are_missed(tiny_bundle: Bundle, refuses):
    """A card that seals weights wants them."""
    sealed = seal_with_weights(tiny_bundle, b"weights")
    (sealed.folder / WEIGHTS_FILE).unlink()
    with refuses(BundleError):
        open_bundle(sealed.folder)


def test_weights_are_copied_with_the_bundle(tiny_bundle: Bundle, tmp_path: Path):
    """Whoever copies a bundle takes them along."""
    sealed = seal_with_weights(tiny_bundle, b"weights")
    (tmp_path / "copy").mkdir()
    copy_bundle(sealed, tmp_path / "copy")
    assert open_bundle(tmp_path / "copy").card == sealed.card


def test_weights_that_the_card_does_not_know_stay_behind(tiny_bundle: Bundle, tmp_path: Path):
    """A bundle from before weights lay beside the graph opens, whatever lies beside it."""
    (tiny_bundle.folder / WEIGHTS_FILE).write_bytes(b"stray")
    (tmp_path / "copy").mkdir()
    copy_bundle(open_bundle(tiny_bundle.folder), tmp_path / "copy")
    assert not (tmp_path / "copy" / WEIGHTS_FILE).exists()


def test_measurements_do_not_change_the_digest(tiny_bundle: Bundle):
    """Two bundles that answer alike share a digest, whatever was measured on them."""
    measured = replace(tiny_bundle.card, latency_ms={"p50": 1.5}, metrics={"macro_f1": 0.5}, mlflow_run="run")
    resealed = seal_bundle(tiny_bundle.folder, measured)
    assert resealed.card.digest == tiny_bundle.card.digest
    assert open_bundle(tiny_bundle.folder).card.metrics == {"macro_f1": 0.5}


def test_the_order_of_the_labels_changes_the_digest(tmp_path: Path):
    """The same graph with its labels in another order is another model."""
    first = make_tiny_bundle(tmp_path / "a", ("negative", "neutral", "positive"))
    second = make_tiny_bundle(tmp_path / "b", ("positive", "neutral", "negative"))
    assert first.card.model_digest == second.card.model_digest
    assert first.card.digest != second.card.digest


def test_labels_are_kept_in_any_script(tmp_path: Path):
    """Labels outside ASCII survive the card."""
    labels = ("schlecht", "地味", "großartig")
    assert open_bundle(make_tiny_bundle(tmp_path / "t", labels).folder).card.labels == labels


def test_sealing_replaces_digests_that_a_card_came_with(tiny_bundle: Bundle):
    """A seal is always of the files that lie there."""
    sealed = seal_bundle(tiny_bundle.folder, replace(make_card(), model_digest="stale", digest="stale", size_bytes=1))
    assert sealed.card == tiny_bundle.card
