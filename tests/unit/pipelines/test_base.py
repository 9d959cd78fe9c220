"""What a pipeline says to `zenml pipeline run` typed by hand: one sentence, before anything runs."""

import logging
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner
from filelock import FileLock
from zenml.cli.cli import cli
from zenml.cli.pipeline import run_pipeline

from pipelines.base import CHATTY_LOGGERS, quieten_logs
from sentiment.errors import DatasetError
from sentiment.paths import CHECKOUT

UPSTREAM = "ZenML calls a pipeline in another way by now; look at GuardedPipeline in pipelines/base.py"


def run_by_hand(config: Path) -> str:
    """Return what ZenML's own command says of a training; it must fail without a stack trace."""
    assert run_pipeline.name == "run", UPSTREAM
    done = CliRunner().invoke(cli, ["pipeline", "run", "pipelines.training.training_pipeline", "-c", str(config)])
    assert done.exit_code == 1, f"{UPSTREAM}: {done.exception!r}"
    assert isinstance(done.exception, SystemExit), f"{UPSTREAM}: {done.exception!r}"
    return " ".join(done.output.split())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("enable_cache:", "enable_cahce:", "unknown key 'enable_cahce'. Did you mean 'enable_cache'?"),
        ("min_recall:", "min_recal:", "unknown key 'min_recal'. Did you mean 'min_recall'?"),
        ("name: bundled ", "name: bundeld ", "unknown dataset 'bundeld'. Did you mean 'bundled'?"),
    ],
    ids=["key of ZenML", "key of ours", "value"],
)
def test_a_wrong_configuration_is_refused(tmp_path, old, new, sentence):
    """ZenML would pass over what it does not know."""
    shipped = (CHECKOUT / "zenml_config.yaml").read_text()
    assert old in shipped
    (tmp_path / "made.yaml").write_text(shipped.replace(old, new, 1))
    assert sentence in run_by_hand(tmp_path / "made.yaml")


@pytest.mark.slow
def test_a_second_run_is_refused(tmp_path, monkeypatch):
    """Two runs at once would break ZenML's files."""
    monkeypatch.setenv("SENTIMENT_STATE_DIR", str(tmp_path))
    with FileLock(tmp_path / "run.lock"):
        assert f"it holds {tmp_path / 'run.lock'}" in run_by_hand(CHECKOUT / "zenml_config.yaml")


def test_the_chatty_loggers_are_there():
    """A logger is named by its module, which upstream may move."""
    missing = [name for name in CHATTY_LOGGERS if find_spec(name) is None]
    assert not missing, f"no module logs as {missing}; find its new name, so that its chatter stays out of the log"


@pytest.mark.parametrize(("error", "is_kept"), [(DatasetError("no rows."), False), (RuntimeError("a bug"), True)])
def test_a_mistake_of_the_user_has_no_stack_trace(error, is_kept, monkeypatch):
    """Whichever logger says it; a defect of ours keeps its trace."""
    shown: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = shown.append
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    quieten_logs()
    logging.getLogger("zenml.somewhere").error("Step train failed.", exc_info=error)
    assert bool(shown[0].exc_info) == is_kept
