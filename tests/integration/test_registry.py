"""Aliases and decisions on a real MLflow registry in SQLite."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

from sentiment.behaviour import KINDS, BehaviourReport
from sentiment.bundle import Bundle, seal_bundle
from sentiment.config import GateSection, read_config
from sentiment.datasets import Dataset
from sentiment.errors import RegistryError
from sentiment.gate import Decision
from sentiment.ledger import LedgerEntry, append_entry
from sentiment.reports import Trial
from sentiment.state import CHECKOUT, STATE_VARIABLE, locate_state
from steps.deployment import try_on_holdout
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

LOOSE = {
    "min_f1": {"default": 0.0},
    "min_recall": 0.0,
    "min_behaviour": dict.fromkeys(KINDS, 0.0),
    "max_calibration_error": 1.0,
    "tolerance": 1.0,
    "max_class_drop": 1.0,
    "min_class_rows": 1,
}


@pytest.fixture(scope="module")
def empty_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of an empty registry; MLflow takes seconds to make one, so that tests copy it."""
    database = tmp_path_factory.mktemp("registry") / "mlflow.db"
    MlflowClient(f"sqlite:///{database}").search_experiments()
    return database


@pytest.fixture
def run_id(empty_registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An MLflow run in a registry of its own, in a state folder of its own."""
    shutil.copy(empty_registry, tmp_path / "mlflow.db")
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path / "state"))
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = mlflow.create_experiment("test", artifact_location=str(tmp_path / "artifacts"))
    with mlflow.start_run(experiment_id=experiment) as run:
        yield run.info.run_id
    mlflow.set_tracking_uri(None)


def make_holdout() -> Dataset:
    texts = ["hi", "a b c d e f g h i j k l", "so so", "one two three four five six seven eight"]
    return Dataset("made", pd.DataFrame({"text": texts, "label": ["negative", "positive", "neutral", "positive"]}))


def make_gate(**changes: object) -> GateSection:
    """The gate of the project with floors that let everything through, and the changes."""
    shipped = read_config(CHECKOUT / "zenml_config.yaml").gate
    return GateSection.model_validate({**shipped.model_dump(), **LOOSE, **changes})


def change_card(bundle: Bundle, **changes: object) -> Bundle:
    return seal_bundle(bundle.folder, replace(bundle.card, **changes))


def make_challenger(folder: Path, **changes: object) -> Bundle:
    """A bundle whose latency was measured, and whose threshold makes it another model."""
    measured = {"latency_ms": {"p50": 1.0, "p95": 2.0}, "uncertain_below": 0.5}
    return change_card(make_tiny_bundle(folder), **measured | changes)


def promote(bundle: Bundle, run_id: str) -> None:
    move_production(register_bundle(bundle, log_bundle(bundle), run_id))


def attempt(challenger: Bundle, **gate: object) -> Trial:
    return try_on_holdout(challenger, BehaviourReport((), ()), make_holdout(), make_gate(**gate), seed=13)


def decide(challenger: Bundle, **gate: object) -> Decision:
    return attempt(challenger, **gate).decision


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


def test_first_model_is_judged_by_the_floors(run_id: str, tmp_path: Path) -> None:
    """With nothing in production there is no champion, and no version to name."""
    decision = decide(make_challenger(tmp_path / "challenger"))
    assert (decision.outcome, decision.champion, decision.champion_version) == ("pass", None, None)


def test_champion_is_measured_now_on_the_same_rows(run_id: str, tmp_path: Path) -> None:
    """Both models answer this holdout; what a card says of earlier scores does not count."""
    promote(change_card(make_tiny_bundle(tmp_path / "champion"), metrics={"holdout_macro_f1": 0.99}), run_id)
    trial = attempt(make_challenger(tmp_path / "challenger"))
    assert trial.decision.champion_version == "1"
    assert trial.decision.champion.macro_f1 == trial.decision.challenger.macro_f1
    assert trial.champion.dataset_digest == trial.challenger.dataset_digest == make_holdout().digest
    assert (trial.decision.outcome, trial.decision.warnings) == ("pass", ())


def test_latency_and_size_are_those_on_the_card(run_id: str, tmp_path: Path) -> None:
    """What was measured of the challenger before meets the limits of the gate."""
    challenger = make_challenger(tmp_path / "challenger", latency_ms={"p50": 1.0, "p95": 9.0})
    decision = decide(challenger, max_latency_ms=8.0, max_size_mb=challenger.card.size_bytes / 2e6)
    assert [reason.partition(" ")[0] for reason in decision.reasons] == ["p95", "bundle"]


def test_champion_itself_is_not_promoted_again(run_id: str, tmp_path: Path) -> None:
    """A challenger with the champion's digest is blocked, whatever was measured on its card."""
    challenger = make_challenger(tmp_path / "challenger")
    promote(challenger, run_id)
    decision = decide(change_card(challenger, metrics={"another": 1.0}))
    assert decision.reasons == ("the challenger is the model already in production, version 1",)


def test_champion_with_labels_in_another_order_is_compared(run_id: str, tmp_path: Path) -> None:
    """The order on a card does not keep two models apart, and the trial has both in the challenger's order."""
    promote(make_tiny_bundle(tmp_path / "champion", ("positive", "neutral", "negative")), run_id)
    trial = attempt(make_challenger(tmp_path / "challenger"))
    assert trial.champion.labels == trial.challenger.labels == ("negative", "neutral", "positive")
    assert trial.decision.champion.classes["negative"].recall == 1.0
    assert trial.decision.challenger.classes["positive"].recall == 1.0


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        (
            {"dataset": "films", "holdout_digest": "f" * 64},
            "champion version 1 was trained on 'films', the challenger and this holdout are of 'made',"
            " which favours the challenger",
        ),
        (
            {"holdout_digest": "f" * 64},
            "champion version 1 was gated on another holdout of 'made'; both are scored on this one",
        ),
    ],
    ids=["dataset", "holdout"],
)
def test_champion_from_elsewhere_is_noted(run_id: str, tmp_path: Path, changes: dict, warning: str) -> None:
    """A reader of the decision learns that the comparison is not quite fair."""
    promote(change_card(make_tiny_bundle(tmp_path / "champion"), **changes), run_id)
    decision = decide(make_challenger(tmp_path / "challenger"))
    assert (decision.outcome, decision.warnings) == ("pass", (warning,))


def test_earlier_decisions_of_this_holdout_are_counted(run_id: str, tmp_path: Path) -> None:
    """The ledger knows how often this holdout was asked; other holdouts and other events do not count."""
    for event, digest in [("decision", make_holdout().digest)] * 2 + [("decision", "x"), ("promotion", "x")]:
        entry = LedgerEntry("2026-01-01T00:00:00Z", event, "sentiment", None, "said", {"holdout_digest": digest})
        append_entry(locate_state().ledger, entry)
    decision = decide(make_challenger(tmp_path / "challenger"), max_decisions=2)
    assert decision.earlier_decisions == 2
    assert decision.warnings[0].startswith(f"this holdout ({make_holdout().digest[:12]}) has made 2 decisions before")


def test_force_of_the_configuration_reaches_the_decision(run_id: str, tmp_path: Path) -> None:
    """A reason in the file passes what the floors block."""
    decision = decide(make_challenger(tmp_path / "challenger"), min_recall=0.5, force="for this test alone")
    assert (decision.outcome, decision.force) == ("forced", "for this test alone")


def test_damaged_champion_holds_the_gate(run_id: str, tmp_path: Path) -> None:
    """Nobody is promoted over a champion that cannot be measured."""
    promote(make_tiny_bundle(tmp_path / "bundle"), run_id)
    (model,) = (tmp_path / "artifacts").rglob("model.onnx")
    model.write_bytes(model.read_bytes()[:-1] + b"\x00")
    trial = attempt(make_challenger(tmp_path / "other"))
    assert (trial.decision.outcome, trial.champion) == ("hold", None)
    assert trial.decision.summary.startswith("champion version 1 could not be measured: model.onnx in ")


def test_other_labels_hold_the_gate(run_id: str, tmp_path: Path) -> None:
    """A champion that answers other labels cannot be compared."""
    promote(make_tiny_bundle(tmp_path / "champion", ("bad", "fair", "good")), run_id)
    decision = decide(make_challenger(tmp_path / "challenger"))
    assert decision.outcome == "hold"
    assert "it answers bad, fair, good, the challenger answers negative, neutral, positive" in decision.summary


@pytest.mark.parametrize("damage", ["graph", "labels"])
def test_champion_that_cannot_be_asked_holds_the_gate(run_id: str, tmp_path: Path, damage: str) -> None:
    """A bundle whose seal holds, but that this runtime cannot run, is a champion that was not measured."""
    champion = make_tiny_bundle(tmp_path / "champion")
    if damage == "graph":
        champion.model.write_bytes(b"of a later version")
    labels = (*champion.card.labels, "positive") if damage == "labels" else champion.card.labels
    promote(change_card(champion, labels=labels), run_id)
    assert decide(make_challenger(tmp_path / "challenger")).outcome == "hold"
