"""What `--help` says of every command."""

from importlib import import_module

import click
import pytest
from click.testing import CliRunner

from deploy.smoke import read_arguments
from sentigate.cli import sentigate
from sentiment.paths import CHECKOUT, STATE_VARIABLE
from tests.contract.project import find_commands, list_command_modules, walk_commands

WIDE = 400  # a default that is a path would wrap elsewhere in another checkout


def ask_for_help(commands: dict[str, click.Command]) -> str:
    """Return what each command says of itself."""
    said = []
    for called, command in commands.items():
        asked = CliRunner().invoke(command, ["--help"], prog_name=called, terminal_width=WIDE)
        assert asked.exit_code == 0, asked.output
        said.append(asked.output.replace(str(CHECKOUT), "CHECKOUT"))
    return "\n".join(said)


@pytest.mark.parametrize("name", sentigate.commands)
def test_the_help_of_sentigate_stays(monkeypatch, tmp_path, name, snapshot):
    """Scripts call commands, arguments and options by these names."""
    (tmp_path / "zenml").mkdir()
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path))

    assert ask_for_help(dict(walk_commands(f"sentigate {name}", sentigate.commands[name]))) == snapshot


def test_the_list_of_commands_stays(snapshot):
    """A user reads there what there is to do."""
    assert ask_for_help({"sentigate": sentigate}) == snapshot


@pytest.mark.parametrize("module", list_command_modules())
def test_the_help_of_the_commands_of_a_module_stays(module, snapshot):
    """Those that `sentigate` does not list are called by their module."""
    commands = find_commands(import_module(module))

    assert commands
    assert ask_for_help(commands) == snapshot


def test_the_help_of_the_smoke_test_stays(monkeypatch, capsys, snapshot):
    """It runs alone, without click."""
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit):
        read_arguments(["--help"])

    assert capsys.readouterr().out == snapshot
