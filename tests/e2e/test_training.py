"""The whole path in real processes: a first model, a worse one, a better one, and what each leaves behind."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import bentoml
import pytest
import yaml
from mlflow.tracking import MlflowClient

from release.smoke_test import find_free_port, wait_until_ready
from sentiment.database.evaluations import read_evaluations
from sentiment.evaluation.behaviour import KINDS
from sentiment.governance.ledger import read_entries
from sentiment.paths import StateFolder, locate_state
from tests.support.checkout_copy import COPIED, CheckoutCopy, Snapshot, copy_checkout
from tests.support.production_moves import Production, open_production

pytestmark = pytest.mark.slow

MOODS = ("negative", "neutral", "positive")
ZENML = str(Path(sys.executable).parent / "zenml")
# Rules that let a small model through, so that macro F1 against the champion's decides.
LOOSE = {
    "min_f1": {"default": 0.3},
    "min_recall": 0.0,
    "min_behaviour": dict.fromkeys(KINDS, 0.0),
    "max_calibration_error": 1.0,
    "max_latency_ms": 10_000,
    "tolerance": 1.0,
    "max_class_drop": 1.0,
}


def write_config(copy: CheckoutCopy, name: str, **changes: object) -> str:
    """Write a configuration beside the project's own: one candidate, loose rules, and the changes."""
    content = yaml.safe_load((copy.folder / "zenml_config.yaml").read_text())
    content["parameters"]["candidates"] = ["svm"]
    content["parameters"]["gate"] |= LOOSE
    for path, value in changes.items():
        section, key = path.split("__")
        content["parameters"][section][key] = value
    (copy.folder / name).write_text(yaml.safe_dump(content))
    return name


def list_bentos(state: StateFolder) -> list[str]:
    folder = state.bentoml / "bentos" / "sentigate"
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []


def read_version(state: StateFolder, alias: str) -> int:
    return int(MlflowClient(state.tracking_uri).get_model_version_by_alias("sentiment", alias).version)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Production, Snapshot]]:
    """A checkout whose first model was trained by the command of the README."""
    folder = tmp_path_factory.mktemp("e2e")
    copy = copy_checkout(folder / "checkout")
    copy.state.folder.mkdir()
    locate_state().encoders.mkdir(parents=True, exist_ok=True)
    copy.state.encoders.symlink_to(locate_state().encoders)
    copy.run("-m", "sentigate", "setup")
    config = write_config(copy, "first.yaml", dataset__train_fraction=0.4)
    copy.run(ZENML, "pipeline", "run", "pipelines.training.training_pipeline", "-c", config)
    with open_production(copy) as production:
        yield production, Snapshot(copy.state, folder / "start")


@pytest.fixture
def production(trained: tuple[Production, Snapshot]) -> Production:
    """That checkout as it was after its first training."""
    production, start = trained
    start.restore()
    return production


def test_first_model_is_promoted(production: Production) -> None:
    """Without a champion, a model above the floor goes into production and the ledger says so."""
    assert [entry.event for entry in read_entries(production.state.ledger)] == ["decision", "promotion"]
    assert read_version(production.state, "production") == 1
    assert len(list_bentos(production.state)) == 1


def test_worse_model_is_blocked(production: Production) -> None:
    """A worse model ends well, with a reason; production, registry and Bentos stay as they were."""
    before = production.state.production.read_bytes()
    output = production.act("train", "--config", "first.yaml", "--train-fraction", "0.03")
    last = read_entries(production.state.ledger)[-1]
    assert (last.event, last.details["outcome"], last.details["force"]) == ("decision", "block", "")
    assert "is below the champion's" in last.summary
    assert last.summary.endswith("the Bento was not built.")
    assert last.summary in output
    assert production.state.production.read_bytes() == before
    assert len(list_bentos(production.state)) == 1
    assert len(MlflowClient(production.state.tracking_uri).search_model_versions("name='sentiment'")) == 1


@pytest.mark.extended
def test_strict_gate_fails_the_run(production: Production) -> None:
    """With `gate.strict` a blocked model ends the run with an error that is the reason, and no stack trace."""
    config = write_config(production.copy, "strict.yaml", dataset__train_fraction=0.03, gate__strict=True)
    assert "Error: macro F1" in production.act("train", "--config", config, fails=True)


@pytest.mark.extended
def test_same_model_is_not_promoted_again(production: Production) -> None:
    """Training the model in production once more keeps `previous` worth rolling back to."""
    production.act("train", "--config", "first.yaml")
    assert "is the model already in production, version 1" in read_entries(production.state.ledger)[-1].summary


def test_better_model_is_promoted_and_both_are_evaluated(production: Production) -> None:
    """A better model goes into production, `previous` is the one it replaced; an evaluation of both decides nothing."""
    production.act("train", "--config", "first.yaml", "--train-fraction", "1.0")
    assert read_version(production.state, "previous") == 1
    assert read_version(production.state, "production") == 2
    assert len(list_bentos(production.state)) == 2
    assert json.loads(production.state.production.read_text())["tag"].startswith("sentiment:2-")

    before = production.state.ledger.read_bytes()
    mine = production.copy.folder.parent / "mine.csv"
    mine.write_text("text,label\n" + "".join(f"this is {word},{word}\n" for word in MOODS))
    production.act(
        *("evaluate", "--models", "previous,2"),
        *("--datasets", f"bundled,{mine}", "--rows", "all", "--sample", "40"),
    )
    records = read_evaluations(production.state.database_uri)
    assert [(record.model, record.version, record.dataset, record.rows) for record in records] == [
        ("previous", "1", "bundled", 40),
        ("2", "2", "bundled", 40),
        ("previous", "1", "mine", 3),
        ("2", "2", "mine", 3),
    ]
    assert len(list(production.state.mlflow_artifacts.rglob("evaluation_*.html"))) == 2
    assert production.state.ledger.read_bytes() == before


def test_service_answers_from_production(production: Production) -> None:
    """`bentoml serve` in the checkout answers from the model that was promoted last."""
    port = find_free_port()
    command = [sys.executable, "-m", "bentoml", "serve", "--host", "127.0.0.1", "--port", str(port)]
    with (production.copy.folder / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=production.copy.folder, env=production.copy.environment, stdout=log, stderr=log
        )
    try:
        wait_until_ready(f"http://127.0.0.1:{port}", process)
        with bentoml.SyncHTTPClient(f"http://127.0.0.1:{port}") as client:
            answer = client.predict(text="I love this, thank you so much!")
    finally:
        process.terminate()
        process.wait(timeout=30)
    assert answer["label"] == "positive"
    assert f"sentiment:{answer['model_version']}" == json.loads(production.state.production.read_text())["tag"]


@pytest.mark.extended
def test_every_candidate_trains_by_name(production: Production) -> None:
    """Those that are fine-tuned and the yardstick go the same way to the gate; the report has them side by side."""
    production.act(
        *("train", "--config", "first.yaml", "--train-fraction", "0.1"),
        *("--candidates", "tfidf,lora,cascade", "--set", "training.transformer.epochs=1"),
        *("--set", "training.cascade.epochs=1", "--set", "training.transformer.max_tokens=32"),
    )
    assert read_entries(production.state.ledger)[-1].event == "decision"
    report = max(
        production.state.mlflow_artifacts.rglob("comparison_report.html"), key=lambda page: page.stat().st_mtime
    )
    assert all(f"<td>{name}</td>" in report.read_text() for name in ("tfidf", "lora", "cascade"))


@pytest.mark.extended
def test_forced_model_is_promoted_on_the_record(production: Production) -> None:
    """A blocked model goes into production for a reason that stays in the ledger."""
    reason = "the champion's dataset must go: today"
    production.act(
        *("train", "--config", "first.yaml", "--train-fraction", "0.03"),
        *("--force", reason),
    )
    decision, promotion = read_entries(production.state.ledger)[-2:]
    assert (decision.details["outcome"], decision.details["force"]) == ("forced", reason)
    assert f"forced past a block because {reason}" in decision.summary
    assert promotion.event == "promotion"
    assert read_version(production.state, "production") == 2


@pytest.mark.extended
def test_a_model_that_passed_waits_for_a_person(production: Production) -> None:
    """With manual approval a training ends at the alias `staging`, its Bento built; a yes puts it into production."""
    manual = ("--train-fraction", "1.0", "--set", "promotion.approval=manual")
    output = production.act("train", "--config", "first.yaml", *manual)
    assert "version 2 awaits approval. Say yes with" in output
    assert [entry.event for entry in read_entries(production.state.ledger)[-2:]] == ["decision", "staging"]
    assert (read_version(production.state, "production"), read_version(production.state, "staging")) == (1, 2)
    assert any(name.startswith("2-") for name in list_bentos(production.state))
    production.act("approve", "--reason", "read the report")
    assert (read_version(production.state, "production"), read_version(production.state, "previous")) == (2, 1)


@pytest.mark.extended
def test_a_model_whose_bento_fails_is_not_promoted(production: Production) -> None:
    """What passed and cannot be built stays registered without an alias; it can be built again by its number."""
    bentofile = production.copy.folder / "bentofile.yaml"
    sound = bentofile.read_text()
    bentofile.write_text(sound.replace("service/requirements.txt", "service/none.txt"))
    forced = ("--train-fraction", "0.3", "--force", "to see it fail")
    said = production.act("train", "--config", "first.yaml", *forced, fails=True)
    bentofile.write_text(sound)
    assert "Error: version 2 passed and is registered, but the Bento could not be built:" in said
    assert said.endswith("Build it again: make promote VERSION=2")
    aliases = MlflowClient(production.state.tracking_uri).get_registered_model("sentiment").aliases
    assert aliases == {"production": 1}
    production.act("promote", "--version", "2")
    assert read_version(production.state, "production") == 2


def test_typo_in_config_is_told(production: Production) -> None:
    """ZenML ignores unknown keys; we do not, and say the nearest one."""
    text = (production.copy.folder / "first.yaml").read_text().replace("parameters:", "parametrs:")
    (production.copy.folder / "typo.yaml").write_text(text)
    command = (ZENML, "pipeline", "run", "pipelines.training.training_pipeline", "-c", "typo.yaml")
    done = production.copy.start(*command)
    assert done.returncode == 1
    assert "unknown key 'parametrs'. Did you mean 'parameters'?" in " ".join(done.stdout.split())
    assert "Traceback" not in done.stdout


def test_state_stays_in_the_checkout(production: Production) -> None:
    """A run leaves nothing beside the state folder, and no scratch in it."""
    strange = {entry.name for entry in production.copy.folder.iterdir() if entry.suffix != ".yaml"}
    assert strange - {*COPIED, "serve.log"} == {".sentigate", ".zen"}
    assert not production.state.scratch.exists()
