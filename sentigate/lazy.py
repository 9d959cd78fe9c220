"""Groups that list their subcommands without an import of what these need."""

from collections.abc import Mapping, MutableMapping
from importlib import import_module
from typing import Any

import click

from sentiment.errors import ConfigError
from sentiment.paths import CHECKOUT, locate_state


class LazyCommand(click.Command):
    """A command or group that lies in another module, which is imported when somebody calls it."""

    def __init__(self, origin: str, help: str, *, needs_setup: bool = False) -> None:  # noqa: A002 - click's name
        """Take the place as `module:attribute`, and what the list of commands says."""
        super().__init__(None, help=help)
        self.origin = origin
        self.needs_setup = needs_setup

    def load(self) -> click.Command:
        """Return the command itself."""
        module, _, attribute = self.origin.partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Return the context of the command itself. Raises ConfigError when it needs a set-up that is missing."""
        context = self.load().make_context(info_name, args, parent, **extra)
        if self.needs_setup and not context.resilient_parsing and not locate_state().zenml.is_dir():
            raise ConfigError(
                f"{locate_state().folder} is not set up; run `make setup` in {CHECKOUT}, then the same command again."
            )
        return context


class SectionedGroup(click.Group):
    """A group whose list of commands has sections."""

    def __init__(self, name: str, sections: Mapping[str, MutableMapping[str, click.Command]], help: str) -> None:  # noqa: A002 - click's name
        """Take the commands by section."""
        commands = {name: command for section in sections.values() for name, command in section.items()}
        super().__init__(name, commands, help=help)
        self.sections = sections

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names in the order of the sections."""
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """Write a list for each section."""
        for title, commands in self.sections.items():
            with formatter.section(title):
                formatter.write_dl([(name, command.get_short_help_str(80)) for name, command in commands.items()])
