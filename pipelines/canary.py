"""The canary pipeline: a version answers a share of a running service's requests, and is promoted or backed out."""

from pathlib import Path

from zenml.enums import ExecutionMode

from pipelines.base import GuardedPipeline
from sentiment.config.reader import check_parameters, read_parameters
from sentiment.config.schema import CanaryConfig, CanarySection
from steps.canary import try_canary


def try_on_live_requests(
    canary: CanarySection,
    version: str = "staging",
    service: str = "",
    key_file: str = "",
    force: str = "",
    watch_only: bool = False,
) -> None:
    """Start the canary, watch it, and act on what its figures say."""
    try_canary(canary, version, service, key_file, force, watch_only)


class CanaryPipeline(GuardedPipeline):
    """The pipeline that tries a version on live requests."""

    @staticmethod
    def check_config(path: Path) -> None:
        """Raise ConfigError when the file would not make a run."""
        check_parameters(read_parameters(path), path.name, CanaryConfig)


canary_pipeline = CanaryPipeline(
    name="canary_pipeline", entrypoint=try_on_live_requests, enable_cache=False, execution_mode=ExecutionMode.FAIL_FAST
)
