"""The promotion pipeline: a registered version goes into production and into running services."""

from pathlib import Path

from zenml.enums import ExecutionMode

from pipelines.base import GuardedPipeline
from sentiment.config.reader import check_parameters, read_parameters
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
    move = prepare_promotion(version, reason, force, approve, services, key_file)
    moved = put_into_production(move)
    tell_services(moved, services, key_file)


class PromotionPipeline(GuardedPipeline):
    """The pipeline that puts a version into production."""

    @staticmethod
    def check_config(path: Path) -> None:
        """Raise ConfigError when the file would not make a run."""
        check_parameters(read_parameters(path), path.name, PromoteConfig)


promotion_pipeline = PromotionPipeline(
    name="promotion_pipeline", entrypoint=promote, enable_cache=False, execution_mode=ExecutionMode.FAIL_FAST
)
