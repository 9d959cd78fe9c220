"""What the command line says to bad input: one sentence, before anything runs."""

from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from filelock import FileLock

from sentigate.cli import sentigate
from sentiment.paths import CHECKOUT

pytestmark = pytest.mark.slow


def train(*arguments: str, code: int = 1) -> str:
    """Return what the command says; it must fail without a stack trace."""
    result = CliRunner().invoke(sentigate, ["train", *arguments])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return " ".join(result.output.split())


def test_unknown_dataset_names_the_nearest() -> None:
    """A dataset that is misspelt is told with the nearest name."""
    assert train("--dataset", "youtub") == (
        "Error: unknown dataset 'youtub'. Did you mean 'youtube'? Known: amazon, bundled, imdb, tweet_eval, youtube."
        " A path to a file works too."
    )


def test_missing_file_is_told() -> None:
    """A path to nothing is told before ZenML starts."""
    assert "there is no file 'no/such.csv'" in train("--dataset", "no/such.csv")


def test_unknown_candidate_names_the_nearest() -> None:
    """A candidate that is misspelt is told with the nearest name."""
    said = train("--candidates", "svm,svm_smoet")
    assert (
        "unknown candidate 'svm_smoet'. Did you mean 'svm_smote'? Known: cascade, lora, svm, svm_smote, tfidf," in said
    )


def test_fraction_out_of_range_is_told() -> None:
    """A fraction that keeps nothing is told with the key and the value seen."""
    assert "dataset.train_fraction is 0.0" in train("--train-fraction", "0")


def test_setting_out_of_range_is_told() -> None:
    """A value from the command line is checked like one from the file."""
    assert "training.seed is -1: input should be greater than or equal to 0." in train("--set", "training.seed=-1")


def test_setting_of_unknown_key_names_the_nearest() -> None:
    """A key that is misspelt on the command line is told, not ignored."""
    assert "unknown key 'sed'. Did you mean 'seed'?" in train("--set", "training.sed=7")


def test_settings_may_be_several() -> None:
    """Each setting is taken, and each mistake in them is told."""
    said = train("--set", "training.seed=-1", "--set", "gate.tolerance=2", "--set", "gate.force=because")
    assert all(place in said for place in ("training.seed is -1", "gate.tolerance is 2", "gate.force is 'because'"))


def test_setting_goes_before_the_option() -> None:
    """Where an option and a setting name the same value, the setting holds."""
    assert "unknown dataset 'youtub'" in train("--dataset", "imdb", "--set", "dataset.name=youtub")


def test_setting_that_cannot_be_read_is_told() -> None:
    """What is no setting ends the command with one sentence."""
    assert train("--set", "training.seed", code=2).startswith(
        "Error: --set 'training.seed' is not KEY=VALUE; wanted for example training.seed=7;"
    )


@pytest.mark.parametrize(
    "override",
    [("--set", "training.seed=7"), ("--dataset", "imdb"), ("--candidates", "svm")],
    ids=["set", "dataset", "candidates"],
)
def test_override_of_an_empty_file_is_told(tmp_path: Path, override: tuple[str, str]) -> None:
    """A file whose parameters are empty is told as such, with an override and without."""
    (tmp_path / "made.yaml").write_text("parameters:\n")
    assert "made.yaml has no section 'parameters'" in train("--config", str(tmp_path / "made.yaml"), *override)


def test_missing_config_is_told(tmp_path: Path) -> None:
    """A configuration that is not there is told with the one that is."""
    assert "there is no configuration file" in train("--config", str(tmp_path / "none.yaml"))


def test_second_run_is_told_to_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs at once would break ZenML's files, so the second one is told to wait."""
    (tmp_path / "zenml").mkdir()
    monkeypatch.setenv("SENTIMENT_STATE_DIR", str(tmp_path))
    with FileLock(tmp_path / "run.lock"):
        said = train()
    assert said.endswith(
        f"Error: another run is at work in this checkout (it holds {tmp_path / 'run.lock'});"
        " wait until it ends, then start again."
    )


def test_state_folder_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No right to write is told with the place and the way out."""
    (tmp_path / "zenml").mkdir()
    (tmp_path / "run.lock").mkdir()
    monkeypatch.setenv("SENTIMENT_STATE_DIR", str(tmp_path))
    assert "the disk refused" in train()


def test_project_config_is_sound() -> None:
    """The configuration that the project ships passes its own check."""
    content = yaml.safe_load((CHECKOUT / "zenml_config.yaml").read_text())
    assert content["parameters"]["dataset"]["name"] == "bundled"
