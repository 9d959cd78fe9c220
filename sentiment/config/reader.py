"""Reads `zenml_config.yaml` into sections; each mistake becomes one sentence."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import ValidationError

from sentiment.config.schema import CANDIDATES, EvaluationConfig, Section, TrainingConfig
from sentiment.errors import ConfigError, describe_unknown

CANARY_KEY = "canary"  # beside what is for ZenML, which passes it over
ZENML_KEYS = ("parameters", "enable_cache", "enable_step_logs", "settings", "steps", "run_name", "tags", "extra")

Shape = TypeVar("Shape", bound=Section)


def read_config(path: Path) -> TrainingConfig:
    """Return the checked parameters of a training. Raises ConfigError with one sentence per mistake."""
    return check_parameters(read_parameters(path), path.name, TrainingConfig)


def read_evaluation_config(path: Path) -> EvaluationConfig:
    """Return the checked parameters of an evaluation. Raises ConfigError with one sentence per mistake."""
    return check_parameters(read_parameters(path), path.name, EvaluationConfig)


def read_parameters(path: Path) -> dict[str, Any]:
    """Return the section `parameters` of a file for ZenML, whose other keys are checked."""
    content = read_yaml(path)
    for key in content:
        if key not in (*ZENML_KEYS, CANARY_KEY):
            raise ConfigError(f"{path.name}: {describe_unknown('key', str(key), (*ZENML_KEYS, CANARY_KEY))}")
    parameters = content.get("parameters")
    if not isinstance(parameters, dict):
        raise ConfigError(
            f"{path.name} has no section 'parameters'; copy one from the zenml_config.yaml of the project."
        )
    return parameters


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file. Raises ConfigError when there is none."""
    if not path.is_file():
        raise ConfigError(f"there is no configuration file {str(path)!r}; the project's own is zenml_config.yaml.")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{path.name} is not YAML{where}; check the indentation and the quotes there.") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path.name} holds no sections; wanted 'parameters:' with the sections below it.")
    return content


def check_parameters(parameters: Mapping[str, Any], where: str, shape: type[Shape]) -> Shape:
    """Return the parameters as sections. Raises ConfigError that names every wrong key and value."""
    try:
        return shape.model_validate(parameters)
    except ValidationError as error:
        raise ConfigError(" ".join(f"{where}: {sentence}" for sentence in _describe_mistakes(error, shape))) from error


def _describe_mistakes(error: ValidationError, shape: type[Section]) -> Iterator[str]:
    """Yield one sentence per place; where a value may be of several kinds, it has what each of them wants."""
    places: dict[tuple[str, ...], list[Any]] = {}
    for mistake in error.errors(include_url=False):
        places.setdefault(_drop_choices(mistake["loc"]), []).append(mistake)
    for path, mistakes in places.items():
        first = mistakes[0]
        if first["type"] == "too_short" and len(places) > 1:
            continue
        *parents, key = path or ("parameters",)
        place = ".".join(path)
        if first["type"] == "extra_forbidden":
            yield describe_unknown("key", key, _list_keys(shape, parents))
        elif first["type"] == "missing":
            yield f"{place} is missing; the zenml_config.yaml of the project has a value to start from."
        elif parents and parents[0] == "candidates":
            yield describe_unknown("candidate", str(first["input"]), CANDIDATES)
        else:
            reasons = [mistake["msg"].removeprefix("Value error, ") for mistake in mistakes]
            wanted = ", or ".join(reason[0].lower() + reason[1:] for reason in reasons)
            seen = "" if isinstance(first["input"], dict) else f" is {first['input']!r}"
            yield f"{place}{seen}: {wanted}." if place else f"{wanted}."


def _drop_choices(location: tuple[int | str, ...]) -> tuple[str, ...]:
    """Return where a mistake is, without the branch of a union that pydantic tried there."""
    return tuple(str(part) for part in location if not str(part).startswith(("literal[", "constrained-", "function-")))


def _list_keys(shape: type[Section], parents: list[str]) -> list[str]:
    model: Any = shape
    for parent in parents:
        if not parent.isdigit():
            annotation = model.model_fields[parent].annotation
            model = next(iter(get_args(annotation)), annotation)
    return list(model.model_fields)
