"""The ten-minute tour: train, gate, build, serve and ask, on the comments that the project ships."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from sentigate_client import SentigateClient, SentigateError
from sentiment.admin_token import read_admin_token
from sentiment.governance.ledger import read_entries
from sentiment.paths import CHECKOUT, locate_state
from sentiment.production_pointer import ProductionPointer
from service.serve import MAX_PORT, require_free_port

QUESTIONS = (
    "this is the best explanation i have ever seen, thank you",
    "does anyone know which microphone that is?",
    "not worth the money, it broke after two days",
)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=3000, show_default=True, type=click.IntRange(1, MAX_PORT), help="Port to listen on.")
def main(host: str, port: int) -> None:
    """Train, gate, build, serve and ask; with a terminal the service stays up until Ctrl-C."""
    require_free_port(host, port)
    from pipelines.training import training_pipeline

    training_pipeline.with_options(config_path=str(CHECKOUT / "zenml_config.yaml"))()
    url = f"http://{host}:{port}"
    with serve_production(host, port) as process:
        click.echo(f"\nThe model in production answers on {url}\n")
        ask_questions(url)
        say_what_next(url)
        if sys.stdin.isatty() and sys.stdout.isatty():
            click.echo("\nServing until Ctrl-C.")
            process.wait()


@contextmanager
def serve_production(host: str, port: int) -> Iterator["subprocess.Popen[bytes]"]:
    """Serve the production model in a process of its own that ends with the block."""
    from release.bento_store import wait_until_ready

    state = locate_state()
    command = [sys.executable, "-m", "bentoml", "serve", str(CHECKOUT), "--host", host, "--port", str(port)]
    with (state.folder / "demo.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=CHECKOUT, stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_until_ready(f"http://{host}:{port}", process)
            yield process
        except TimeoutError as error:
            raise click.ClickException(f"the service did not start: {error}; its log is {log.name}.") from error
        except KeyboardInterrupt:
            click.echo("\nstopped.")
        finally:
            process.terminate()
            process.wait(timeout=30)


def ask_questions(url: str) -> None:
    """Ask over HTTP and show the answers."""
    try:
        with SentigateClient(url, api_key="") as client:
            for text in QUESTIONS:
                answer = client.predict(text)
                click.echo(f"  {answer.label:>8} {answer.confidence:.0%}  {text}")
    except SentigateError as error:
        raise click.ClickException(str(error)) from error


def say_what_next(url: str) -> None:
    """Show the decision, where things are and what to try."""
    state = locate_state()
    decision = [entry for entry in read_entries(state.ledger) if entry.event == "decision"][-1]
    pointer = ProductionPointer.read(state.production)
    click.echo(f"\nThe gate said {decision.details['outcome']}: {decision.summary}")
    if pointer:
        click.echo(f"Bento {pointer.bento}, model {pointer.tag}")
    curl = f"""curl -s {url}/predict -H 'content-type: application/json' -d '{{"text": "what a day"}}'"""
    for what, how in (
        (
            "in a browser",
            f"{url}/ to try it, {url}/dashboard#token={read_admin_token(state.admin_token)} to see how it is doing",
        ),
        ("ask", curl),
        ("the card", f"curl -s {url}/model"),
        ("runs and models", ".venv/bin/mlflow ui --port 5000"),
        ("the ledger", "make ledger"),
        ("serve again", "make serve"),
        ("your own data", "make train DATASET=path/to/file.csv"),
        ("a worse model, to see it blocked", "make train TRAIN_FRACTION=0.05"),
    ):
        click.echo(f"  {what}: {how}")
