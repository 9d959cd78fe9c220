import importlib.util
import json
import shutil
from pathlib import Path

import pytest
from bentoml.exceptions import BentoMLException

import service.model
from service.model import find_model_tag

NAMED = "sentiment:named"
POINTED = "sentiment:pointed"
BUILT = "sentiment:built"


@pytest.fixture(autouse=True)
def state_folder(tmp_path, monkeypatch) -> Path:
    """A state folder with nothing in production."""
    monkeypatch.delenv("SENTIMENT_MODEL_TAG", raising=False)
    monkeypatch.setenv("SENTIMENT_STATE_DIR", str(tmp_path))
    return tmp_path


def put_in_production(folder: Path, tag: str) -> None:
    (folder / "production.json").write_text(json.dumps({"tag": tag, "version": "3"}), encoding="utf-8")


def find_built_tag(folder: Path) -> str:
    """What the module answers from where BentoML puts it: in `src`, beside the description of the Bento."""
    module = folder / "src" / "service" / "model.py"
    module.parent.mkdir(parents=True)
    shutil.copy(service.model.__file__, module)
    (folder / "bento.yaml").write_text(f"services:\n- name: sentigate\n  models:\n  - tag: {BUILT}\n", encoding="utf-8")
    spec = importlib.util.spec_from_file_location("built_model", module)
    built = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(built)
    return built.find_model_tag()


def test_a_checkout_serves_what_is_in_production(state_folder):
    """The pointer in the state folder names the model."""
    put_in_production(state_folder, POINTED)

    assert find_model_tag() == POINTED


def test_the_pointer_is_read_anew_every_time(state_folder):
    """A service that starts after a promotion serves the promoted model."""
    put_in_production(state_folder, "sentiment:before")
    find_model_tag()
    put_in_production(state_folder, POINTED)

    assert find_model_tag() == POINTED


def test_the_variable_goes_before_the_pointer(state_folder, monkeypatch):
    """`SENTIMENT_MODEL_TAG` chooses a model whatever is in production."""
    put_in_production(state_folder, POINTED)
    monkeypatch.setenv("SENTIMENT_MODEL_TAG", NAMED)

    assert find_model_tag() == NAMED


def test_the_variable_needs_nothing_in_production(monkeypatch):
    """A model can be named where none was promoted."""
    monkeypatch.setenv("SENTIMENT_MODEL_TAG", NAMED)

    assert find_model_tag() == NAMED


def test_an_empty_variable_names_no_model(state_folder, monkeypatch):
    """A variable that is set to nothing counts as not set."""
    put_in_production(state_folder, POINTED)
    monkeypatch.setenv("SENTIMENT_MODEL_TAG", "")

    assert find_model_tag() == POINTED


def test_a_built_bento_serves_the_model_it_was_built_with(state_folder, tmp_path):
    """A Bento answers from its own model, whatever is in production where it runs."""
    put_in_production(state_folder, POINTED)

    assert find_built_tag(tmp_path / "bento") == BUILT


def test_the_variable_goes_before_the_model_of_a_bento(tmp_path, monkeypatch):
    """`SENTIMENT_MODEL_TAG` chooses another model for a built Bento."""
    monkeypatch.setenv("SENTIMENT_MODEL_TAG", NAMED)

    assert find_built_tag(tmp_path / "bento") == NAMED


@pytest.mark.parametrize("name", ["", "missing"], ids=["empty state folder", "no state folder"])
def test_nothing_in_production_is_said_in_a_sentence(name, tmp_path, monkeypatch):
    """Who serves before training reads what to do."""
    monkeypatch.setenv("SENTIMENT_STATE_DIR", str(tmp_path / name))

    with pytest.raises(BentoMLException) as refused:
        find_model_tag()

    assert str(refused.value) == (
        "no model is in production in this checkout; train one with `make train`,"
        " or name one from `bentoml models list` in SENTIMENT_MODEL_TAG."
    )
