"""What is in production is found whole, or said in one sentence."""

import json

import pytest

from deploy.production import find_production
from sentiment.errors import DeployError, PointerError


@pytest.fixture
def pointer(monkeypatch, tmp_path):
    monkeypatch.setenv("SENTIMENT_STATE_DIR", str(tmp_path))
    return tmp_path / "production.json"


def test_without_a_model_in_production_there_is_nothing_to_deploy(pointer, refuses):
    """A new checkout is told how to get a model."""
    assert not pointer.exists()
    with refuses(DeployError):
        find_production()


@pytest.mark.parametrize("content", ["{", "[]", '{"tag": "sentiment:1"}', ""])
def test_a_pointer_that_cannot_be_read_is_said(pointer, content, refuses):
    """Half a pointer deploys nothing."""
    pointer.write_text(content)

    with refuses(PointerError):
        find_production()


def test_a_bento_that_the_store_has_not_is_said(pointer, refuses):
    """What is in production must be there to be deployed."""
    pointer.write_text(json.dumps({"tag": "sentiment:0-none", "bento": "sentigate:0-none", "digest": "0"}))

    with refuses(DeployError):
        find_production()
