"""`sentigate ledger` and `sentigate signing-key`: the record of what was decided, and the key that signs it."""

import json
from dataclasses import asdict

import click

from sentigate.results import list_entries
from sentiment.governance.ledger import render_entry, select_entries
from sentiment.paths import locate_state


@click.group()
def ledger() -> None:
    """Show or seal the record of decisions, approvals, promotions and rollbacks."""


@ledger.command()
@click.option("--version", default="", help="Only what concerns this version.")
@click.option("--limit", type=click.IntRange(0), default=0, help="Only the last so many; 0 for all.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, one object a line.")
def show(version: str, limit: int, as_json: bool) -> None:
    """Show decisions, approvals, promotions and rollbacks, newest last."""
    entries = select_entries(list_entries(), version, limit)
    for entry in entries:
        click.echo(json.dumps(asdict(entry)) if as_json else render_entry(entry))
    if not entries and not as_json:
        of_version = f" has nothing on version {version}" if version else " is empty"
        click.echo(f"the ledger{of_version}; `make train` writes its first line.")
    if locate_state().journal.exists():
        click.echo("a promotion or rollback was cut off; the next one finishes it.", err=True)


@ledger.command("seal")
@click.option("--reason", default="", help="Why, for the ledger.")
def seal_command(reason: str) -> None:
    """Sign the ledger as it stands, after you have looked through it; what is there now is kept beside it."""
    from pipelines.base import hold_run_lock
    from release.journal import seal

    with hold_run_lock():
        kept = seal(reason)
    click.echo(f"the ledger is signed as it stood; as it was it lies in {kept}.")


@click.group()
def signing_key() -> None:
    """Change the key that signs decisions."""


@signing_key.command()
def rotate() -> None:
    """Sign with a new key from now on; what the old one signed stays trusted."""
    from sentiment.governance.signatures import rotate_signing_key

    key = rotate_signing_key()
    click.echo(f"decisions are signed with {key.id} from now on; build images anew, so that they trust it.")
