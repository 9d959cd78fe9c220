"""`python -m deploy.images.attestations`: which workflow made what lies in a registry, as GitHub signed it.

A registry's writers can put anything under any tag; only a workflow of the branch `main` signs what it made.
"""

import shutil
import subprocess
from collections.abc import Sequence

import click

from deploy.cli_errors import SentenceCommand
from sentiment.errors import DeployError, find_last_words

MAIN = "refs/heads/main"
MAKERS_OF_IMAGES = ("release.yml",)
MAKERS_OF_STATES = ("retrain.yml", "record.yml")


def require_attestation(image: str, repository: str, workflows: Sequence[str]) -> None:
    """Raise DeployError unless one of these workflows of a repository, on `main`, signed that it made an image.

    `image` is named by digest, `repository` as OWNER/NAME.
    """
    if "@sha256:" not in image:
        raise DeployError(f"{image} is not named by its digest; wanted NAME@sha256:...")
    gh = shutil.which("gh")
    if gh is None:
        raise DeployError("there is no gh on PATH, which verifies attestations; https://cli.github.com has it.")
    said = ""
    for workflow in workflows:
        command = [gh, "attestation", "verify", f"oci://{image}", "--repo", repository, "--source-ref", MAIN]
        command += ["--signer-workflow", f"{repository}/.github/workflows/{workflow}", "--deny-self-hosted-runners"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        said = find_last_words(done.stderr or done.stdout)
    raise DeployError(
        f"{image} is not used: nobody signed that {' or '.join(workflows)} of {repository} made it on main ({said})."
    )


@click.command(cls=SentenceCommand)
@click.argument("image")
@click.option("--repository", required=True, help="OWNER/NAME on GitHub.")
def main(image: str, repository: str) -> None:
    """Fail unless the release workflow of REPOSITORY, on main, made IMAGE, a name by digest."""
    require_attestation(image, repository, MAKERS_OF_IMAGES)
    click.echo(f"{image} was made by the release of {repository}")


if __name__ == "__main__":
    main()
