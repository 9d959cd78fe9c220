"""A ZenML pipeline that checks its configuration first and lets one run at a time into a checkout."""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from filelock import FileLock, Timeout
from sqlalchemy.exc import OperationalError
from zenml.models import PipelineRunResponse
from zenml.pipelines.pipeline_definition import Pipeline

from pipelines.mlflow_tracking import follow_tracking
from sentiment.errors import BusyError, SentimentError
from sentiment.paths import STATE_VARIABLE, locate_state, make_private_folder

TRACEBACK_LOGGERS = ("zenml.orchestrators.local.local_orchestrator", "zenml.orchestrators.step_runner")
CHATTY_LOGGERS = (
    "zenml.integrations.mlflow.experiment_trackers.mlflow_experiment_tracker",
    "httpx",
)
USER_ERRORS = (SentimentError, OSError, OperationalError)


class GuardedPipeline(Pipeline):
    """A pipeline whose errors are sentences: ZenML ignores unknown keys and two runs at once break its files.

    A pipeline of ours says in `check_config` what its configuration file must hold.
    """

    @staticmethod
    def check_config(path: Path) -> None:
        """Raise a SentimentError when the file would not make a run."""
        raise NotImplementedError

    def with_options(self, config_path: str | None = None, **options: Any) -> "GuardedPipeline":  # type: ignore[override]
        """Return the pipeline with a configuration file that was checked against our own schema."""
        with say_errors():
            if config_path:
                self.check_config(Path(config_path))
        return super().with_options(config_path=config_path, **options)  # type: ignore[return-value]

    def __call__(self, *args: Any, **parameters: Any) -> PipelineRunResponse | None:
        """Run the pipeline, alone in this checkout."""
        quieten_logs()
        with say_errors(), hold_run_lock():
            follow_tracking()
            return super().__call__(*args, **parameters)


@contextmanager
def say_errors() -> Iterator[None]:
    """Turn an error of ours into the one sentence that a command line shows."""
    try:
        yield
    except SentimentError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        place = f" at {error.filename}" if error.filename else ""
        raise click.ClickException(
            f"the disk refused{place}: {error.strerror or error}; make room or grant the right to write,"
            f" or set {STATE_VARIABLE} to another folder."
        ) from error
    except OperationalError as error:
        raise click.ClickException(
            f"a database in {locate_state().folder} refused: {error.orig}; make room or grant the right to write,"
            f" or set {STATE_VARIABLE} to another folder."
        ) from error


def quieten_logs() -> None:
    """Keep stack traces of errors that a user can mend, and the chatter of libraries, out of the log."""
    for name in TRACEBACK_LOGGERS:
        logging.getLogger(name).addFilter(_drop_traceback)
    for name in CHATTY_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)


def _drop_traceback(record: logging.LogRecord) -> bool:
    if record.exc_info and isinstance(record.exc_info[1], USER_ERRORS):
        record.exc_info = None
    return True


@contextmanager
def hold_run_lock() -> Iterator[None]:
    """Hold the lock of this checkout and clear its scratch. Raises BusyError when another run has it."""
    path = locate_state().run_lock
    make_private_folder(path.parent)
    try:
        with FileLock(path, timeout=0):
            try:
                yield
            finally:
                shutil.rmtree(locate_state().scratch, ignore_errors=True)
    except Timeout as error:
        raise BusyError(
            f"another run is at work in this checkout (it holds {path}); wait until it ends, then start again."
        ) from error
