"""`sentigate train` and `sentigate evaluate`."""

from pathlib import Path

import click

from sentigate.configuration import (
    config_option,
    override,
    override_setting,
    read_section,
    run_pipeline,
    split_names,
)
from sentigate.results import json_option, list_entries, write_added
from sentiment.database.url import locate_database


@click.command()
@config_option
@click.option("--dataset", help="Dataset by name or path, instead of the one in the file.")
@click.option("--candidates", help="Candidates, separated by commas.")
@click.option("--train-fraction", type=float, help="Part of the training rows to train on, in (0, 1].")
@click.option("--force", metavar="REASON", help="Promote a challenger that the gate would not, on the record.")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="One value of the file, e.g. training.seed=7."
)
@json_option
def train(
    config: Path,
    dataset: str | None,
    candidates: str | None,
    train_fraction: float | None,
    force: str | None,
    settings: tuple[str, ...],
    as_json: bool,
) -> None:
    """Train the candidates, gate the best one, and put it into production when it passes."""
    from sentiment.config.reader import read_parameters, read_yaml

    content = read_yaml(config)
    parameters = content["parameters"] = read_parameters(config)
    if dataset:
        override(parameters, "dataset", "name", dataset)
    if train_fraction is not None:
        override(parameters, "dataset", "train_fraction", train_fraction)
    if candidates:
        parameters["candidates"] = split_names(candidates)
    if force is not None:
        override(parameters, "gate", "force", force)
    for setting in settings:
        override_setting(parameters, setting)
    from pipelines.training import training_pipeline

    with write_added(list_entries, as_json=as_json):
        run_pipeline(training_pipeline, content, config.name)


@click.command()
@click.option("--models", default="production", show_default=True, help="Versions, aliases or folders, by commas.")
@click.option("--datasets", default="bundled", show_default=True, help="Datasets by name or path, by commas.")
@click.option(
    "--rows", type=click.Choice(["all", "holdout"]), default="holdout", show_default=True, help="Which rows to take."
)
@click.option("--sample", type=click.IntRange(0), default=0, help="That many rows at random; 0 takes all.")
@config_option
@json_option
def evaluate(models: str, datasets: str, rows: str, sample: int, config: Path, as_json: bool) -> None:
    """Measure models on datasets and compare them, in a report, in MLflow and in the table of evaluations."""
    from sentiment.config.reader import read_parameters

    parameters = read_parameters(config)
    settings = {
        "models": split_names(models),
        "datasets": [{**read_section(parameters, "dataset"), "name": name} for name in split_names(datasets)],
        "split": read_section(parameters, "split"),
        "rows": rows,
        "sample": sample,
        "seed": read_section(parameters, "training").get("seed", 0),
    }
    from pipelines.base import say_errors
    from pipelines.evaluation import evaluation_pipeline
    from sentiment.database.evaluations import read_evaluations

    with say_errors(), write_added(lambda: read_evaluations(locate_database()), as_json=as_json):
        run_pipeline(evaluation_pipeline, {"enable_cache": False, "parameters": settings}, config.name)
