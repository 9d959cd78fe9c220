"""`sentigate deploy bentocloud`: deploy what is in production to BentoCloud, as `bentocloud.yaml` describes."""

import time
import types
import typing
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from json import JSONDecodeError
from pathlib import Path
from typing import Any, Union
from urllib.parse import urlsplit

import attr
import bentoml
import click
import httpx
import yaml
from bentoml._internal.cloud import BentoCloudClient
from bentoml._internal.cloud.config import CloudClientConfig
from bentoml._internal.cloud.deployment import Deployment, DeploymentAPI, DeploymentConfigParameters
from bentoml._internal.cloud.schemas.modelschemas import DeploymentStatus
from bentoml._internal.cloud.schemas.schemasv2 import CreateDeploymentSchema
from bentoml._internal.utils.cattr import bentoml_cattr
from bentoml.exceptions import BentoMLException, CloudRESTApiClientError, NotFound

from deploy.cli_errors import say_in_one_sentence
from deploy.production import Production, find_production
from sentiment.database.url import DATABASE_VARIABLE
from sentiment.errors import ConfigError, DeployError
from sentiment.hosts import is_loopback

CONFIG = Path(__file__).with_name("bentocloud.yaml")
KEYS_VARIABLE = "SENTIMENT_API_KEYS"
LOG_VARIABLE = "SENTIMENT_LOG_PREDICTIONS"
LOGIN = "log in with `bentoml cloud login`, or set BENTO_CLOUD_API_KEY to a token of your account"
READY = (DeploymentStatus.Running.value, DeploymentStatus.ScaledToZero.value)
FAILED = (
    DeploymentStatus.Failed.value,
    DeploymentStatus.ImageBuildFailed.value,
    DeploymentStatus.Terminated.value,
    DeploymentStatus.Unhealthy.value,
)
FIRST_POLL_SECONDS, POLL_SECONDS = 0.25, 10.0

Config = dict[str, Any]


def read_config(path: Path, production: Production) -> Config:
    """Return the deployment as BentoCloud is asked for it, with the Bento in production.

    Raises ConfigError for what BentoML would refuse, and for a key that it would pass over in silence.
    """
    config = read_file(path)
    if "bento" in config:
        raise ConfigError(f"{path} names a Bento; leave `bento` out: what is deployed is what is in production.")
    unknown = list(find_unknown(config, CreateDeploymentSchema))
    if unknown:
        raise ConfigError(f"{path} has keys that BentoCloud does not know: {', '.join(unknown)}; mend or remove them.")
    config["bento"] = production.bento
    try:
        wanted = bentoml_cattr.structure(config, CreateDeploymentSchema)
        DeploymentAPI._fix_and_validate_schema(wanted)
    except BentoMLException as error:
        raise ConfigError(f"{path}: {error}.") from error
    except Exception as error:  # cattrs raises whatever a constructor does
        raise ConfigError(f"{path} has a value of the wrong kind ({error}); see the comments in the file.") from error
    known = {bentoml.bentos.get(production.bento).entry_service}
    if set(wanted.services) != known:
        raise ConfigError(
            f"{path} is about the services {', '.join(wanted.services) or '(none)'}; the Bento has {', '.join(known)}."
        )
    return config


def read_file(path: Path) -> Config:
    """Return what stands in the file. Raises ConfigError when it names no deployment."""
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read as YAML ({type(error).__name__}); mend it.") from error
    if not isinstance(config, dict) or not isinstance(config.get("name"), str):
        raise ConfigError(f"{path} names no deployment; wanted a line such as `name: sentigate`.")
    return config


def find_unknown(content: object, shape: Any, place: str = "") -> Iterator[str]:
    """Yield the path of each key that a schema of BentoML's has no field for."""
    origin, inner = typing.get_origin(shape), typing.get_args(shape)
    if origin in {Union, types.UnionType}:
        shape = next(option for option in inner if option is not type(None))
        yield from find_unknown(content, shape, place)
    elif origin is list and isinstance(content, list):
        for position, item in enumerate(content):
            yield from find_unknown(item, inner[0], f"{place}[{position}]")
    elif origin is dict and isinstance(content, dict):
        for key, item in content.items():
            yield from find_unknown(item, inner[1], f"{place}.{key}")
    elif attr.has(shape) and isinstance(content, dict):
        fields = attr.fields_dict(attr.resolve_types(shape))
        for key, item in content.items():
            path = f"{place}.{key}".lstrip(".")
            if key not in fields:
                yield path
            else:
                yield from find_unknown(item, fields[key].type, path)


def connect() -> BentoCloudClient:
    """Return a client that is logged in. Raises DeployError when there is no token, or it is not taken."""
    try:
        context = CloudClientConfig.get_config().get_context()
    except CloudRESTApiClientError as error:
        raise DeployError(f"there are no BentoCloud credentials here; {LOGIN}.") from error
    if not context.api_token.strip():
        raise DeployError(f"the BentoCloud token is empty; {LOGIN}.")
    address = urlsplit(context.endpoint)
    if address.scheme != "https" and not is_loopback(address.hostname or ""):
        raise DeployError(
            f"the token would go to {context.endpoint} in the clear; wanted an https:// address in"
            " BENTO_CLOUD_API_ENDPOINT."
        )
    client = BentoCloudClient.for_context()
    with say_refusals(context.endpoint):
        if client.client.v1.get_current_user() is None:
            raise DeployError(f"{context.endpoint} knows no user for this token; {LOGIN}.")
    return client


def check_secrets(client: BentoCloudClient, config: Config) -> None:
    """Raise DeployError unless what the deployment needs and must not stand in a file is in its secrets."""
    plain = {str(item["name"]): str(item["value"]) for item in config.get("envs") or []}
    for name in (DATABASE_VARIABLE, KEYS_VARIABLE):
        if name in plain:
            raise ConfigError(
                f"{name} stands in the file under envs; put it into a secret and name that under secrets."
            )
    found: set[str] = set()
    for name in config.get("secrets") or []:
        with say_refusals(client.client.endpoint):
            try:
                content = client.client.v1.get_secret(name, config.get("cluster")).content
            except CloudRESTApiClientError as error:
                if error.error_code not in {HTTPStatus.NOT_FOUND, HTTPStatus.BAD_REQUEST}:
                    raise
                raise DeployError(
                    f"BentoCloud has no secret {name!r}; make it with `bentoml secret create {name} --from-file FILE`,"
                    f" where the file has a line {DATABASE_VARIABLE}=..."
                ) from error
        if content.type == "env":
            found.update(item.key for item in content.items)
    has_log = plain.get(LOG_VARIABLE, "true").lower() not in {"false", "0", "no", "off"}
    if has_log and DATABASE_VARIABLE not in found:
        raise DeployError(
            f"no secret of the deployment has {DATABASE_VARIABLE}: the prediction log would lie on the disk of a"
            f" replica and go with it; put a PostgreSQL URL into a secret, or set {LOG_VARIABLE} to false under envs."
        )
    if not config.get("access_authorization") and KEYS_VARIABLE not in found:
        raise DeployError(
            f"access_authorization is off and no secret has {KEYS_VARIABLE}: anybody could use the service; set one of"
            " them."
        )


def deploy_production(client: BentoCloudClient, config: Config) -> Deployment:
    """Create the deployment, or put the Bento and the settings into the one that is there."""
    api = client.deployment
    with say_refusals(client.client.endpoint):
        try:
            # BentoML refuses to update a deployment whose cluster the caller does not name.
            config = {**config, "cluster": api.get(config["name"], config.get("cluster")).cluster}
        except NotFound:
            click.echo(f"creating {config['name']} with {config['bento']}")
        else:
            click.echo(f"updating {config['name']} to {config['bento']}")
        parameters = DeploymentConfigParameters(config_dict=config)
        parameters.verify(create=False, _client=client.client)
        return api.apply(parameters)


def await_status(deployment: Deployment, wanted: tuple[str, ...], seconds: float) -> None:
    """Return when a deployment has one of the statuses. Raises DeployError when it fails, or takes longer."""
    deadline = time.monotonic() + seconds
    said, pause = "", FIRST_POLL_SECONDS
    while (status := deployment.get_status(refetch=True).status) not in wanted:
        if status in FAILED:
            raise DeployError(f"{deployment.name} is {status}; its log is on {deployment.admin_console}.")
        if time.monotonic() > deadline:
            raise DeployError(
                f"{deployment.name} is still {status} after {seconds:.0f} s; see {deployment.admin_console}."
            )
        if status != said:
            click.echo(f"{deployment.name} is {status}")
            said = status
        time.sleep(pause)
        pause = min(pause * 2, POLL_SECONDS)


def destroy_deployment(client: BentoCloudClient, name: str, cluster: str | None, seconds: float) -> None:
    """Stop a deployment and remove it. Raises DeployError when there is none."""
    with say_refusals(client.client.endpoint):
        try:
            deployment = client.deployment.terminate(name, cluster)
        except NotFound as error:
            raise DeployError(f"BentoCloud has no deployment {name!r}; there is nothing to remove.") from error
        await_status(deployment, (DeploymentStatus.Terminated.value,), seconds)
        client.deployment.delete(name, deployment.cluster)


@contextmanager
def say_refusals(endpoint: str) -> Iterator[None]:
    """Turn what BentoML's client raises into a DeployError of one sentence."""
    try:
        yield
    except CloudRESTApiClientError as error:
        if error.error_code == HTTPStatus.UNAUTHORIZED:
            raise DeployError(f"{endpoint} does not take the token (401); {LOGIN}.") from error
        if error.error_code == HTTPStatus.FORBIDDEN:
            raise DeployError(
                f"the token may not do this at {endpoint} (403); take one with developer access."
            ) from error
        raise DeployError(f"{endpoint} refused: {_first_line(error)}.") from error
    except httpx.HTTPError as error:
        raise DeployError(f"{endpoint} cannot be reached ({type(error).__name__}); nothing was deployed.") from error
    except (BentoMLException, JSONDecodeError) as error:
        raise DeployError(f"{endpoint} was asked, and it did not work out: {_first_line(error)}.") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")[:300]


@click.group()
def main() -> None:
    """Deploy what is in production to BentoCloud, or take it back."""


config_option = click.option(
    "--config", type=click.Path(path_type=Path), default=CONFIG, show_default=True, help="What is asked for."
)
seconds_option = click.option(
    "--timeout", "seconds", type=click.FloatRange(0), default=1800, show_default=True, help="Seconds to wait."
)


@main.command()
@config_option
@seconds_option
@click.option("--dry-run", is_flag=True, help="Show what would be asked for; ask nobody.")
@say_in_one_sentence
def deploy(config: Path, seconds: float, dry_run: bool) -> None:
    """Push the Bento in production and create or update its deployment."""
    production = find_production()
    wanted = read_config(config, production)
    if dry_run:
        click.echo(yaml.safe_dump(wanted, sort_keys=False).rstrip())
        return
    client = connect()
    check_secrets(client, wanted)
    deployment = deploy_production(client, wanted)
    with say_refusals(client.client.endpoint):
        await_status(deployment, READY, seconds)
        urls = deployment._urls or [deployment.admin_console]
    click.echo(f"{production.bento} answers at {urls[0]}; check it with `make smoke URL={urls[0]} KEY_FILE=...`.")


@main.command()
@config_option
@seconds_option
@say_in_one_sentence
def destroy(config: Path, seconds: float) -> None:
    """Stop the deployment and remove it; the Bento and the secrets stay."""
    content = read_file(config)
    destroy_deployment(connect(), content["name"], content.get("cluster"), seconds)
    click.echo(f"{content['name']} is gone from BentoCloud; the Bento and the secrets are still there.")
