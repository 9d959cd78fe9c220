"""Steps that take production back to a version that was there before."""

from typing import Annotated

from zenml import step

from release.journal import ProductionChange
from release.rollback import plan_rollback, restore_bento
from release.running_services import check_services, choose_services, read_key, switch_services
from steps.materializers import RecordMaterializer


@step(enable_cache=False, output_materializers={"move": RecordMaterializer})
def try_previous(reason: str, version: str, services: list[str], key_file: str) -> Annotated[ProductionChange, "move"]:
    """Return the change back to an earlier version, after its bundle has answered."""
    check_services(services, key_file)
    return plan_rollback(reason, version)


@step(enable_cache=False)
def finish_rollback(change: ProductionChange, services: list[str], key_file: str) -> None:
    """End once every worker of every running service answers from the model; then see to its Bento."""
    switch_services(change, choose_services(services), read_key(key_file))
    restore_bento(change)
