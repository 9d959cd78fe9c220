"""`sentigate serve`: serve the production model of this checkout, after a look at what could go wrong."""

import errno
import os
import socket
import sys
from contextlib import closing

import click

from sentiment.errors import SentimentError
from sentiment.hosts import is_loopback
from sentiment.paths import CHECKOUT

MAX_PORT = 65535


def require_free_port(host: str, port: int) -> None:
    """Raise click's ClickException when somebody listens on the port already."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with closing(socket.socket(family)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            other = port + 1 if port < MAX_PORT else port - 1
            way_out = (
                f"end what listens there, or choose another port, for example PORT={other}."
                if error.errno == errno.EADDRINUSE
                else "choose an address of this machine, for example HOST=127.0.0.1."
            )
            raise click.ClickException(f"{host}:{port} cannot be used ({error.strerror}); {way_out}") from error


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=3000, show_default=True, type=click.IntRange(1, MAX_PORT), help="Port to listen on.")
def main(host: str, port: int) -> None:
    """Serve the model in production until Ctrl-C."""
    require_free_port(host, port)

    from service.models.sources import find_admitted_tag
    from service.security.access import describe_exposure, open_access
    from service.startup import check_settings

    try:
        settings = check_settings()
        tag = find_admitted_tag(signed=settings.require_signature)
        access = open_access(settings)
    except SentimentError as error:
        raise click.ClickException(str(error)) from error
    if access.is_open and not is_loopback(host):
        click.secho(f"warning: {describe_exposure(host)}", err=True, bold=True)
    address = f"http://{host}:{port}"
    click.echo(
        f"serving {tag}; try it on {address}/, see how it does on {access.find_dashboard(address)}; Ctrl-C stops it"
    )
    command = [sys.executable, "-m", "bentoml", "serve", str(CHECKOUT), "--host", host, "--port", str(port)]
    os.execv(sys.executable, command)  # noqa: S606 - this Python, no shell
