"""Aliases and decisions on a real MLflow registry in SQLite."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pandas as pd
import pytest

from sentiment.datasets import Dataset
from sentiment.errors import RegistryError
from sentiment.gate import GateRule
from steps.deployment import decide_on_holdout
from steps.registry import (
    fetch_bundle,
    find_version,
    log_bundle,
    move_production,
    name_version,
    register_bundle,
)
from tests.conftest import make_tiny_bundle

pytestmark = pytest.mark.slow

RULE = GateRule(min_f1=0.0, min_improvement=0.0, max_class_drop=1.0)


@pytest.fixture
def run_id(tmp_path: Path) -> Iterator[str]:
    """An MLflow run in a registry of its own."""
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = mlflow.create_experiment("test", artifact_location=str(tmp_path / "artifacts"))
    with mlflow.start_run(experiment_id=experiment) as run:
        yield run.info.run_id
    mlflow.set_tracking_uri(None)


def make_holdout() -> Dataset:
    texts = ["hi", "a b c d e f g h i j k l", "so so", "one two three four five six seven eight"]
    return Dataset("made", pd.DataFrame({"text": texts, "label": ["negative", "positive", "neutral", "positive"]}))


def test_no_model_has_no_alias(run_id: str) -> None:
    """A registry without a model has nothing in production."""
    assert find_version("production") is None


def test_promotion_moves_production_and_previous(run_id: str, tmp_path: Path) -> None:
    """After two promotions `production` is the second version and `previous` the first; nothing is staged."""
    bundle = make_tiny_bundle(tmp_path / "bundle")
    uri = log_bundle(bundle)
    for _ in range(2):
        move_production(register_bundle(bundle, uri, run_id))
    production, previous = find_version("production"), find_version("previous")
    assert production is not None
    assert previous is not None
    assert (int(production.version), int(previous.version)) == (2, 1)
    assert find_version("staging") is None
    assert name_version(production) == f"2-{bundle.card.digest[:12]}"


def test_registered_bundle_comes_back_whole(run_id: str, tmp_path: Path) -> None:
    """A version's bundle is fetched with the digest it was registered with."""
    bundle = make_tiny_bundle(tmp_path / "bundle")
    version = register_bundle(bundle, log_bundle(bundle), run_id)
    assert fetch_bundle(version).card.digest == bundle.card.digest


def test_missing_files_are_told(run_id: str, tmp_path: Path) -> None:
    """A version whose files are gone is told with the place they were at."""
    bundle = make_tiny_bundle(tmp_path / "bundle")
    version = register_bundle(bundle, log_bundle(bundle), run_id)
    shutil.rmtree(tmp_path / "artifacts")
    with pytest.raises(RegistryError, match="the files of sentiment version 1 cannot be fetched"):
        fetch_bundle(version)


def test_damaged_champion_holds_the_gate(run_id: str, tmp_path: Path) -> None:
    """Nobody is promoted over a champion that cannot be measured."""
    bundle = make_tiny_bundle(tmp_path / "bundle")
    move_production(register_bundle(bundle, log_bundle(bundle), run_id))
    (model,) = (tmp_path / "artifacts").rglob("model.onnx")
    model.write_bytes(model.read_bytes()[:-1] + b"\x00")
    decision = decide_on_holdout(make_tiny_bundle(tmp_path / "other"), make_holdout(), RULE)
    assert decision.outcome == "hold"
    assert decision.summary.startswith("champion version 1 could not be measured: model.onnx in ")


def test_other_labels_hold_the_gate(run_id: str, tmp_path: Path) -> None:
    """A champion that answers other labels cannot be compared."""
    champion = make_tiny_bundle(tmp_path / "champion", ("bad", "fair", "good"))
    move_production(register_bundle(champion, log_bundle(champion), run_id))
    decision = decide_on_holdout(make_tiny_bundle(tmp_path / "challenger"), make_holdout(), RULE)
    assert decision.outcome == "hold"
    assert "it answers bad, fair, good, the challenger answers negative, neutral, positive" in decision.summary
