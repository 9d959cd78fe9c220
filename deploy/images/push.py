"""`python -m deploy.images.push`: push the image of a Bento to a registry, and report its digest there."""

import base64
import json
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import boto3
import click
from botocore.exceptions import BotoCoreError, ClientError

from deploy.cli_errors import say_in_one_sentence
from deploy.images.engines import Engine, find_engine
from deploy.images.registries import DIGEST, ECR, LOOPBACK, REFUSED, REPOSITORY, UNREACHABLE
from sentiment.errors import DeployError, find_last_words

EXAMPLE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/sentigate"
REFUSALS = (
    (re.compile(r"immutable", re.IGNORECASE), "has another image of this version already, and never replaces one"),
    (re.compile(r"(repository|name).*(does not exist|unknown|not known)", re.IGNORECASE), "has no such repository"),
    (REFUSED, "refuses: log in with `{engine} login {host}` as somebody who may push"),
    (UNREACHABLE, "cannot be reached: look at its name and at your network"),
)


@dataclass(frozen=True)
class Repository:
    """A place for images in a registry: its host, and the name there."""

    host: str
    name: str

    def __str__(self) -> str:
        return f"{self.host}/{self.name}"


def read_repository(place: str) -> Repository:
    """Return the repository of a name. Raises DeployError when it is none, or has a tag or digest to it."""
    found = re.fullmatch(REPOSITORY, place)
    if not found or not re.search(r"[.:]|^localhost$", found["host"]):
        seen = f"{place!r} is no repository of a registry" if place else "no registry is named"
        raise DeployError(f"{seen}; wanted REGISTRY=HOST/NAME, such as {EXAMPLE}.")
    return Repository(found["host"], found["name"])


def push_image(engine: Engine, image: str, repository: Repository) -> str:
    """Push an image under the tag of its version; return its name there by digest.

    Raises DeployError when there is no such image here, or the registry does not take it.
    """
    target = f"{repository}:{find_version(engine, image)}"
    with log_in(engine, repository.host), tempfile.TemporaryDirectory() as folder:
        try:
            if engine.name == "podman":
                file = Path(folder) / "digest"
                plain = ["--tls-verify=false"] if LOOPBACK.fullmatch(repository.host) else []
                engine.run("push", "--quiet", "--digestfile", str(file), *plain, image, f"docker://{target}")
                said = file.read_text(encoding="ascii")
            else:
                engine.run("tag", image, target)
                said = engine.run("push", target)
                engine.run("rmi", target)
        except DeployError as error:
            raise DeployError(say_refusal(engine, repository, target, str(error))) from error
    return f"{repository}@{re.findall(DIGEST, said)[-1]}"


def find_version(engine: Engine, image: str) -> str:
    """Return the tag of an image that is its version. Raises DeployError when there is no such image or tag."""
    try:
        described = json.loads(engine.run("image", "inspect", image))[0]
    except DeployError as error:
        raise DeployError(f"{engine.name} has no image {image!r}; build it with `make image`.") from error
    tags: set[str] = {name.rpartition(":")[2] for name in described.get("RepoTags") or []} - {"latest"}
    if len(tags) != 1:
        raise DeployError(
            f"{image!r} has the tags {', '.join(sorted(tags)) or 'latest alone'}; wanted one that is its version,"
            " as `make image` gives it: name the image by it, or build it again."
        )
    return tags.pop()


def say_refusal(engine: Engine, repository: Repository, target: str, said: str) -> str:
    """Return one sentence on why a registry did not take an image."""
    said = said.removeprefix("Error: ")
    for pattern, meaning in REFUSALS:
        if pattern.search(said):
            reason = meaning.format(engine=engine.name, host=repository.host)
            return f"{target} was not pushed: {repository.host} {reason} ({said})."
    return f"{target} was not pushed: {said}."


@contextmanager
def log_in(engine: Engine, host: str) -> Iterator[None]:
    """Log into a registry of ECR for as long as it takes; others are left as `docker login` has them."""
    if not (registry := re.fullmatch(ECR, host)):
        yield
        return
    try:
        answer = boto3.client("ecr", registry["region"]).get_authorization_token()
    except (BotoCoreError, ClientError) as error:
        raise DeployError(
            f"{host} gives no password: {find_last_words(str(error))}; look at your credentials."
        ) from error
    token = base64.b64decode(answer["authorizationData"][0]["authorizationToken"]).decode()
    user, _, password = token.partition(":")
    command = [engine.name, "login", "--username", user, "--password-stdin", host]
    done = subprocess.run(command, input=password, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DeployError(
            f"{engine.name} could not log into {host}: {find_last_words(done.stderr).removeprefix('Error: ')}."
        )
    try:
        yield
    finally:
        subprocess.run([engine.name, "logout", host], capture_output=True, check=False)


@click.command()
@click.argument("registry")
@click.option("--image", default="sentigate:latest", show_default=True, help="Image of this machine's engine.")
@say_in_one_sentence
def main(registry: str, image: str) -> None:
    """Push an image to REGISTRY, HOST/NAME, under the tag of its version; print its name by digest."""
    repository = read_repository(registry)
    engine = find_engine(among=("docker", "podman"))
    click.echo(push_image(engine, image, repository))


if __name__ == "__main__":
    main()
