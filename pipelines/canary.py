"""The canary pipeline: a version answers a share of a running service's requests, and is promoted or backed out."""

from pipelines.base import GuardedPipeline, check_shape
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


canary_pipeline = GuardedPipeline(
    "canary_pipeline", try_on_live_requests, check_shape(CanaryConfig), enable_cache=False
)
