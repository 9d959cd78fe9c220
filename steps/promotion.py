"""Steps that put a registered version into production and into running services."""

from typing import Annotated

from zenml import step

from release.journal import ProductionChange, change_production
from release.promotion import plan_promotion
from release.running_services import check_services, choose_services, read_key, switch_services
from steps.materializers import RecordMaterializer


@step(enable_cache=False, output_materializers={"move": RecordMaterializer})
def prepare_promotion(
    version: str, reason: str, force: str, approve: bool, services: list[str], key_file: str
) -> Annotated[ProductionChange, "move"]:
    """Return the change that puts a version into production, after its Bento has answered."""
    check_services(services, key_file)
    return plan_promotion(version, reason=reason, force=force, approve=approve)


@step(enable_cache=False, output_materializers={"moved": RecordMaterializer})
def put_into_production(change: ProductionChange) -> Annotated[ProductionChange, "moved"]:
    """Move the aliases, the pointer and the ledger; return what was done."""
    change_production(change)
    return change


@step(enable_cache=False)
def tell_services(change: ProductionChange, services: list[str], key_file: str) -> None:
    """End once every worker of every running service answers from the model in production."""
    switch_services(change, choose_services(services), read_key(key_file))
