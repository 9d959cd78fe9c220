"""What production is and what changes it: `sentigate status`, `promote`, `approve`, `reject`, `canary`, `rollback`."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import click

from sentigate.configuration import config_option, run_pipeline
from sentigate.results import json_option, list_entries, write_added
from sentiment.governance.promotion_rules import require_reason

reason_option = click.option("--reason", default="", help="Why, for the ledger.")
services_option = click.option(
    "--url", "services", multiple=True, help="A running service; by default those of this checkout."
)
key_option = click.option("--key-file", default="", help="File with a key of the scope admin, where services want one.")


def _reach(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of a command that reaches running services."""
    return reason_option(services_option(key_option(json_option(command))))


@click.command()
@services_option
@key_option
@click.option("--json", "as_json", is_flag=True, help="As JSON, one object a line.")
def status(services: tuple[str, ...], key_file: str, as_json: bool) -> None:
    """Show the model that running services answer from, and the canary that they try."""
    from release.running_services import read_healths

    for url, health in read_healths(services, key_file).items():
        canary = f"; canary {health.canary.model_version} is {health.canary.status}" if health.canary else ""
        line = f"{url} is {health.status}, model {health.model_version}{canary}"
        click.echo(json.dumps({"url": url, **asdict(health)}) if as_json else line)


@click.command()
@click.option("--version", required=True, help="Version of the registry, or an alias.")
@click.option("--force", default="", metavar="REASON", help="Promote in spite of what speaks against it.")
@_reach
def promote(version: str, force: str, reason: str, services: tuple[str, ...], key_file: str, as_json: bool) -> None:
    """Put a registered version into production and into running services."""
    from pipelines.promotion import promotion_pipeline

    with write_added(list_entries, as_json=as_json):
        promotion_pipeline(version=version, reason=reason, force=force, services=list(services), key_file=key_file)


@click.command()
@click.option("--version", default="", help="The version that waits; only to be sure.")
@_reach
def approve(version: str, reason: str, services: tuple[str, ...], key_file: str, as_json: bool) -> None:
    """Put the version that waits at the alias `staging` into production."""
    from pipelines.promotion import promotion_pipeline

    wanted = version or "staging"
    with write_added(list_entries, as_json=as_json):
        promotion_pipeline(version=wanted, reason=reason, approve=True, services=list(services), key_file=key_file)


@click.command()
@click.option("--version", default="", help="The version that waits; only to be sure.")
@reason_option
@json_option
def reject(version: str, reason: str, as_json: bool) -> None:
    """Say no to the version that waits."""
    from release.promotion import reject_version

    with write_added(list_entries, as_json=as_json):
        number = reject_version(version, reason)
        click.echo(f"version {number} is rejected; production stays as it is.")


@click.command()
@click.option("--version", default="", help="A version that was in production before; the previous one by default.")
@_reach
def rollback(version: str, reason: str, services: tuple[str, ...], key_file: str, as_json: bool) -> None:
    """Put the previous version back into production and into running services."""
    require_reason(reason)
    from pipelines.rollback import rollback_pipeline

    with write_added(list_entries, as_json=as_json):
        rollback_pipeline(reason=reason, version=version, services=list(services), key_file=key_file)


@click.command()
@click.option("--version", default="staging", help="Version of the registry, or an alias.")
@click.option("--share", type=float, help="Share of the requests that it answers, in (0, 1).")
@click.option("--minutes", type=float, help="How long it may take until every figure is proven.")
@click.option("--url", "service", default="", help="The running service; by default the one of this checkout.")
@key_option
@click.option("--force", default="", metavar="REASON", help="Try and promote in spite of what speaks against it.")
@click.option("--watch-only", is_flag=True, help="Judge what others send their share to, and change nothing.")
@config_option
@json_option
def canary(
    version: str,
    share: float | None,
    minutes: float | None,
    service: str,
    key_file: str,
    force: str,
    watch_only: bool,
    config: Path,
    as_json: bool,
) -> None:
    """Let a version answer a share of live requests, then promote it or back it out, by what the figures say."""
    from sentiment.config.reader import CANARY_KEY, read_yaml

    if watch_only:
        _refuse_beside_watching({"--share": share, "--url": service, "--key-file": key_file, "--force": force})
    section = read_yaml(config).get(CANARY_KEY)
    asked = {"share": share, "max_minutes": minutes}
    settings = {
        "canary": {**section, **{name: value for name, value in asked.items() if value is not None}}
        if isinstance(section, dict)
        else {},
        "version": version,
        "service": service,
        "key_file": key_file,
        "force": force,
        "watch_only": watch_only,
    }
    from pipelines.canary import canary_pipeline

    with write_added(list_entries, as_json=as_json):
        run_pipeline(canary_pipeline, {"enable_cache": False, "parameters": settings}, config.name)


def _refuse_beside_watching(options: dict[str, object]) -> None:
    """Raise UsageError for an option that would be passed over in silence."""
    if given := [name for name, value in options.items() if value not in (None, "")]:
        raise click.UsageError(
            f"--watch-only judges what others send and asks no service, so that it excludes {', '.join(given)};"
            " leave one of them out"
        )
