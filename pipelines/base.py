"""A ZenML pipeline that checks its configuration first and lets one run at a time into a checkout."""

import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from filelock import FileLock, Timeout
from sqlalchemy.exc import OperationalError
from zenml.enums import ExecutionMode
from zenml.models import PipelineRunResponse
from zenml.pipelines.pipeline_definition import Pipeline

from pipelines.mlflow_tracking import follow_tracking
from sentiment.config.reader import check_parameters, read_parameters
from sentiment.config.schema import Section
from sentiment.errors import BusyError, SentimentError
from sentiment.paths import STATE_VARIABLE, locate_state, make_private_folder

CHATTY_LOGGERS = (
    "zenml.integrations.mlflow.experiment_trackers.mlflow_experiment_tracker",
    "httpx",
)
USER_ERRORS = (SentimentError, OSError, OperationalError)


class GuardedPipeline(Pipeline):
    """A pipeline whose errors are sentences: ZenML ignores unknown keys and two runs at once break its files.

    `zenml pipeline run` takes a Pipeline alone and calls two of its methods. Both are overridden here: a hook of ZenML
    runs too late, sees no configuration file, and what it raises is shown as a stack trace.
    https://github.com/zenml-io/zenml/blob/0.98.0/src/zenml/cli/pipeline.py#L356-L361
    """

    def __init__(
        self, name: str, entrypoint: Callable[..., None], check_config: Callable[[Path], object], **options: Any
    ) -> None:
        """`check_config` raises a SentimentError when a configuration file would not make a run."""
        super().__init__(name=name, entrypoint=entrypoint, execution_mode=ExecutionMode.FAIL_FAST, **options)
        self._check_config = check_config

    def with_options(self, *args: Any, **options: Any) -> Pipeline:
        """Return the pipeline with a configuration file that was checked against our own schema."""
        if config_path := options.get("config_path"):
            with say_errors():
                self._check_config(Path(config_path))
        return super().with_options(*args, **options)

    def __call__(self, *args: Any, **parameters: Any) -> PipelineRunResponse | None:
        """Run the pipeline, alone in this checkout."""
        quieten_logs()
        with say_errors(), hold_run_lock():
            follow_tracking()
            return super().__call__(*args, **parameters)


def check_shape(shape: type[Section]) -> Callable[[Path], object]:
    """Return the check that the parameters in a configuration file are of a shape."""
    return lambda path: check_parameters(read_parameters(path), path.name, shape)


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
    for handler in logging.getLogger().handlers:
        handler.addFilter(_drop_traceback)
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
