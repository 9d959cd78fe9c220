"""The command line of the pipelines: `python -m pipelines.cli training --help`."""

import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import yaml

from sentiment.config.reader import CANARY_KEY, read_parameters, read_yaml
from sentiment.errors import SentimentError
from sentiment.governance.ledger import read_entries, render_entry, select_entries
from sentiment.governance.promotion_rules import require_reason
from sentiment.paths import CHECKOUT, locate_state

if TYPE_CHECKING:
    from pipelines.base import GuardedPipeline

CONFIG = CHECKOUT / "zenml_config.yaml"


def _reach(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of a command that reaches running services."""
    for option in (
        click.option("--key-file", default="", help="File with a key of the scope admin, where services want one."),
        click.option("--url", "services", multiple=True, help="A running service; by default those of this checkout."),
        click.option("--reason", default="", help="Why, for the ledger."),
    ):
        command = option(command)
    return command


@click.group()
def main() -> None:
    """Run a pipeline of this checkout."""


@main.command()
@click.option("--config", type=click.Path(path_type=Path), default=CONFIG, help="Configuration file.")
@click.option("--dataset", help="Dataset by name or path, instead of the one in the file.")
@click.option("--candidates", help="Candidates, separated by commas.")
@click.option("--train-fraction", type=float, help="Part of the training rows to train on, in (0, 1].")
@click.option("--force", metavar="REASON", help="Promote a challenger that the gate would not, on the record.")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="One value of the file, e.g. training.seed=7."
)
def training(
    config: Path,
    dataset: str | None,
    candidates: str | None,
    train_fraction: float | None,
    force: str | None,
    settings: tuple[str, ...],
) -> None:
    """Train the candidates, gate the best one, and put it into production when it passes."""
    try:
        content = read_yaml(config)
        parameters = read_parameters(config)
    except SentimentError as error:
        raise click.ClickException(str(error)) from error
    content["parameters"] = parameters
    if dataset:
        _override(parameters, "dataset", "name", dataset)
    if train_fraction is not None:
        _override(parameters, "dataset", "train_fraction", train_fraction)
    if candidates:
        parameters["candidates"] = _split(candidates)
    if force is not None:
        _override(parameters, "gate", "force", force)
    for setting in settings:
        override_setting(parameters, setting)
    from pipelines.training import training_pipeline

    _run(training_pipeline, content, config.name)


@main.command()
@click.option("--models", default="production", show_default=True, help="Versions, aliases or folders, by commas.")
@click.option("--datasets", default="bundled", show_default=True, help="Datasets by name or path, by commas.")
@click.option(
    "--rows", type=click.Choice(["all", "holdout"]), default="holdout", show_default=True, help="Which rows to take."
)
@click.option("--sample", type=click.IntRange(0), default=0, help="That many rows at random; 0 takes all.")
@click.option(
    "--config", type=click.Path(path_type=Path), default=CONFIG, help="Where columns, split and seed are from."
)
def evaluation(config: Path, models: str, datasets: str, rows: str, sample: int) -> None:
    """Measure models on datasets and compare them, in a report, in MLflow and in the table of evaluations."""
    try:
        parameters = read_parameters(config)
    except SentimentError as error:
        raise click.ClickException(str(error)) from error
    settings = {
        "models": _split(models),
        "datasets": [{**_read_section(parameters, "dataset"), "name": name} for name in _split(datasets)],
        "split": _read_section(parameters, "split"),
        "rows": rows,
        "sample": sample,
        "seed": _read_section(parameters, "training").get("seed", 0),
    }
    from pipelines.evaluation import evaluation_pipeline

    _run(evaluation_pipeline, {"enable_cache": False, "parameters": settings}, config.name)


@main.command()
@click.option("--version", required=True, help="Version of the registry, or an alias.")
@click.option("--force", default="", metavar="REASON", help="Promote in spite of what speaks against it.")
@_reach
def promote(version: str, force: str, reason: str, services: tuple[str, ...], key_file: str) -> None:
    """Put a registered version into production and into running services."""
    from pipelines.promotion import promotion_pipeline

    promotion_pipeline(version=version, reason=reason, force=force, services=list(services), key_file=key_file)


@main.command()
@click.option("--version", default="", help="The version that waits; only to be sure.")
@_reach
def approve(version: str, reason: str, services: tuple[str, ...], key_file: str) -> None:
    """Put the version that waits at the alias `staging` into production."""
    from pipelines.promotion import promotion_pipeline

    wanted = version or "staging"
    promotion_pipeline(version=wanted, reason=reason, approve=True, services=list(services), key_file=key_file)


@main.command()
@click.option("--version", default="", help="The version that waits; only to be sure.")
@click.option("--reason", default="", help="Why, for the ledger.")
def reject(version: str, reason: str) -> None:
    """Say no to the version that waits."""
    from pipelines.base import say_errors
    from steps.promotion import reject_version

    with say_errors():
        number = reject_version(version, reason)
    click.echo(f"version {number} is rejected; production stays as it is.")


@main.command()
@click.option("--version", default="", help="A version that was in production before; the previous one by default.")
@_reach
def rollback(version: str, reason: str, services: tuple[str, ...], key_file: str) -> None:
    """Put the previous version back into production and into running services."""
    try:
        require_reason(reason)
    except SentimentError as error:
        raise click.ClickException(str(error)) from error
    from pipelines.rollback import rollback_pipeline

    rollback_pipeline(reason=reason, version=version, services=list(services), key_file=key_file)


@main.command()
@click.option("--version", default="staging", help="Version of the registry, or an alias.")
@click.option("--share", type=float, help="Share of the requests that it answers, in (0, 1).")
@click.option("--minutes", type=float, help="How long it may take until every figure is proven.")
@click.option("--url", "service", default="", help="The running service; by default the one of this checkout.")
@click.option("--key-file", default="", help="File with a key of the scope admin, where it wants one.")
@click.option("--force", default="", metavar="REASON", help="Try and promote in spite of what speaks against it.")
@click.option("--watch-only", is_flag=True, help="Judge what others send their share to, and change nothing.")
@click.option("--config", type=click.Path(path_type=Path), default=CONFIG, help="Where the section canary is from.")
def canary(
    version: str,
    share: float | None,
    minutes: float | None,
    service: str,
    key_file: str,
    force: str,
    watch_only: bool,
    config: Path,
) -> None:
    """Let a version answer a share of live requests, then promote it or back it out, by what the figures say."""
    try:
        section = read_yaml(config).get(CANARY_KEY)
    except SentimentError as error:
        raise click.ClickException(str(error)) from error
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

    _run(canary_pipeline, {"enable_cache": False, "parameters": settings}, config.name)


@main.command()
@click.option("--version", default="", help="Only what concerns this version.")
@click.option("--limit", type=click.IntRange(0), default=0, help="Only the last so many; 0 for all.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, one object a line.")
def ledger(version: str, limit: int, as_json: bool) -> None:
    """Show decisions, approvals, promotions and rollbacks, newest last."""
    from pipelines.base import say_errors

    state = locate_state()
    with say_errors():
        entries = select_entries(read_entries(state.ledger), version, limit)
    for entry in entries:
        click.echo(json.dumps(asdict(entry)) if as_json else render_entry(entry))
    if not entries and not as_json:
        of_version = f" has nothing on version {version}" if version else " is empty"
        click.echo(f"the ledger{of_version}; `make train` writes its first line.")
    if state.move.exists():
        click.echo("a promotion or rollback was cut off; the next one finishes it.", err=True)


@main.command()
@click.option("--reason", default="", help="Why, for the ledger.")
def seal_ledger(reason: str) -> None:
    """Sign the ledger as it stands, after you have looked through it; what is there now is kept beside it."""
    from pipelines.base import hold_run_lock, say_errors
    from release.journal import seal

    with say_errors(), hold_run_lock():
        kept = seal(reason)
    click.echo(f"the ledger is signed as it stood; as it was it lies in {kept}.")


@main.command()
def rotate_signing_key() -> None:
    """Sign with a new key from now on; what the old one signed stays trusted."""
    from pipelines.base import say_errors
    from sentiment.governance.signatures import rotate_signing_key

    with say_errors():
        key = rotate_signing_key()
    click.echo(f"decisions are signed with {key.id} from now on; build images anew, so that they trust it.")


def override_setting(parameters: dict[str, Any], setting: str) -> None:
    """Put one `section.key=value` over the file's; the value is read as YAML."""
    path, equals, value = setting.partition("=")
    *parents, key = path.strip().split(".")
    if not equals or not key:
        raise click.ClickException(f"--set {setting!r} is not KEY=VALUE; wanted for example training.seed=7.")
    place: Any = parameters
    for parent in parents:
        if not isinstance(place.setdefault(parent, {}), dict):
            raise click.ClickException(f"--set {setting!r}: {parent!r} is a value, not a section.")
        place = place[parent]
    try:
        place[key] = yaml.safe_load(value)
    except (yaml.YAMLError, ValueError) as error:
        raise click.ClickException(f"--set {setting!r}: the value is not YAML; put it in quotes.") from error


def _run(pipeline: "GuardedPipeline", content: dict[str, Any], name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        merged = Path(folder) / name
        merged.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        pipeline.with_options(config_path=str(merged))()


def _split(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


def _read_section(parameters: dict[str, Any], name: str) -> dict[str, Any]:
    section = parameters.get(name)
    return section if isinstance(section, dict) else {}


def _override(parameters: dict[str, Any], section: str, key: str, value: object) -> None:
    if isinstance(parameters.get(section), dict):
        parameters[section][key] = value


if __name__ == "__main__":
    main()
