"""What BentoCloud is asked for: the keys that its file may have, checked before anything is sent.

BentoML passes over keys that it does not know. A test compares these with the schema of the BentoML that is installed.
"""

from pathlib import Path
from typing import Any

import bentoml
import yaml
from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt, ValidationError, model_validator

from deploy.production import Production
from sentiment.errors import ConfigError

Config = dict[str, Any]


class Section(BaseModel):
    """A part of the file, of which every key is known."""

    model_config = ConfigDict(extra="forbid", strict=True)


class _Variable(Section):
    name: str
    value: str


class _Policy(Section):
    metrics: list[Config] | None = None
    scale_down_behavior: str | None = None
    scale_up_behavior: str | None = None
    scale_down_stabilization_window: int | None = None
    scale_up_stabilization_window: int | None = None


class _Scaling(Section):
    min_replicas: NonNegativeInt | None = None
    max_replicas: PositiveInt | None = None
    policy: _Policy | None = None

    @model_validator(mode="after")
    def _check_order(self) -> "_Scaling":
        if self.max_replicas is not None and (self.min_replicas or 0) > self.max_replicas:
            raise ValueError(f"min_replicas {self.min_replicas} is above max_replicas {self.max_replicas}")
        return self


class _Service(Section):
    instance_type: str | None = None
    scaling: _Scaling | None = None
    envs: list[_Variable] | None = None
    deployment_strategy: str | None = None
    extras: Config | None = None
    cold_start_timeout: int | None = None
    config_overrides: Config | None = None


class DeploymentFile(Section):
    """The whole file; the Bento is none of its keys, since what is deployed is what is in production."""

    name: str
    cluster: str | None = None
    access_authorization: bool = False
    envs: list[_Variable] | None = None
    labels: list[dict[str, str]] | None = None
    secrets: list[str] | None = None
    services: dict[str, _Service] = {}
    canary: Config | None = None
    dev: bool = False


def read_config(path: Path, production: Production) -> Config:
    """Return the deployment as BentoCloud is asked for it, with the Bento in production.

    Raises ConfigError for a key that BentoML would pass over in silence, and for a value of the wrong kind.
    """
    config = read_file(path)
    if "bento" in config:
        raise ConfigError(f"{path} names a Bento; leave `bento` out: what is deployed is what is in production.")
    check_keys(path, config)
    known = {bentoml.bentos.get(production.bento).entry_service}
    if (named := config.get("services", {}).keys()) != known:
        raise ConfigError(
            f"{path} is about the services {', '.join(named) or '(none)'}; the Bento has {', '.join(known)}."
        )
    return {**config, "bento": production.bento}


def read_file(path: Path) -> Config:
    """Return what stands in the file. Raises ConfigError when it names no deployment."""
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read as YAML ({type(error).__name__}); mend it.") from error
    if not isinstance(config, dict) or not isinstance(config.get("name"), str):
        raise ConfigError(f"{path} names no deployment; wanted a line such as `name: sentigate`.")
    return config


def check_keys(path: Path, config: Config) -> None:
    """Raise ConfigError that names each key that is not known, else the first value that is of the wrong kind."""
    try:
        DeploymentFile.model_validate(config)
    except ValidationError as error:
        found = [(".".join(map(str, one["loc"])), one["type"], one["msg"]) for one in error.errors()]
        if unknown := [place for place, kind, _ in found if kind == "extra_forbidden"]:
            raise ConfigError(
                f"{path} has keys that BentoCloud does not know: {', '.join(unknown)}; mend or remove them."
            ) from error
        place, _, message = found[0]
        raise ConfigError(
            f"{path} has a value of the wrong kind at {place} ({message}); see the comments in the file."
        ) from error
