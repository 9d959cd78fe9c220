"""The configuration of a run: the file of the checkout, with what the command line puts over it."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import yaml

from sentiment.paths import CHECKOUT

if TYPE_CHECKING:
    from pipelines.base import GuardedPipeline

CONFIG = CHECKOUT / "zenml_config.yaml"

config_option = click.option(
    "--config",
    type=click.Path(path_type=Path),
    default=CONFIG,
    help="Configuration file; that of the checkout by default.",
)


def override_setting(parameters: dict[str, Any], setting: str) -> None:
    """Put one `section.key=value` over the file's; the value is read as YAML."""
    path, equals, value = setting.partition("=")
    *parents, key = path.strip().split(".")
    if not equals or not key:
        raise click.UsageError(f"--set {setting!r} is not KEY=VALUE; wanted for example training.seed=7.")
    place: Any = parameters
    for parent in parents:
        if not isinstance(place.setdefault(parent, {}), dict):
            raise click.UsageError(f"--set {setting!r}: {parent!r} is a value, not a section.")
        place = place[parent]
    try:
        place[key] = yaml.safe_load(value)
    except (yaml.YAMLError, ValueError) as error:
        raise click.UsageError(f"--set {setting!r}: the value is not YAML; put it in quotes.") from error


def override(parameters: dict[str, Any], section: str, key: str, value: object) -> None:
    """Put a value into a section, where there is one; what lacks a section is told when the file is checked."""
    if isinstance(parameters.get(section), dict):
        parameters[section][key] = value


def read_section(parameters: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a section, or an empty one."""
    section = parameters.get(name)
    return section if isinstance(section, dict) else {}


def split_names(names: str) -> list[str]:
    """Return the names in a list with commas."""
    return [name.strip() for name in names.split(",") if name.strip()]


def run_pipeline(pipeline: "GuardedPipeline", content: dict[str, Any], name: str) -> None:
    """Run a pipeline with this content in place of the configuration file called `name`."""
    with tempfile.TemporaryDirectory() as folder:
        merged = Path(folder) / name
        merged.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        pipeline.with_options(config_path=str(merged))()
