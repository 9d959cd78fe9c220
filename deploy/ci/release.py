"""`python -m deploy.ci.release`: what CI releases, and what it writes down once that is in production.

A release is the code of this checkout with a model that passed the gate: the one that waits for approval, else the one
in production.
"""

import os
import subprocess
from collections.abc import Iterable

import bentoml
import click
from mlflow.entities.model_registry import ModelVersion

from deploy.cli_errors import say_in_one_sentence
from release.bento_store import BENTO, build_bento, smoke_test
from release.mlflow_registry import MODEL, PRODUCTION, STAGING, find_version, identify_version, name_version, read_alias
from sentiment.errors import DeployError
from sentiment.governance.ledger import LedgerEntry, read_entries
from sentiment.governance.promotion_rules import check_production
from sentiment.paths import CHECKOUT, locate_state
from steps.promotion import check_version, ensure_stored


def prepare_release() -> ModelVersion:
    """Build the Bento of the model to release with the code of this checkout, ask it a question; return its version.

    Raises DeployError, RegistryError, or PromotionError where the ledger does not say that it may go there.
    """
    version = find_version(STAGING) or find_version(PRODUCTION)
    if version is None:
        raise DeployError("no model has passed the gate yet, so that there is nothing to release; `make train` first.")
    version = identify_version(version)
    number, name, production = str(version.version), name_version(version), read_alias(PRODUCTION)
    if number == production:
        check_production(read_entries(locate_state().ledger), number, version.tags["digest"])
    else:
        check_version(version, production)
    ensure_stored(version)
    if any(str(bento.tag) == f"{BENTO}:{name}" for bento in bentoml.list()):
        bentoml.delete(f"{BENTO}:{name}")  # it was built in training, with the code of then
    smoke_test(build_bento(f"{MODEL}:{name}", name), version.tags["digest"])
    return version


def choose_verb(
    deployed: str, production: str | None, staging: str | None, entries: Iterable[LedgerEntry]
) -> str | None:
    """Return which verb of make lets the registry say what was deployed; None where it says so already.

    Versions are named as in answers, such as 5-81d4da08a3a1.
    """
    if deployed == production:
        return None
    if deployed == staging:
        return "approve"
    number = deployed.partition("-")[0]
    was_there = any(entry.event == "promotion" and entry.version == number for entry in entries)
    return "rollback" if was_there else "promote"


def _name(alias: str) -> str | None:
    version = find_version(alias)
    return name_version(version) if version else None


@click.group()
def main() -> None:
    """What CI releases."""


@main.command()
@say_in_one_sentence
def prepare() -> None:
    """Build and ask the Bento of the model to release; print its version and digest as KEY=VALUE lines."""
    version = prepare_release()
    click.echo(f"version={name_version(version)}\ndigest={version.tags['digest']}")


@main.command()
@click.argument("version")
@click.option("--reason", required=True, help="Why, for the ledger.")
def record(version: str, reason: str) -> None:
    """Make the registry and the ledger say that VERSION, such as 5-81d4da08a3a1, is in production."""
    verb = choose_verb(version, _name(PRODUCTION), _name(STAGING), read_entries(locate_state().ledger))
    if verb is None:
        click.echo(f"version {version} is in production already; nothing to write down.")
        return
    command = ["make", "--no-print-directory", verb, f"VERSION={version.partition('-')[0]}"]
    done = subprocess.run(command, cwd=CHECKOUT, env={**os.environ, "REASON": reason}, check=False)
    if done.returncode:
        raise click.ClickException(
            f"version {version} is deployed, and `make {verb}` did not write it down; see above."
        )


if __name__ == "__main__":
    main()
