"""`sentigate deploy bentocloud`: deploy what is in production to BentoCloud, as `bentocloud.yaml` describes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from json import JSONDecodeError
from pathlib import Path
from urllib.parse import urlsplit

import bentoml
import click
import httpx
import yaml
from bentoml.exceptions import BentoMLException, CloudRESTApiClientError, NotFound

from deploy.bentocloud.config import Config, read_config, read_file
from deploy.cli_errors import SentenceGroup
from deploy.production import find_production
from sentiment.database.url import DATABASE_VARIABLE
from sentiment.errors import ConfigError, DeployError
from sentiment.hosts import is_loopback

CONFIG = Path(__file__).with_name("bentocloud.yaml")
KEYS_VARIABLE = "SENTIMENT_API_KEYS"
LOG_VARIABLE = "SENTIMENT_LOG_PREDICTIONS"
LOGIN = "log in with `bentoml cloud login`, or set BENTO_CLOUD_API_KEY to a token of your account"
# BentoML has no public names for the states of a deployment: a test compares these with those of the one installed.
READY = ("running", "scaled-to-zero")
FAILED = ("failed", "image-build-failed", "terminated", "unhealthy")
TERMINATED = ("terminated",)
FIRST_POLL_SECONDS, POLL_SECONDS = 0.25, 10.0


def connect() -> bentoml.BentoCloudClient:
    """Return a client that has credentials. Raises DeployError when there are none, or they would go in the clear."""
    try:
        client = bentoml.BentoCloudClient.for_context()
    except CloudRESTApiClientError as error:
        raise DeployError(f"there are no BentoCloud credentials here; {LOGIN}.") from error
    address = urlsplit(client.client.endpoint)
    if address.scheme != "https" and not is_loopback(address.hostname or ""):
        raise DeployError(
            f"the token would go to {client.client.endpoint} in the clear; wanted an https:// address in"
            " BENTO_CLOUD_API_ENDPOINT."
        )
    return client


def check_secrets(client: bentoml.BentoCloudClient, config: Config) -> None:
    """Raise DeployError unless what the deployment needs and must not stand in a file is in its secrets."""
    plain = {str(item["name"]): str(item["value"]) for item in config.get("envs") or []}
    for name in (DATABASE_VARIABLE, KEYS_VARIABLE):
        if name in plain:
            raise ConfigError(
                f"{name} stands in the file under envs; put it into a secret and name that under secrets."
            )
    found: set[str] = set()
    for name in config.get("secrets") or []:
        try:
            content = client.secret.get(name, config.get("cluster")).content
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


def deploy_production(config: Config) -> str | None:
    """Create the deployment, or put the Bento and the settings into the one that is there; return its cluster."""
    try:
        # BentoML refuses to update a deployment whose cluster the caller does not name.
        config = {**config, "cluster": bentoml.deployment.get(config["name"], config.get("cluster")).cluster}
    except NotFound:
        click.echo(f"creating {config['name']} with {config['bento']}")
    else:
        click.echo(f"updating {config['name']} to {config['bento']}")
    return bentoml.deployment.apply(config_dict=config).cluster


def await_status(name: str, cluster: str | None, wanted: tuple[str, ...], seconds: float) -> str:
    """Return where a deployment answers, once it has one of the statuses. Raises DeployError when it fails, or is late.

    Where it has several addresses, or none, that is its page on BentoCloud.
    """
    deadline = time.monotonic() + seconds
    said, pause = "", FIRST_POLL_SECONDS
    while True:
        deployment = bentoml.deployment.get(name, cluster)
        status = deployment.get_status(refetch=False).status
        if status in wanted:
            break
        if status in FAILED:
            raise DeployError(f"{name} is {status}; its log is on {deployment.admin_console}.")
        if time.monotonic() > deadline:
            raise DeployError(f"{name} is still {status} after {seconds:.0f} s; see {deployment.admin_console}.")
        if status != said:
            click.echo(f"{name} is {status}")
            said = status
        time.sleep(pause)
        pause = min(pause * 2, POLL_SECONDS)
    try:
        return deployment.get_endpoint_urls(refetch=False)[0]
    except BentoMLException:
        return deployment.admin_console


def destroy_deployment(name: str, cluster: str | None, seconds: float) -> None:
    """Stop a deployment and remove it. Raises DeployError when there is none."""
    try:
        cluster = bentoml.deployment.terminate(name, cluster).cluster
    except NotFound as error:
        raise DeployError(f"BentoCloud has no deployment {name!r}; there is nothing to remove.") from error
    await_status(name, cluster, TERMINATED, seconds)
    bentoml.deployment.delete(name, cluster)


@contextmanager
def translate_errors(endpoint: str) -> Iterator[None]:
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


@click.group(cls=SentenceGroup)
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
def deploy(config: Path, seconds: float, dry_run: bool) -> None:
    """Push the Bento in production and create or update its deployment."""
    production = find_production()
    wanted = read_config(config, production)
    if dry_run:
        click.echo(yaml.safe_dump(wanted, sort_keys=False).rstrip())
        return
    client = connect()
    with translate_errors(client.client.endpoint):
        check_secrets(client, wanted)
        cluster = deploy_production(wanted)
        address = await_status(wanted["name"], cluster, READY, seconds)
    click.echo(f"{production.bento} answers at {address}; check it with `make smoke URL={address} KEY_FILE=...`.")


@main.command()
@config_option
@seconds_option
def destroy(config: Path, seconds: float) -> None:
    """Stop the deployment and remove it; the Bento and the secrets stay."""
    content = read_file(config)
    with translate_errors(connect().client.endpoint):
        destroy_deployment(content["name"], content.get("cluster"), seconds)
    click.echo(f"{content['name']} is gone from BentoCloud; the Bento and the secrets are still there.")
