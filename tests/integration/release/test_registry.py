"""Aliases and decisions on a real MLflow registry in SQLite."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient

from release.holdout_gate import try_on_holdout
from release.journal import ProductionChange, change_production, enter_event, recover_journal
from release.mlflow_registry import (
    fetch_bundle,
    find_version,
    identify_version,
    log_bundle,
    name_version,
    point_alias,
    read_alias,
    register_bundle,
)
from release.promotion import describe_promotion, plan_promotion, reject_version, stage_version
from release.rollback import plan_rollback
from sentiment.bundle.bundle import Bundle, seal_bundle
from sentiment.config.reader import read_config
from sentiment.config.schema import GateSection
from sentiment.data.datasets import Dataset
from sentiment.errors import PromotionError, RegistryError
from sentiment.evaluation.behaviour import KINDS, BehaviourReport
from sentiment.governance.gate import Decision
from sentiment.governance.ledger import LedgerEntry, append_entry, read_entries
from sentiment.model_name import ModelName
from sentiment.paths import CHECKOUT, STATE_VARIABLE, locate_state
from sentiment.production_pointer import ProductionPointer
from sentiment.reports.html import Trial
from tests.conftest import enter_decision, make_tiny_bundle

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
    change_production(*plan_changes(bundle, run_id, versions=1))


def plan_changes(bundle: Bundle, run_id: str, versions: int = 2) -> list[ProductionChange]:
    """Return promotions of so many versions, which passed the gate, each over the one before."""
    enter_decision(bundle.card.digest)
    uri, replaced, changes = log_bundle(bundle), None, []
    for _ in range(versions):
        version = register_bundle(bundle, uri, run_id)
        changes.append(describe_promotion(version, replaced, reason="for a test"))
        replaced = str(version.version)
    return changes


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
    for change in plan_changes(bundle, run_id):
        change_production(change)
    production, previous = find_version("production"), find_version("previous")
    assert production is not None
    assert previous is not None
    assert (int(production.version), int(previous.version)) == (2, 1)
    assert find_version("staging") is None
    assert production.tags["promotion.by"]
    assert name_version(production) == ModelName("2", bundle.card.digest)


def read_events() -> list[tuple[str, str | None]]:
    """Return what the ledger has beside the decisions."""
    entries = read_entries(locate_state().ledger)
    return [(entry.event, entry.version) for entry in entries if entry.event != "decision"]


def read_pointer() -> dict:
    return json.loads(locate_state().production.read_text())


@pytest.mark.parametrize("written", ["nothing", "previous", "aliases", "pointer", "ledger"])
def test_a_promotion_that_was_cut_off_is_finished(run_id: str, tmp_path: Path, written: str) -> None:
    """Wherever a crash cuts a promotion off, the next command finds it finished, and the ledger has it once."""
    first, second = plan_changes(make_tiny_bundle(tmp_path / "bundle"), run_id)
    change_production(first)
    done = ("nothing", "previous", "aliases", "pointer", "ledger").index(written)
    if done >= 1:
        point_alias("previous", "1")
    if done >= 2:
        point_alias("production", "2")
    if done >= 3:
        ProductionPointer.to(second.model).write(locate_state().production)
    if done >= 4:
        append_entry(locate_state().ledger, *second.list_entries())
    locate_state().journal.write_text(json.dumps(asdict(second)))
    recover_journal()
    assert (read_alias("production"), read_alias("previous")) == ("2", "1")
    assert ProductionPointer.read(locate_state().production) == ProductionPointer.to(second.model)
    assert read_events() == [("promotion", "1"), ("promotion", "2")]
    assert not locate_state().journal.exists()


def test_a_promotion_whose_version_is_gone_is_told(run_id: str, tmp_path: Path) -> None:
    """What cannot be finished is told with the file that asks for it."""
    (change,) = plan_changes(make_tiny_bundle(tmp_path / "bundle"), run_id, versions=1)
    locate_state().journal.write_text(json.dumps(asdict(replace(change, model=ModelName("9", change.model.digest)))))
    with pytest.raises(RegistryError, match=r"move\.json says cannot be done: .* or remove the file to give it up"):
        recover_journal()


def test_production_that_moved_meanwhile_stops_a_promotion(run_id: str, tmp_path: Path) -> None:
    """What was planned over one version is not done over another."""
    first, second, third = plan_changes(make_tiny_bundle(tmp_path / "bundle"), run_id, versions=3)
    change_production(first)
    change_production(second)
    with pytest.raises(PromotionError) as raised:
        change_production(replace(third, replaced="1"))
    assert str(raised.value) == (
        "version 3 was not put into production: version 2 is there by now, and not version 1;"
        " look at `make ledger` and start again."
    )
    assert read_alias("production") == "2"


@pytest.mark.parametrize("damage", ["missing", "torn", "another"])
def test_a_pointer_that_is_wrong_is_mended(run_id: str, tmp_path: Path, damage: str) -> None:
    """What a service reads when it starts names the version in production again."""
    first, second = plan_changes(make_tiny_bundle(tmp_path / "bundle"), run_id)
    change_production(first)
    change_production(second)
    before, pointer = read_pointer(), locate_state().production
    if damage == "missing":
        pointer.unlink()
    else:
        pointer.write_text("{" if damage == "torn" else json.dumps(before | {"tag": "sentiment:1-x"}))
    recover_journal()
    assert read_pointer() == before


def test_an_alias_that_was_moved_by_hand_stays(run_id: str, tmp_path: Path) -> None:
    """What a person did in the registry is not undone; a rollback asks which version is meant."""
    first, second = plan_changes(make_tiny_bundle(tmp_path / "bundle"), run_id)
    change_production(first)
    point_alias("production", second.version)
    recover_journal()
    assert read_alias("production") == "2"
    assert read_pointer()["tag"] == first.model.tag
    with pytest.raises(PromotionError, match="somebody moved it by hand; name the version to go back to"):
        plan_rollback("it is bad")


def test_a_version_waits_until_a_person_says_no(run_id: str, tmp_path: Path) -> None:
    """A version that passed waits at `staging`; a rejection takes it from there, on the record."""
    bundle = make_tiny_bundle(tmp_path / "bundle")
    version = register_bundle(bundle, log_bundle(bundle), run_id)
    stage_version(version, champion=None)
    assert read_alias("staging") == "1"
    assert reject_version("", "it is rude to users") == "1"
    assert read_alias("staging") is None
    assert read_events() == [("staging", "1"), ("rejection", "1")]
    assert find_number(version).tags["rejected.because"] == "it is rude to users"
    with pytest.raises(PromotionError, match="nothing waits for approval"):
        reject_version("", "it is rude to users")


def test_a_rejection_wants_a_reason(run_id: str) -> None:
    """A no without a reason is told, and nothing changes."""
    with pytest.raises(PromotionError, match='a rejection needs a reason for the ledger: make reject REASON="why"'):
        reject_version("", " ")


def test_approval_of_what_met_another_champion_is_refused(run_id: str, tmp_path: Path) -> None:
    """A yes to a comparison that no longer holds changes nothing and names the way out."""
    first, second = plan_changes(make_tiny_bundle(tmp_path / "bundle"), run_id)
    decided = {"outcome": "pass", "digest": second.model.digest, "champion_version": None}
    enter_event("decision", None, "passed", decided)
    change_production(first)
    point_alias("staging", second.version)
    with pytest.raises(PromotionError) as raised:
        plan_promotion("staging", approve=True)
    assert str(raised.value) == (
        "version 2 was not promoted: the gate compared it with no version, and version 1 is in production by now."
        " Train again, so that the gate measures it now, or put a reason on the record:"
        ' make promote VERSION=2 FORCE="why"'
    )
    assert read_alias("staging") == "2"


def test_a_version_that_was_registered_by_hand_is_known_by_its_files(run_id: str, tmp_path: Path) -> None:
    """A version without our tags gets them from its bundle."""
    bundle = make_tiny_bundle(tmp_path / "bundle")
    register_bundle(bundle, log_bundle(bundle), run_id)
    made = MlflowClient().create_model_version("sentiment", log_bundle(bundle), run_id=run_id)
    assert identify_version(made).tags["digest"] == bundle.card.digest


def find_number(version: ModelVersion) -> ModelVersion:
    return MlflowClient().get_model_version("sentiment", version.version)


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
