"""`sentigate stack`: start, stop, back up and restore the stack of `compose.yaml` on one machine."""

import errno
import os
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import click

from deploy.cli_errors import SentenceGroup
from deploy.compose.backups import back_up, prepare, restore
from deploy.compose.project import FILE, HEALTHY, MIGRATION, PROFILES, Compose, Service, find_compose
from deploy.compose.secrets import FOLDER, OPERATOR_KEY, check_readable, make_missing
from sentiment.errors import DeployError

Find = Callable[[], Compose]  # so that help needs no engine

BACKUPS = FILE.with_name("backups")
WAIT_SECONDS = 180
MAX_RESTARTS = 3
LINES = 15
PORTS = {
    "service": "SENTIGATE_PORT",
    "nginx": "HTTP_PORT and HTTPS_PORT",
    "prometheus": "PROMETHEUS_PORT",
    "grafana": "GRAFANA_PORT",
    "mlflow": "MLFLOW_PORT",
}
PAGES = {
    "service": ("http", "to try it; /dashboard shows how it does"),
    "nginx": ("https", "for everybody else"),
    "prometheus": ("http", "figures and alerts"),
    "grafana": ("http", "dashboards; the user is admin"),
    "mlflow": ("http", "runs and registry"),
}


def read_profiles(_: click.Context, __: click.Parameter, value: str) -> tuple[str, ...]:
    """Return the profiles of a list with commas. Raises BadParameter for one that is not known."""
    names = tuple(name for name in value.replace(",", " ").split() if name)
    for name in names:
        if name not in PROFILES:
            raise click.BadParameter(f"{name!r} is not a profile; wanted some of {', '.join(PROFILES)}.")
    return names


def find_secrets() -> Path:
    """Return the folder of the secrets."""
    return Path(os.environ.get("SENTIGATE_SECRETS") or FOLDER).expanduser().resolve()


def make_secrets(compose: Compose, profiles: Sequence[str]) -> None:
    """Make the secrets that are missing, and say which."""
    folder = find_secrets()
    made = make_missing(folder, with_tls="front" in profiles, has_database=compose.has_volume("postgres"))
    if made:
        click.echo(f"made in {folder}: {', '.join(made)}")
    if "tls_certificate" in made:
        click.echo(f"the certificate is for localhost alone and signed by itself; put yours into {folder}")


def check_machine(compose: Compose, services: Sequence[Service]) -> None:
    """Raise DeployError for the first thing that would keep a service from starting."""
    running = {container.service for container in compose.list_containers() if container.runs}
    for service in services:
        check_readable(service.secrets)
        if service.never_pulled and compose.engine.find_image(service.image) is None:
            raise DeployError(f"there is no image {service.image}; `make image` builds that of the service.")
        if service.name not in running:
            for host, port in service.ports:
                check_port(service.name, host, port)


def fetch_images(compose: Compose, services: Sequence[Service]) -> None:
    """Pull the images that are not here yet. Raises DeployError for one that cannot be had.

    Before compose does: podman-compose takes down what runs before it pulls, and does not end when it cannot.
    """
    for service in services:
        if service.built_here or service.never_pulled or compose.engine.find_image(service.image):
            continue
        click.echo(f"pulling {service.image}")
        try:
            compose.engine.run("pull", "--quiet", service.image)
        except DeployError as error:
            raise DeployError(
                f"the image {service.image} of {service.name} cannot be had: {error}; nothing was changed. Look at your"
                " network, or name another image in a compose file of yours: `sentigate stack --help`."
            ) from error


def check_port(service: str, host: str, port: int) -> None:
    """Raise DeployError when a port cannot be taken."""
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reason = "somebody listens there" if error.errno == errno.EADDRINUSE else (error.strerror or "").lower()
            raise DeployError(
                f"port {port} for {service} cannot be used ({reason}); end what listens there, or choose another with"
                f" {PORTS.get(service, 'its variable in deploy/compose/compose.yaml')}."
            ) from error


def start(compose: Compose, services: Sequence[Service], profiles: Sequence[str], *names: str) -> None:
    """Start services, those that are named or all, and return when they are healthy. Raises DeployError."""
    if compose.run("up", "--detach", *names, profiles=profiles).returncode:
        raise DeployError(f"{' '.join(compose.command)} could not start the stack; what it said is above.")
    wait_until_healthy(compose, services)


def wait_until_healthy(compose: Compose, services: Sequence[Service]) -> None:
    """Return when each service is healthy, and say so of each. Raises DeployError with the log of one that is not."""
    waiting, begun = {service.name for service in services}, time.monotonic()
    while waiting:
        containers = [one for one in compose.list_containers() if one.service in waiting]
        for container in containers:
            if container.state == HEALTHY:
                click.echo(f"  {container.service} is healthy after {time.monotonic() - begun:.0f} s")
                waiting.discard(container.service)
        failing = [one for one in containers if one.restarts >= MAX_RESTARTS and one.service in waiting]
        if time.monotonic() - begun > WAIT_SECONDS:
            failing = [one for one in containers if one.service in waiting]
        if failing:
            for container in failing:
                click.echo(f"--- {container.service}\n{compose.read_log(container, LINES)}", err=True)
            names = ", ".join(container.service for container in failing)
            raise DeployError(f"{names} did not become healthy; what was logged is above. `make down` stops the rest.")
        time.sleep(0.5)


def show_addresses(services: Sequence[Service]) -> None:
    """Show where what runs can be reached."""
    for service in services:
        if service.name in PAGES:
            scheme, what = PAGES[service.name]
            host, port = service.ports[-1]
            click.echo(f"{scheme}://{'localhost' if host in {'0.0.0.0', '127.0.0.1'} else host}:{port}/  {what}")  # noqa: S104 - said, not bound
    click.echo(f"the key of the operator is in {find_secrets() / OPERATOR_KEY}")


@click.group(cls=SentenceGroup)
@click.option("--project", envvar="COMPOSE_PROJECT_NAME", default="sentigate", show_default=True, help="Its name.")
@click.option("--file", "files", type=click.Path(exists=True, path_type=Path), multiple=True, help="Compose files.")
@click.pass_context
def main(context: click.Context, project: str, files: tuple[Path, ...]) -> None:
    """Run the whole stack on this machine."""
    context.obj = partial(find_compose, project, files or (FILE,))


profiles_option = click.option(
    "--profiles", default="", callback=read_profiles, help=f"Some of {', '.join(PROFILES)}, with commas."
)


@main.command("secrets")
@profiles_option
@click.pass_obj
def make_secrets_command(find: Find, profiles: tuple[str, ...]) -> None:
    """Make the secrets that are missing."""
    make_secrets(find(), profiles)


@main.command()
@profiles_option
@click.pass_obj
def up(find: Find, profiles: tuple[str, ...]) -> None:
    """Check, start and wait until all is healthy."""
    compose = find()
    make_secrets(compose, profiles)
    needed = compose.list_services((*profiles, MIGRATION))
    check_machine(compose, needed)
    fetch_images(compose, needed)
    services = [service for service in needed if service.name != MIGRATION]
    start(compose, [service for service in services if service.name == "postgres"], profiles, "postgres")
    prepare(compose)
    start(compose, services, profiles)
    show_addresses(services)


@main.command()
@click.pass_obj
def down(find: Find) -> None:
    """Stop and remove the containers; what they stored stays."""
    if find().run("down").returncode:
        raise click.ClickException("not all could be stopped; what was said is above.")
    click.echo("stopped; the volumes are kept, `make up` goes on where it was")


@main.command("backup")
@click.argument("folder", type=click.Path(path_type=Path), required=False)
@click.pass_obj
def back_up_command(find: Find, folder: Path | None) -> None:
    """Dump the databases into FOLDER, while they are used; by default one named after the time."""
    folder = folder or BACKUPS / datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    for file in back_up(find(), folder):
        click.echo(f"{file}  {file.stat().st_size:,} bytes")


@main.command("restore")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def restore_command(find: Find, folder: Path, yes: bool) -> None:
    """Put the databases back as they were in the backup FOLDER."""
    compose = find()
    if not yes:
        click.confirm(f"What was stored since {folder.name} goes. Restore it?", abort=True)
    for name in restore(compose, folder):
        click.echo(f"restored {name}")
