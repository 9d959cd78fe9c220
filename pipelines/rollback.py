"""The rollback pipeline: production goes back, and running services with it."""

import logging
from typing import Any

import click
from zenml.models import PipelineRunResponse

from pipelines.base import GuardedPipeline, check_shape, say_errors
from release.rollback import roll_back
from sentiment.config.schema import RollbackConfig
from sentiment.errors import BusyError
from steps.promotion import put_into_production
from steps.rollback import finish_rollback, try_previous

logger = logging.getLogger(__name__)


def go_back(
    reason: str,
    version: str = "",
    services: list[str] = [],  # noqa: B006 - ZenML reads it, nobody writes it
    key_file: str = "",
) -> None:
    """Try an earlier version, move it into production, tell running services."""
    change = try_previous(reason, version, services, key_file)
    changed = put_into_production(change)
    finish_rollback(changed, services, key_file)


class RollbackPipeline(GuardedPipeline):
    """The pipeline that takes production back, also while a training holds this checkout."""

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


rollback_pipeline = RollbackPipeline("rollback_pipeline", go_back, check_shape(RollbackConfig), enable_cache=False)
