"""What the project consists of, found by walking: its sources and its commands."""

import re
from collections.abc import Iterator
from types import ModuleType

import click

from sentigate.lazy import LazyCommand
from sentiment.paths import CHECKOUT

NOT_PRODUCT = ("tests", "benchmarks")
THE_COMMAND = "sentigate"
DECORATED = re.compile(r"^@click\.(command|group)\b", re.MULTILINE)


def list_sources() -> list[str]:
    """Return the Python files of the product, relative to the checkout."""
    packages = [path.parent for path in CHECKOUT.glob("*/__init__.py") if path.parent.name not in NOT_PRODUCT]
    return sorted(path.relative_to(CHECKOUT).as_posix() for package in packages for path in package.rglob("*.py"))


def list_command_modules() -> list[str]:
    """Return the modules that define commands of their own, beside `sentigate`."""
    sources = [path for path in list_sources() if not path.startswith(f"{THE_COMMAND}/")]
    sources = [path for path in sources if DECORATED.search((CHECKOUT / path).read_text("utf-8"))]
    return [path.removesuffix(".py").replace("/", ".") for path in sources]


def find_commands(module: ModuleType) -> dict[str, click.Command]:
    """Return the commands that a module defines, by how they are called."""
    commands = [value for value in vars(module).values() if isinstance(value, click.Command)]
    own = [command for command in commands if command.callback and command.callback.__module__ == module.__name__]
    below = [child for group in own if isinstance(group, click.Group) for child in group.commands.values()]
    called = f"python -m {module.__name__.removesuffix('.__main__')}"
    return {name: found for root in own if root not in below for name, found in walk_commands(called, root)}


def walk_commands(called: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    """Yield a command and those below it, by how they are called."""
    yield called, command
    if isinstance(command, LazyCommand):
        command = command.load()
    if isinstance(command, click.Group):
        for name in sorted(command.commands):
            yield from walk_commands(f"{called} {name}", command.commands[name])
