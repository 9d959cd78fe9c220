"""The step that tries a version on live requests: start, watch, then promote it or abort."""

from typing import Annotated

from zenml import step
from zenml.exceptions import RunInterruptedException

from release.canary import run_canary
from sentiment.config.schema import CanarySection
from sentiment.governance.canary_rule import Verdict
from steps.materializers import RecordMaterializer


@step(enable_cache=False, output_materializers={"verdict": RecordMaterializer})
def try_canary(
    canary: CanarySection, version: str, service: str, key_file: str, force: str, watch_only: bool
) -> Annotated[Verdict, "verdict"]:
    """Return the verdict on a version that is in production now. Raises CanaryError when it was backed out."""
    # ZenML turns SIGINT and SIGTERM into an exception of its own.
    interrupts = (KeyboardInterrupt, RunInterruptedException)
    return run_canary(
        canary, version, service, key_file=key_file, force=force, watch_only=watch_only, interrupts=interrupts
    )
