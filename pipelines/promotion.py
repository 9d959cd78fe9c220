"""The promotion pipeline: a registered version goes into production and into running services."""

from pipelines.base import GuardedPipeline, check_shape
from sentiment.config.schema import PromoteConfig
from steps.promotion import prepare_promotion, put_into_production, tell_services


def promote(
    version: str = "staging",
    reason: str = "",
    force: str = "",
    approve: bool = False,
    services: list[str] = [],  # noqa: B006 - ZenML reads it, nobody writes it
    key_file: str = "",
) -> None:
    """Check a version, build and ask its Bento, move it into production, tell running services."""
    change = prepare_promotion(version, reason, force, approve, services, key_file)
    changed = put_into_production(change)
    tell_services(changed, services, key_file)


promotion_pipeline = GuardedPipeline("promotion_pipeline", promote, check_shape(PromoteConfig), enable_cache=False)
