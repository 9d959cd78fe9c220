"""`python -m deploy.ci.release`: what CI releases, and what it writes down once that is in production.

A release is the code of this checkout with a model that passed the gate: the one that waits for approval, else the one
in production.
"""

from collections.abc import Iterable
from typing import Literal

import bentoml
import click

from deploy.cli_errors import SentenceGroup
from release.bento_store import build_bento, has_bento
from release.mlflow_registry import PRODUCTION, STAGING, find_version, name_version, read_alias, require_version
from release.promotion import check_version, ensure_stored, promote_version
from release.rollback import roll_back
from release.smoke_test import smoke_test
from sentiment.errors import DeployError
from sentiment.governance.ledger import LedgerEntry, read_entries
from sentiment.governance.promotion_rules import check_production
from sentiment.model_name import ModelName
from sentiment.paths import locate_state


def prepare_release() -> ModelName:
    """Build the Bento of the model to release with the code of this checkout, ask it a question; return its name.

    Raises DeployError, RegistryError, or PromotionError where the ledger does not say that it may go there.
    """
    production = read_alias(PRODUCTION)
    number = read_alias(STAGING) or production
    if number is None:
        raise DeployError("no model has passed the gate yet, so that there is nothing to release; `make train` first.")
    version = require_version(number)
    name = name_version(version)
    if name.number == production:
        check_production(read_entries(locate_state().ledger), name.number, name.digest)
    else:
        check_version(version, production)
    ensure_stored(version)
    if has_bento(name.bento):
        bentoml.delete(name.bento)  # it was built in training, with the code of then
    build_bento(name.tag)
    smoke_test(name.bento, name.digest)
    return name


def choose_change(
    deployed: str, production: str | None, staging: str | None, entries: Iterable[LedgerEntry]
) -> Literal["approve", "rollback", "promote"] | None:
    """Return what lets the registry say which version was deployed; None where it says so already.

    Versions are named as in predictions, such as 5-81d4da08a3a1.
    """
    if deployed == production:
        return None
    if deployed == staging:
        return "approve"
    number = ModelName.parse(deployed).number
    was_there = any(entry.event == "promotion" and entry.version == number for entry in entries)
    return "rollback" if was_there else "promote"


def _read_name(alias: str) -> str | None:
    version = find_version(alias)
    return str(name_version(version)) if version else None


@click.group(cls=SentenceGroup)
def main() -> None:
    """What CI releases."""


@main.command()
def prepare() -> None:
    """Build and ask the Bento of the model to release; print its version and digest as KEY=VALUE lines."""
    name = prepare_release()
    click.echo(f"version={name}\ndigest={name.digest}")


@main.command()
@click.argument("version")
@click.option("--reason", required=True, help="Why, for the ledger.")
def record(version: str, reason: str) -> None:
    """Make the registry and the ledger say that VERSION, such as 5-81d4da08a3a1, is in production."""
    number = ModelName.parse(version).number
    change = choose_change(version, _read_name(PRODUCTION), _read_name(STAGING), read_entries(locate_state().ledger))
    if change is None:
        click.echo(f"version {version} is in production already; nothing to write down.")
        return
    from pipelines.base import hold_run_lock, say_errors

    try:
        with say_errors():
            if change == "rollback":
                roll_back(reason, version=number)
            else:
                with hold_run_lock():
                    promote_version(number, reason=reason, approve=change == "approve")
    except click.ClickException as error:
        raise DeployError(f"version {version} is deployed, and the {change} was not written down: {error}") from error
    click.echo(f"version {version} is in production, by the registry and the ledger.")


if __name__ == "__main__":
    main()
