"""Sets a checkout up: state folder, ZenML repository and stack, and a venv that finds both. Safe to repeat."""

import os
import shlex
import site
import sys
from pathlib import Path

import click

from sentiment.environment import list_environment
from sentiment.paths import CHECKOUT, DEFAULT_FOLDER, STATE_VARIABLE, StateFolder, make_private_folder, protect_state

STACK, TRACKER = "sentigate", "sentigate_mlflow"
HOOK = "sentigate_state.pth"
READY = CHECKOUT / DEFAULT_FOLDER / ".ready"  # make looks at its age
# sh starts Python, for which its line is a text: a path with spaces, or a long one, cannot stand after #!.
SCRIPT = """\
#!/bin/sh
'''exec' {python} "$0" "$@"
' '''
import sys
sys.path.insert(0, {checkout!r})
from sentigate.__main__ import main
main()
"""


def write_hook(packages: Path) -> None:
    """Make every Python of the venv find the state folder of this checkout; variables that are set already win.

    `sentigate` sets these variables itself. `zenml`, `mlflow` and `bentoml` typed by hand need this: Python runs a line
    of a .pth file that starts with `import` at its start. Python 3.18 ends that (PEP 829); a .start file, which 3.15
    brings, then takes its place.
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


def write_command(programs: Path) -> None:
    """Make `sentigate` a program of the venv, which acts on this checkout from any folder."""
    script = programs / "sentigate"
    script.unlink(missing_ok=True)
    script.write_text(SCRIPT.format(python=shlex.quote(str(programs / "python")), checkout=str(CHECKOUT)), "utf-8")
    script.chmod(0o755)


@click.command()
def main() -> None:
    """Set up the checkout that this file is in; safe to repeat."""
    state = protect_state()
    for folder in (state.zenml, state.bentoml, state.mlflow_artifacts):
        folder.mkdir(parents=True, exist_ok=True)
    os.environ.update(list_environment(state))
    if Path(sys.prefix).resolve().is_relative_to(CHECKOUT):  # a link leads to the venv of another checkout
        write_hook(Path(site.getsitepackages()[0]))
        write_command(Path(sys.prefix) / "bin")
    link_repository(state)
    register_stack(state)
    make_private_folder(READY.parent)
    READY.touch()
