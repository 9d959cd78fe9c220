"""Sets a checkout up: state folder, ZenML repository and stack, and a venv that finds both. Safe to repeat."""

import os
import site
import sys
from pathlib import Path

from sentiment.environment import list_environment
from sentiment.paths import CHECKOUT, DEFAULT_FOLDER, STATE_VARIABLE, StateFolder, protect_state

STACK, TRACKER = "sentigate", "sentigate_mlflow"
HOOK = "sentigate_state.pth"


def write_hook(packages: Path) -> None:
    """Make every Python of the venv find the state folder of this checkout; variables that are set already win.

    Python runs a line of a .pth file that starts with `import` at its start.
    """
    values = list_environment(StateFolder(CHECKOUT / DEFAULT_FOLDER))
    folder = values.pop(STATE_VARIABLE)
    statements = [f"import os; s = os.environ.setdefault({STATE_VARIABLE!r}, {folder!r})"]
    for name, value in values.items():
        statements.append(f"os.environ.setdefault({name!r}, {value.replace(folder, '{s}')!r}.replace('{{s}}', s))")
    (packages / HOOK).write_text("; ".join(statements) + "\n", encoding="utf-8")


def link_repository(state: StateFolder) -> None:
    """Keep ZenML's repository folder inside the state folder, with a link where ZenML looks for it."""
    folder, link = state.folder / "zen", CHECKOUT / ".zen"
    folder.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink() and not link.exists():
        link.symlink_to(os.path.relpath(folder, CHECKOUT))


def register_stack(state: StateFolder) -> None:
    """Register the local stack with the MLflow tracker and make it the active one."""
    from zenml.client import Client
    from zenml.enums import StackComponentType

    client = Client(root=CHECKOUT)
    tracker = StackComponentType.EXPERIMENT_TRACKER
    if not client.list_stack_components(type=tracker, name=TRACKER).total:
        client.create_stack_component(
            name=TRACKER, flavor="mlflow", component_type=tracker, configuration={"tracking_uri": state.tracking_uri}
        )
    if not client.list_stacks(name=STACK).total:
        client.create_stack(
            STACK,
            {
                StackComponentType.ORCHESTRATOR: "default",
                StackComponentType.ARTIFACT_STORE: "default",
                tracker: TRACKER,
            },
        )
    client.activate_stack(STACK)


def main() -> None:
    """Set up the checkout that this file is in."""
    state = protect_state()
    for folder in (state.zenml, state.bentoml, state.mlflow_artifacts):
        folder.mkdir(parents=True, exist_ok=True)
    os.environ.update(list_environment(state))
    if Path(sys.prefix).resolve().is_relative_to(CHECKOUT):  # a link leads to the venv of another checkout
        write_hook(Path(site.getsitepackages()[0]))
    link_repository(state)
    register_stack(state)


if __name__ == "__main__":
    main()
