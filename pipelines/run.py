"""The command line of the pipelines: `python -m pipelines.run training --help`."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import yaml

from sentiment.config import read_parameters, read_yaml
from sentiment.errors import SentimentError
from sentiment.ledger import read_entries
from sentiment.state import CHECKOUT, locate_state

if TYPE_CHECKING:
    from pipelines.guarded import GuardedPipeline

CONFIG = CHECKOUT / "zenml_config.yaml"


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
def ledger() -> None:
    """Show decisions, promotions and rollbacks, oldest first."""
    entries = read_entries(locate_state().ledger)
    for entry in entries:
        click.echo(f"{entry.at}  {entry.event:<9}  {entry.summary}")
    if not entries:
        click.echo("the ledger is empty; `make train` writes its first line.")


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
