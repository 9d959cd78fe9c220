"""`sentigate deploy huggingface` and `space`: what is in production goes to the Hugging Face hub, and comes back."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import click
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from deploy.cli_errors import SentenceGroup
from deploy.huggingface.card import UNSTATED
from deploy.huggingface.folders import write_model_folder, write_space_folder
from deploy.huggingface.hub import RepositoryKind, open_hub
from deploy.production import Production, find_production
from sentiment.errors import DeployError

Writer = Callable[[Production, Path, str, str], None]


@click.group(cls=SentenceGroup)
def main() -> None:
    """Publish what is in production on the Hugging Face hub, or take it back."""


def check_name(_: click.Context, __: click.Parameter, name: str) -> str:
    """Refuse what cannot be a repository before anything is made or asked."""
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise click.ClickException(
            f"{name!r} is no name on the hub; wanted for example REPO=user/sentiment."
        ) from error
    if "/" not in name:
        raise click.ClickException(f"{name!r} names no owner; wanted for example REPO=user/{name}.")
    return name


repository_argument = click.argument("repository", metavar="USER/NAME", callback=check_name)
licence_option = click.option(
    "--license", "licence", default=UNSTATED, show_default=True, help="Licence by its name on the hub, e.g. apache-2.0."
)
public_option = click.option("--public", is_flag=True, help="Let everybody see it; a new repository is private.")
preview_option = click.option(
    "--preview", type=click.Path(path_type=Path), help="Write the folder here to look at it; ask nobody."
)


@main.command()
@repository_argument
@licence_option
@public_option
@preview_option
def model(repository: str, licence: str, public: bool, preview: Path | None) -> None:
    """Push the bundle with a model card, tagged with its version."""
    _publish(write_model_folder, "model", repository, licence, public=public, preview=preview)


@main.command()
@repository_argument
@licence_option
@public_option
@preview_option
def space(repository: str, licence: str, public: bool, preview: Path | None) -> None:
    """Push a Docker Space that runs the Bento in production."""
    _publish(write_space_folder, "space", repository, licence, public=public, preview=preview)


@main.command()
@repository_argument
def withdraw_model(repository: str) -> None:
    """Take the newest version of a model back; the only one takes the repository with it."""
    click.echo(open_hub().withdraw_model(repository))


@main.command()
@repository_argument
def remove_space(repository: str) -> None:
    """Delete a Space."""
    open_hub().remove_space(repository)
    click.echo(f"the Space {repository} is gone.")


def _publish(
    write: Writer, kind: RepositoryKind, repository: str, licence: str, *, public: bool, preview: Path | None
) -> None:
    production = find_production()
    if preview is not None and preview.exists() and (not preview.is_dir() or any(preview.iterdir())):
        raise DeployError(f"{preview} is there already and not empty; name another folder.")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write(production, folder, repository, licence)
        if preview is not None:
            shutil.copytree(folder, preview, dirs_exist_ok=True)
            click.echo(f"{preview} is what would go to {repository}; nobody was asked.")
            return
        published = open_hub().publish(folder, repository, kind, production.version, public=public)
    said = "." if published.is_new else " already, and left as it is."
    click.echo(f"{production.version} is at {published.url}, commit {published.commit[:12]}{said}")
