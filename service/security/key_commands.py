"""`sentigate keys`: add, list and remove keys in a key file; a running service sees the change within a second."""

import json
import re
from datetime import datetime
from pathlib import Path

import click

from sentiment.errors import ConfigError, describe_unknown
from service.api.routes import SCOPES, Scope
from service.security.keys import make_key, parse_lines, read_keys, write_key

CALLER: tuple[Scope, ...] = ("predict", "feedback")
WORD = re.compile(r"[^\s#;][^\s;]*")

key_file = click.option("--file", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The key file.")


@click.group()
def keys() -> None:
    """Make API keys for a service, list them and remove them."""


@keys.command()
@click.argument("name")
@key_file
@click.option("--scope", "scopes", type=click.Choice(SCOPES), multiple=True, default=CALLER, show_default=True)
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), help="Last day on which it is valid, UTC.")
def add(name: str, file: Path, scopes: tuple[Scope, ...], until: datetime | None) -> None:
    """Make a key called NAME: it is shown once, and its digest goes into the file."""
    if not WORD.fullmatch(name):
        raise click.BadParameter(f"{name!r} is not one word.", param_hint="NAME")
    before = _read_text(file) if file.exists() else ""
    if name in {key.name for key in read_keys(before.splitlines(), str(file))}:
        raise ConfigError(f"{file} has a key called {name} already; remove that, or take another name.")
    key, kept = make_key(name, scopes, until.date() if until else None)
    file.touch(mode=0o600, exist_ok=True)
    with file.open("a", encoding="utf-8") as lines:
        lines.write(("\n" if before and not before.endswith("\n") else "") + write_key(kept) + "\n")
    click.echo(key)


@keys.command("list")
@key_file
@click.option("--json", "as_json", is_flag=True, help="Write one JSON array.")
def list_keys(file: Path, as_json: bool) -> None:
    """Show name, scopes and last day of each key."""
    found = [
        {
            "name": key.name,
            "scopes": [scope for scope in SCOPES if scope in key.scopes],
            "until": key.last_day and str(key.last_day),
        }
        for key in read_keys(_read_text(file).splitlines(), str(file))
    ]
    if as_json:
        click.echo(json.dumps(found))
    for key in () if as_json else found:
        click.echo(f"{key['name']}  {','.join(key['scopes'] or ())}  {key['until'] or 'no last day'}")


@keys.command()
@click.argument("name")
@key_file
def remove(name: str, file: Path) -> None:
    """Remove the key called NAME; its holder is refused from then on. Prints the line, so that you can put it back."""
    before = _read_text(file)
    names = [key.name for key in read_keys(before.splitlines(), str(file))]
    if name not in names:
        raise ConfigError(describe_unknown("key", name, names))
    lines = before.splitlines(keepends=True)
    own = [line for line in lines if name in {key.name for key in parse_lines([line])[0]}]
    kept = "".join(line for line in lines if line not in own).encode()
    # In place: a file that is mounted into a container must stay the same file. Services read it at any moment, so
    # every key that stays is there before the end is cut off.
    with file.open("r+b") as opened:
        opened.write(kept)
        opened.flush()
        opened.truncate()
    click.echo(f"removed; to put it back, add this line to {file}:\n{''.join(own).rstrip()}")


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is not a key file ({error.reason}); name another file.") from error
