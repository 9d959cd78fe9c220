"""A base model with a head for the classes, and a tokenizer that reads as the model was taught to."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers.utils import logging as transformers_logging

from sentiment.candidates.transformer.classifier import (
    LoraSettings,
    TextClassifier,
    load_tokenizer,
    quieten_transformers,
)
from sentiment.errors import EncoderError
from tests.unit.sentiment.candidates.conftest import KINDS, PIECES

WEIGHTS, TOKENIZER = "model.safetensors", "tokenizer.json"
LORA = LoraSettings(rank=2, alpha=4, dropout=0.0, learning_rate=1e-3)
TWITTER = "cardiffnlp/twitter-roberta-base-sentiment-latest"
IDS = torch.tensor([[101, 2204, 2293, 102], [101, 2919, 102, 0]])
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])


def ask(model: TextClassifier) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(IDS, MASK)


def count_trained(model: TextClassifier) -> tuple[int, int]:
    weights = list(model.parameters())
    return sum(item.numel() for item in weights if item.requires_grad), sum(item.numel() for item in weights)


def write_checkpoint(content: bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / WEIGHTS).unlink()
        (folder / "pytorch_model.bin").write_bytes(content)

    return write


def widen(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "hidden_size": 64}))


def normalise(folder: Path, source: str, text: str) -> str:
    return load_tokenizer(folder, source).backend_tokenizer.normalizer.normalize_str(text)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("classes", [2, 3])
def test_every_kind_of_encoder_gets_a_head(bases: dict[str, Path], kind: str, classes: int):
    """Ids and mask become one logit per class, whatever encoder is underneath."""
    logits = ask(TextClassifier(bases[kind], classes))
    assert logits.shape == (2, classes)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("lora", [None, LORA], ids=["all", "lora"])
def test_a_head_that_fits_is_kept(bases: dict[str, Path], lora: LoraSettings | None):
    """A model that was taught three classes starts from what it knows of them."""
    head = load_file(bases["head"] / WEIGHTS)["classifier.weight"]
    model = TextClassifier(bases["head"], 3, lora).merge_adapters()
    assert torch.equal(model.model.classifier.weight, head)


def test_a_head_that_does_not_fit_is_made_anew(bases: dict[str, Path]):
    """Two classes take nothing from a head of three, and all the rest of it."""
    model = TextClassifier(bases["head"], 2)
    weights = load_file(bases["head"] / WEIGHTS)
    assert model.model.classifier.weight.shape == (2, 32)
    assert torch.equal(model.token_embeddings, weights["bert.embeddings.word_embeddings.weight"])


@pytest.mark.parametrize("kind", KINDS)
def test_the_table_of_embeddings_is_that_of_the_base(bases: dict[str, Path], kind: str):
    """One row per piece, in float32, without a gradient."""
    table = TextClassifier(bases[kind], 3).token_embeddings
    assert table.shape == (PIECES, 32)
    assert table.dtype == torch.float32
    assert not table.requires_grad


@pytest.mark.parametrize("kind", [*KINDS, "head"])
def test_lora_trains_a_small_part(bases: dict[str, Path], kind: str):
    """Adapters and head learn, under a hundredth of the weights; the base does not."""
    model = TextClassifier(bases[kind], 3, LORA)
    trained, all_of_them = count_trained(model)
    assert 0 < trained < all_of_them / 100
    names = [name for name, weights in model.named_parameters() if weights.requires_grad]
    assert {name for name in names if "lora_" not in name and "classifier" not in name} == set()


def test_without_lora_everything_trains(bases: dict[str, Path]):
    """The whole model is fitted."""
    trained, all_of_them = count_trained(TextClassifier(bases["bert"], 3))
    assert trained == all_of_them


@pytest.mark.parametrize("kind", [*KINDS, "head"])
def test_merged_adapters_answer_like_unmerged_ones(bases: dict[str, Path], kind: str):
    """Folding the adapters into the weights changes no answer."""
    model = TextClassifier(bases[kind], 3, LORA)
    plain = ask(model)
    for name, weights in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weights)
    adapted = ask(model)
    merged = model.merge_adapters()
    assert not torch.allclose(plain, adapted, atol=1e-4)
    assert torch.allclose(ask(merged), adapted, atol=1e-5)
    assert not [name for name, _ in merged.named_parameters() if "lora" in name]


def test_a_model_without_adapters_has_nothing_to_merge(bases: dict[str, Path]):
    """Merging is harmless where there are no adapters."""
    model = TextClassifier(bases["bert"], 3)
    before = ask(model)
    assert torch.equal(ask(model.merge_adapters()), before)


def test_lora_takes_an_encoder_without_a_pooler(bases: dict[str, Path]):
    """A BERT that was saved with its language head has no pooler; that one is trained as a whole, the rest adapted."""
    trained, all_of_them = count_trained(TextClassifier(bases["poolerless"], 3, LORA))
    assert 0 < trained < all_of_them / 100


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 8, b"garbage" * 50, b"version https://git-lfs.github.com/spec/v1\n", 5000], ids=str
)
def test_damaged_weights_are_one_sentence(own_base: Path, content: bytes | int, refuses):
    """Weights that were cut short, are a pointer or something else altogether are said, with the way out."""
    weights = own_base / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:content] if isinstance(content, int) else content)
    with refuses(EncoderError):
        TextClassifier(own_base, 3)


@pytest.mark.parametrize("name", [WEIGHTS, "config.json"])
def test_a_folder_without_a_model_is_one_sentence(own_base: Path, name: str, refuses):
    """Weights and configuration are both needed."""
    (own_base / name).unlink()
    with refuses(EncoderError):
        TextClassifier(own_base, 3)


@pytest.mark.parametrize("config", ["", "{}", "[]", '{"model_type": "be', '{"model_type": "vit"}', '{"model_type": 1}'])
def test_a_damaged_or_foreign_configuration_is_one_sentence(own_base: Path, config: str, refuses):
    """What is no text model is refused."""
    (own_base / "config.json").write_text(config)
    with refuses(EncoderError):
        TextClassifier(own_base, 3)


@pytest.mark.parametrize(
    "damage",
    [
        write_checkpoint(b""),
        write_checkpoint(b"garbage" * 50),
        write_checkpoint(pickle.dumps({"a": 1})),
        lambda folder: (folder / "config.json").write_text("null"),
    ],
    ids=["bin-empty", "bin-garbage", "bin-of-something-else", "config-null"],
)
def test_other_damage_is_one_sentence_too(own_base: Path, damage: Callable[[Path], None], refuses):
    """A damaged pytorch_model.bin is told as a damaged model.safetensors is."""
    damage(own_base)
    with refuses(EncoderError):
        TextClassifier(own_base, 3)


@pytest.mark.parametrize(
    "damage",
    [lambda folder: save_file({"x": torch.zeros(3)}, folder / WEIGHTS, metadata={"format": "pt"}), widen],
    ids=["weights-of-another-model", "widths-of-another-model"],
)
def test_weights_that_are_not_of_this_model_are_refused(own_base: Path, damage: Callable[[Path], None], refuses):
    """Only a head may start from chance; an encoder that would is no base model."""
    damage(own_base)
    with refuses(EncoderError):
        TextClassifier(own_base, 3)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("@Bob hi", "@user hi"),
        ("hi @bob_1!", "hi @user"),
        ("see https://a.org/x?q=1 now", "see http now"),
        ("http://a.org", "http"),
        ("@a @b https://c", "@user @user http"),
    ],
)
def test_a_twitter_model_reads_no_names_and_links(bases: dict[str, Path], text: str, expected: str):
    """Handles become @user and links http, as the model was taught."""
    assert normalise(bases["bert"], TWITTER, text) == expected


@pytest.mark.parametrize(
    "text", ["mail bob@example.org", "@ home", "(@bob)", "a@b", "xhttp://a", "ftp://a", "", "5 @ 3", "@", "so @-"]
)
def test_a_twitter_model_reads_everything_else_as_it_is(bases: dict[str, Path], text: str):
    """E-mail addresses, lone signs and what stands inside a word stay."""
    assert normalise(bases["bert"], TWITTER, text) == text


def test_a_twitter_model_still_lowers_and_cleans_what_its_tokenizer_does(bases: dict[str, Path]):
    """The clean-up comes first, the tokenizer's own normalisation after it."""
    assert normalise(bases["bert"], TWITTER, "Café @Bob") == normalise(bases["bert"], "mine", "Café @user")


def test_the_clean_up_changes_nothing_else_in_the_tokenizer(bases: dict[str, Path]):
    """Beside its first two steps the saved tokenizer is that of any other source."""
    plain, clean = (
        json.loads(load_tokenizer(bases["bert"], source).backend_tokenizer.to_str()) for source in ("mine", TWITTER)
    )
    steps = clean.pop("normalizer")["normalizers"]
    assert [step["content"] for step in steps[:2]] == ["@user", "http"]
    assert steps[2:] == [plain.pop("normalizer")]
    assert clean == plain


@pytest.mark.parametrize("source", ["mine", "someone/twitter-model", "cardiffnlp/tweet-topic", "x/" + TWITTER])
def test_other_models_read_names_and_links(bases: dict[str, Path], source: str):
    """Only what was made on cleaned tweets gets them cleaned."""
    assert normalise(bases["bert"], source, "@bob https://a.org") == "@bob https://a.org"


def test_a_tokenizer_without_a_normaliser_gets_one(own_base: Path):
    """RoBERTa's tokenizer has no step of its own to keep."""
    content = json.loads((own_base / TOKENIZER).read_text())
    (own_base / TOKENIZER).write_text(json.dumps({**content, "normalizer": None}))
    (own_base / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    assert normalise(own_base, TWITTER, "Hi @Bob") == "Hi @user"


def test_the_tokenizer_reads_as_the_file_says(bases: dict[str, Path]):
    """Marks around the pieces of the embedded vocabulary."""
    tokenizer = load_tokenizer(bases["bert"], "mine")
    assert tokenizer("Hello there")["input_ids"] == [101, 7592, 2045, 102]


@pytest.mark.parametrize("content", ["", '{"version"', "garbage"])
def test_a_damaged_tokenizer_is_one_sentence(own_base: Path, content: str, refuses):
    """A tokenizer.json that was cut short is said, with what is wanted."""
    (own_base / TOKENIZER).write_text(content)
    with refuses(EncoderError):
        load_tokenizer(own_base, "mine")


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path: Path, refuses):
    """No tokenizer, no model."""
    with refuses(EncoderError):
        load_tokenizer(tmp_path / "absent", "mine")
    with refuses(EncoderError):
        TextClassifier(tmp_path / "absent", 3)


@pytest.mark.parametrize("content", ["{}", "[]", '{"model": {}}'])
def test_a_tokenizer_of_nothing_is_one_sentence(own_base: Path, content: str, refuses):
    """JSON that is no tokenizer is damage too."""
    (own_base / TOKENIZER).write_text(content)
    with refuses(EncoderError):
        load_tokenizer(own_base, "mine")


def test_a_model_without_a_tokenizer_is_refused(own_base: Path, refuses):
    """Without tokenizer.json or vocabulary there is nothing to read texts with."""
    (own_base / TOKENIZER).unlink()
    with refuses(EncoderError):
        load_tokenizer(own_base, "mine")


def test_quiet_is_over_afterwards():
    """What transformers says is as loud as before, also after an error."""
    before, inside = transformers_logging.get_verbosity(), []

    def fail() -> None:
        with quieten_transformers():
            inside.append(transformers_logging.get_verbosity())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (inside, transformers_logging.get_verbosity()) == ([transformers_logging.ERROR], before)


def test_progress_bars_that_were_off_stay_off():
    """Whoever wanted no bars gets none later either."""
    transformers_logging.disable_progress_bar()
    try:
        with quieten_transformers():
            pass
        assert not transformers_logging.is_progress_bar_enabled()
    finally:
        transformers_logging.enable_progress_bar()
