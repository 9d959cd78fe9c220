"""`sentigate deploy aws`: deploy the service to AWS with Terraform, and destroy it.

`deploy/aws/terraform` describes what is made there; this module adds the checks that Terraform has no sentence for.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import click
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from deploy.cli_errors import SentenceGroup
from deploy.images.registry import DIGEST, ECR, find_version, push_image
from sentiment.errors import DeployError, describe_unknown, find_last_words
from sentiment.paths import CHECKOUT

TERRAFORM = CHECKOUT / "deploy" / "aws" / "terraform"
REPOSITORY = "sentigate"
IMAGE = re.compile(rf"{ECR}/(?P<name>[^@:]+)@(?P<digest>{DIGEST})")
REGION = re.compile(r'^\s*region\s*=\s*"([^"]*)"', re.MULTILINE)
PATIENCE = Config(connect_timeout=5, read_timeout=20, retries={"max_attempts": 2})
# Of the right form, for a destroy, which asks for every variable and uses none.
NO_IMAGE = f"{'0' * 12}.dkr.ecr.us-east-1.amazonaws.com/{REPOSITORY}@sha256:{'0' * 64}"


@dataclass(frozen=True)
class Target:
    """One deployment: its name, what its file says about the region, and where Terraform's files are."""

    environment: str
    region: str
    folder: Path

    @property
    def variables(self) -> Path:
        return self.folder / f"{self.environment}.tfvars"

    @property
    def name(self) -> str:
        """What everything of it is called at AWS."""
        return f"{REPOSITORY}-{self.environment}"

    def call(self, service: str) -> Any:
        """Return a client of an AWS service in its region."""
        return boto3.client(service, region_name=self.region, config=PATIENCE)

    def terraform(self, *arguments: str, folder: Path | None = None) -> None:
        """Run Terraform, which talks to the user itself. Raises DeployError when it fails."""
        command = ["terraform", f"-chdir={folder or self.folder}", *arguments]
        environment = {name: value for name, value in os.environ.items() if name != "TF_WORKSPACE"}
        if subprocess.run(command, env=environment, check=False).returncode:
            raise DeployError(
                f"terraform {arguments[0]} ended with an error, which stands above; mend it and run the same command"
                " again: Terraform goes on where it stopped."
            )

    def open_state(self, workspace: str, folder: Path | None = None) -> None:
        """Fetch the provider, and take the state of an environment, or of a region's registry."""
        self.terraform("init", "-input=false", folder=folder)
        self.terraform("workspace", "select", "-or-create", workspace, folder=folder)


def find_target(environment: str, folder: Path) -> Target:
    """Return the deployment of an environment, once all that it needs is there.

    Raises DeployError without Terraform, without its file of variables, with a region that AWS does not have, or with
    credentials that AWS does not take.
    """
    if shutil.which("terraform") is None:
        raise DeployError(
            "there is no terraform on PATH; install 1.11 or later, see developer.hashicorp.com/terraform."
        )
    variables = folder / f"{environment}.tfvars"
    if not variables.is_file():
        raise DeployError(
            f"{variables} does not exist; copy production.tfvars.example beside it and say there what you want."
        )
    if not (found := REGION.search(variables.read_text(encoding="utf-8"))):
        raise DeployError(f'{variables} names no region; add a line such as region = "us-east-1".')
    known = boto3.Session(region_name="us-east-1").get_available_regions("ec2")
    if found[1] not in known:
        raise DeployError(f"{variables}: {describe_unknown('region', found[1], known)}")
    target = Target(environment, found[1], folder)
    try:
        target.call("sts").get_caller_identity()
    except (BotoCoreError, ClientError) as error:
        raise DeployError(
            f"AWS does not know who asks in {target.region}: {find_last_words(str(error))}; log in with"
            " `aws sso login`, or set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        ) from error
    return target


def require_pushed(target: Target, image: str) -> None:
    """Raise DeployError unless an image is named by digest and lies in ECR."""
    found = IMAGE.fullmatch(image)
    if not found:
        raise DeployError(f"IMAGE={image} names no image of ECR by digest; wanted it as `make push` reports it.")
    client = boto3.client("ecr", region_name=found["region"], config=PATIENCE)
    try:
        client.describe_images(
            registryId=found["account"], repositoryName=found["name"], imageIds=[{"imageDigest": found["digest"]}]
        )
    except (client.exceptions.ImageNotFoundException, client.exceptions.RepositoryNotFoundException) as error:
        raise DeployError(
            f"{image} is not in ECR; push it with `make push REGISTRY={image.partition('@')[0]}`, or leave IMAGE out,"
            f" and {target.name} gets the image of the model in production."
        ) from error
    except (BotoCoreError, ClientError) as error:
        raise DeployError(f"ECR does not say whether it has {image}: {find_last_words(str(error))}.") from error


@contextmanager
def translate_errors(service: str, target: Target) -> Iterator[None]:
    """Say in a DeployError which service of AWS does not answer, and why."""
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise DeployError(f"{service} does not answer in {target.region}: {find_last_words(str(error))}.") from error


def find_registry(target: Target) -> str | None:
    """Return the repository for images in the region, or None where there is none yet."""
    client = target.call("ecr")
    with translate_errors("ECR", target), suppress(client.exceptions.RepositoryNotFoundException):
        found = client.describe_repositories(repositoryNames=[REPOSITORY])
        return str(found["repositories"][0]["repositoryUri"])
    return None


def find_pushed(target: Target, version: str) -> str | None:
    """Return the digest of a version in the registry, whose tags never move, or None."""
    client = target.call("ecr")
    with translate_errors("ECR", target), suppress(client.exceptions.ImageNotFoundException):
        found = client.describe_images(repositoryName=REPOSITORY, imageIds=[{"imageTag": version}])
        return str(found["imageDetails"][0]["imageDigest"])
    return None


def find_running(target: Target) -> str | None:
    """Return the image that a deployment was told to run last, or None."""
    client = target.call("ssm")
    with translate_errors("Parameter Store", target), suppress(client.exceptions.ParameterNotFound):
        return str(client.get_parameter(Name=f"/{target.name}/image")["Parameter"]["Value"])
    return None


def require_unprotected(target: Target) -> None:
    """Raise DeployError when the database refuses to be destroyed, before anything else is."""
    client = target.call("rds")
    with translate_errors("RDS", target), suppress(client.exceptions.DBInstanceNotFoundFault):
        found = client.describe_db_instances(DBInstanceIdentifier=target.name)["DBInstances"]
        if found[0]["DeletionProtection"]:
            raise DeployError(
                f"the database {target.name} is protected, nothing was destroyed; set protect_database = false in"
                f" {target.variables}, deploy that, and try again: then its rows and backups go, too."
            )


@click.group(cls=SentenceGroup)
@click.option("--environment", default="production", show_default=True, help="Which deployment.")
@click.option("--yes", is_flag=True, help="Do not ask before anything is changed.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=TERRAFORM,
    show_default=True,
    help="Where Terraform's files are.",
)
@click.pass_context
def main(context: click.Context, environment: str, yes: bool, folder: Path) -> None:
    """Run the service on AWS."""
    context.obj = partial(find_target, environment, folder.resolve())
    context.meta["answers"] = ["-auto-approve"] if yes else []


@main.command("apply")
@click.option("--image", help="Image in ECR by digest; by default the one of the model in production, pushed first.")
@click.pass_context
def deploy(context: click.Context, image: str | None) -> None:
    """Make what is missing, change what differs, and run the image."""
    answers = context.meta["answers"]
    target = context.obj()
    if image:
        require_pushed(target, image)
    else:
        image = _push(target, answers)
    before = find_running(target)
    target.open_state(target.environment)
    chosen = [f"-var-file={target.variables}", f"-var=environment={target.environment}", f"-var=image={image}"]
    target.terraform("apply", *answers, *chosen)
    if before and before != image:
        click.echo(f"\nthe way back: make deploy-aws ENVIRONMENT={target.environment} IMAGE={before}")


@main.command()
@click.option("--with-images", is_flag=True, help="The registry of the region and all images in it, too.")
@click.pass_context
def destroy(context: click.Context, with_images: bool) -> None:
    """Take everything of a deployment away, its rows included."""
    answers = context.meta["answers"]
    target = context.obj()
    require_unprotected(target)
    target.open_state(target.environment)
    chosen = [f"-var-file={target.variables}", f"-var=environment={target.environment}", f"-var=image={NO_IMAGE}"]
    target.terraform("destroy", *answers, *chosen)
    if with_images:
        _run_registry(target, "destroy", answers)
    elif registry := find_registry(target):
        click.echo(f"\nthe images stay in {registry}; make destroy-aws WITH_IMAGES=yes takes them away, too.")


def _push(target: Target, answers: Sequence[str]) -> str:
    """Push the image of the model in production to a registry that is made where there is none."""
    local = f"{REPOSITORY}:latest"
    version = find_version(local)
    registry = find_registry(target)
    if registry is None:
        _run_registry(target, "apply", answers)
        registry = find_registry(target)
    if registry is None:
        raise DeployError(f"there is no registry {REPOSITORY} in {target.region} yet; run the same command again.")
    if pushed := find_pushed(target, version):
        click.echo(f"version {version} is in the registry already, and is not pushed again")
        return f"{registry}@{pushed}"
    image = push_image(local, registry)
    click.echo(f"pushed {image}")
    return image


def _run_registry(target: Target, verb: str, answers: Sequence[str]) -> None:
    folder = target.folder / "registry"
    target.open_state(target.region, folder)
    target.terraform(verb, *answers, f"-var=region={target.region}", folder=folder)
