"""`python -m deploy.ci.delivery`: deploy an image to an environment, smoke-test it, roll back if the test fails.

A script in `deploy/ci/targets` performs the deployment. A tag in the registry, named after the environment, records
what runs there. It moves to the image once its smoke test passed.
"""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from deploy.cli_errors import SentenceGroup
from deploy.images.attestations import MAKERS_OF_IMAGES, require_attestation
from deploy.images.registry import add_tag, find_digest
from sentiment.errors import DeployError, describe_unknown
from sentiment.paths import CHECKOUT

TARGETS = Path(__file__).with_name("targets")
SMOKE = CHECKOUT / "deploy" / "smoke.py"
BEFORE = "-before"


@dataclass(frozen=True)
class Delivery:
    """Where an image goes: a target's script, an environment, the options of its smoke test, whose release it is."""

    script: Path
    environment: str
    smoke_options: Sequence[str]
    attested_by: str = ""

    def deliver(self, image: str, model: Sequence[str] = ()) -> None:
        """Bring an image, named by digest, into the environment; what ran before comes back where it is not sound.

        Raises DeployError that says what runs now.
        """
        self._require_release(image)
        repository = image.partition("@")[0]
        before = find_digest(f"{repository}:{self.environment}")
        try:
            self._apply(image)
            self._test(model)
        except DeployError as error:
            raise DeployError(f"{error} {self._take_back(repository, before)}") from error
        replaced = add_tag(image, self.environment)
        if replaced and replaced != image.partition("@")[2]:
            add_tag(f"{repository}@{replaced}", f"{self.environment}{BEFORE}")

    def _require_release(self, image: str) -> None:
        if self.attested_by:
            require_attestation(image, self.attested_by, MAKERS_OF_IMAGES)

    def _apply(self, image: str) -> None:
        if subprocess.run([self.script, self.environment, image], cwd=CHECKOUT, check=False).returncode:
            raise DeployError(f"{image} could not be brought to {self.environment}.")

    def _test(self, model: Sequence[str] = ()) -> None:
        command = [sys.executable, str(SMOKE), *self.smoke_options, *model]
        if subprocess.run(command, cwd=CHECKOUT, check=False).returncode:
            raise DeployError(f"what answers in {self.environment} did not pass its smoke test.")

    def _take_back(self, repository: str, before: str | None) -> str:
        """Return a sentence on what became of the attempt."""
        if before is None:
            return f"Nothing is known to have run in {self.environment} before; look there."
        try:
            self._require_release(f"{repository}@{before}")
            self._apply(f"{repository}@{before}")
            self._test()
        except DeployError as error:
            return f"What ran before, {before}, did not come back: {str(error).rstrip('.')}. Look there at once."
        return f"What ran before, {before}, runs again and passed its smoke test."


def find_script(target: str) -> Path:
    """Return the script of a target. Raises DeployError when there is none."""
    known = sorted(path.stem for path in TARGETS.glob("*.sh"))
    if target not in known:
        raise DeployError(describe_unknown("target", target, known))
    return TARGETS / f"{target}.sh"


def find_before(repository: str, environment: str) -> str:
    """Return the image that ran in an environment before the one that does. Raises DeployError when there is none."""
    digest = find_digest(f"{repository}:{environment}{BEFORE}")
    if digest is None:
        raise DeployError(f"{repository} knows of no image that ran in {environment} before; name one by its digest.")
    return f"{repository}@{digest}"


@click.group(cls=SentenceGroup)
def main() -> None:
    """Bring an image into an environment."""


@main.command()
@click.argument("image")
@click.option("--target", required=True, help="A script of deploy/ci/targets, such as kubernetes.")
@click.option("--environment", required=True, help="Such as staging or production.")
@click.option("--url", required=True, help="Where it answers.")
@click.option("--key-file", default="", help="File with a key for the smoke test.")
@click.option("--attested-by", default="", help="OWNER/NAME on GitHub, whose release must have made each image.")
@click.option("--version", default="", help="Model version that must answer.")
@click.option("--digest", default="", help="Digest of the model that must answer.")
@click.argument("smoke", nargs=-1, type=click.UNPROCESSED)
def deliver(
    image: str,
    target: str,
    environment: str,
    url: str,
    key_file: str,
    attested_by: str,
    version: str,
    digest: str,
    smoke: tuple[str, ...],
) -> None:
    """Bring IMAGE, a name by digest, into an environment and ask it; after -- more options of the smoke test."""
    smoke_options = [url, "--key-file", key_file, *smoke]
    delivery = Delivery(find_script(target), environment, smoke_options, attested_by)
    delivery.deliver(image, ["--version", version, "--digest", digest])
    click.echo(f"{image} runs in {environment}")


@main.command()
@click.argument("repository")
@click.option("--environment", required=True, help="Such as production.")
def before(repository: str, environment: str) -> None:
    """Print the image that ran in an environment before the one that does."""
    click.echo(find_before(repository, environment))


if __name__ == "__main__":
    main()
