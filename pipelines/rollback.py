"""The rollback pipeline: production goes back, and running services with it."""

import logging
from pathlib import Path
from typing import Any

import click
from zenml.enums import ExecutionMode
from zenml.models import PipelineRunResponse

from pipelines.base import GuardedPipeline, say_errors
from sentiment.config.reader import check_parameters, read_parameters
from sentiment.config.schema import RollbackConfig
from sentiment.errors import BusyError
from steps.promotion import put_into_production
from steps.rollback import finish_rollback, roll_back, try_previous

logger = logging.getLogger(__name__)


def go_back(
    reason: str,
    version: str = "",
    services: list[str] = [],  # noqa: B006 - ZenML reads it, nobody writes it
    key_file: str = "",
) -> None:
    """Try an earlier version, move it into production, tell running services."""
    move = try_previous(reason, version, services, key_file)
    moved = put_into_production(move)
    finish_rollback(moved, services, key_file)


class RollbackPipeline(GuardedPipeline):
    """The pipeline that takes production back, also while a training holds this checkout."""

    @staticmethod
    def check_config(path: Path) -> None:
        """Raise ConfigError when the file would not make a run."""
        check_parameters(read_parameters(path), path.name, RollbackConfig)

    def __call__(self, *args: Any, **parameters: Any) -> PipelineRunResponse | None:
        """Run the pipeline; while another run is at work do the same without a run, so that nobody waits for it."""
        try:
            return super().__call__(*args, **parameters)
        except click.ClickException as error:
            if not isinstance(error.__cause__, BusyError):
                raise
        logger.warning("another run is at work in this checkout, so that ZenML has no run of this rollback")
        with say_errors():
            roll_back(*args, **{**(self.configuration.parameters or {}), **parameters})
        return None


rollback_pipeline = RollbackPipeline(
    name="rollback_pipeline", entrypoint=go_back, enable_cache=False, execution_mode=ExecutionMode.FAIL_FAST
)
