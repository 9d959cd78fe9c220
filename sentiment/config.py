"""The strict shape of `zenml_config.yaml`: a key that is not here is a mistake, told before a run starts.

Thresholds have no default in code; the file is the one place for them.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from sentiment.errors import ConfigError, say_unknown

CANDIDATES = ("svm", "svm_smote")
ZENML_KEYS = ("parameters", "enable_cache", "enable_step_logs", "settings", "steps", "run_name", "tags", "extra")

Share = Annotated[float, Field(gt=0, lt=1)]
Fraction = Annotated[float, Field(gt=0, le=1)]
Score = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """One section of the file: frozen, every key known."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DatasetSection(Section):
    """A dataset by name or file; columns, labels and encoding are read for files only."""

    name: str = Field(min_length=1)
    text_column: str = "text"
    label_column: str = "label"
    labels: dict[str, str] = {}
    encoding: str = "utf-8"
    train_fraction: Fraction = 1.0

    @model_validator(mode="before")
    @classmethod
    def _read_labels_as_text(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("labels"), dict):
            return {**values, "labels": {str(key): value for key, value in values["labels"].items()}}
        return values


class SplitSection(Section):
    """Shares of the rows; the rest trains."""

    validation_share: Share
    holdout_share: Share

    @model_validator(mode="after")
    def _leave_rows_to_train(self) -> "SplitSection":
        if self.validation_share + self.holdout_share >= 1:
            raise ValueError(
                f"validation_share {self.validation_share} and holdout_share {self.holdout_share}"
                " leave no rows to train on; wanted a sum below 1"
            )
        return self


class EncoderSection(Section):
    """The sentence encoder; `precision` auto takes int8 where it holds against fp32."""

    name: str
    source: str
    max_tokens: Annotated[int, Field(ge=8, le=512)]
    precision: Literal["auto", "int8", "fp32"]
    max_int8_loss: Score


class TrainingSection(Section):
    """How the candidates are fitted."""

    seed: Annotated[int, Field(ge=0, lt=2**32)]
    c: Annotated[float, Field(gt=0)]
    gamma: Literal["scale", "auto"] | Annotated[float, Field(gt=0)]
    smote_neighbours: Annotated[int, Field(ge=1)]


class GateSection(Section):
    """The rule of the gate; `min_f1` is a floor per dataset, `default` for those not named."""

    min_f1: dict[str, Score]
    min_improvement: Annotated[float, Field(ge=0, le=1)]
    max_class_drop: Score
    strict: bool

    @model_validator(mode="after")
    def _have_a_default(self) -> "GateSection":
        if "default" not in self.min_f1:
            raise ValueError("min_f1 has no 'default'; name the floor for datasets that are not listed")
        return self

    def floor_for(self, dataset: str) -> float:
        """Return the floor of a dataset."""
        return self.min_f1.get(dataset, self.min_f1["default"])


class TrainingConfig(Section):
    """The parameters of the training pipeline, section by section."""

    dataset: DatasetSection
    split: SplitSection
    encoder: EncoderSection
    candidates: tuple[Literal["svm", "svm_smote"], ...] = Field(min_length=1)
    training: TrainingSection
    gate: GateSection

    @field_validator("candidates")
    @classmethod
    def _name_each_once(cls, candidates: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(candidates)) < len(candidates):
            raise ValueError("a candidate is named twice; name each once")
        return candidates


def read_config(path: Path) -> TrainingConfig:
    """Return the checked configuration. Raises ConfigError with one sentence per mistake."""
    content = read_yaml(path)
    for key in content:
        if key not in ZENML_KEYS:
            raise ConfigError(f"{path.name}: {say_unknown('key', str(key), ZENML_KEYS)}")
    parameters = content.get("parameters")
    if not isinstance(parameters, dict):
        raise ConfigError(
            f"{path.name} has no section 'parameters'; copy one from the zenml_config.yaml of the project."
        )
    return check_parameters(parameters, path.name)


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


def check_parameters(parameters: Mapping[str, Any], where: str) -> TrainingConfig:
    """Return the parameters as sections. Raises ConfigError that names every wrong key and value."""
    try:
        return TrainingConfig.model_validate(parameters)
    except ValidationError as error:
        raise ConfigError(" ".join(f"{where}: {sentence}" for sentence in _say_mistakes(error))) from error


def _say_mistakes(error: ValidationError) -> Iterator[str]:
    told: set[tuple[int | str, ...]] = set()
    for mistake in error.errors(include_url=False):
        if mistake["loc"][:2] in told or (mistake["type"] == "too_short" and told):
            continue
        told.add(mistake["loc"][:2])
        *parents, key = mistake["loc"] or ("parameters",)
        place = ".".join(str(part) for part in mistake["loc"] if not str(part).startswith(("literal[", "constrained-")))
        if mistake["type"] == "extra_forbidden":
            yield say_unknown("key", str(key), _list_keys([str(part) for part in parents]))
        elif mistake["type"] == "missing":
            yield f"{place} is missing; the zenml_config.yaml of the project has a value to start from."
        elif parents and parents[0] == "candidates":
            yield say_unknown("candidate", str(mistake["input"]), CANDIDATES)
        else:
            reason = mistake["msg"].removeprefix("Value error, ")
            seen = "" if isinstance(mistake["input"], dict) else f" is {mistake['input']!r}"
            yield f"{place}{seen}: {reason[0].lower()}{reason[1:]}."


def _list_keys(parents: list[str]) -> list[str]:
    model: Any = TrainingConfig
    for parent in parents:
        model = model.model_fields[parent].annotation
    return list(model.model_fields)
