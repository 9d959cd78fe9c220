"""Images in registries: push, tag, copy, resolve a tag to a digest; for CI `python -m deploy.images.registry`.

skopeo speaks to the registries, with the credentials of `skopeo login`, `docker login` or `podman login`; ECR's it gets
from AWS. A registry on this machine may speak plain http, any other must not.
"""

import json
import re
import shutil
import subprocess
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import boto3
import click
from botocore.exceptions import BotoCoreError, ClientError

from deploy.cli_errors import SentenceGroup
from deploy.images.engines import Engine
from sentiment.errors import DeployError, find_last_words

REPOSITORY = r"(?P<host>[a-z0-9.-]+(?::\d+)?)/(?P<name>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)"
DIGEST = r"sha256:[0-9a-f]{64}"
ECR = r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com"
PLACE = re.compile(rf"{REPOSITORY}(?::(?P<tag>\w[\w.-]{{0,127}}))?(?:@(?P<digest>{DIGEST}))?")
LOOPBACK = re.compile(r"(localhost|127\.\d+\.\d+\.\d+)(:\d+)?")
EXAMPLE = "ghcr.io/owner/sentigate"
MODEL_LABEL = "sentigate.model.version"
DOCKER = "docker://"
# skopeo ends with 1 for every one of these; its words come from the registry, by the codes of the OCI distribution
# specification: https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#error-codes
REFUSED = re.compile(r"unauthorized|denied|forbidden|authentication required|no basic auth", re.IGNORECASE)
UNREACHABLE = re.compile(r"no such host|refused|timeout|timed out|unreachable", re.IGNORECASE)
ABSENT = re.compile(r"manifest unknown|name unknown|not found", re.IGNORECASE)
IMMUTABLE = re.compile(r"immutable", re.IGNORECASE)


def push_image(image: str, repository: str, tag: str = "") -> str:
    """Push an image of this machine's engine, by default under the tag of its version; return its name by digest.

    Raises DeployError when there is no such image, or `tag` is given and names another one already.
    """
    check_repository(repository)
    engine, described = _find_image(image)
    target = f"{repository}:{tag or read_version(image, described)}"
    _check(target, "tag")
    if tag and (taken := find_digest(target)):
        raise DeployError(f"{target} is {taken} already, and a tag of a release is given once; take another tag.")
    with tempfile.TemporaryDirectory() as folder:
        if engine.name == "podman":
            source = f"containers-storage:{described['Id']}"
        else:  # not by docker-daemon: skopeo 1.9 of Debian asks for an API that Docker 29 has no more
            source = f"docker-archive:{folder}/image.tar"
            engine.run("save", "--output", f"{folder}/image.tar", image)
        return f"{repository}@{copy(source, f'{DOCKER}{target}')}"


def find_version(image: str) -> str:
    """Return the version of an image of this machine's engine. Raises DeployError when there is none."""
    return read_version(image, _find_image(image)[1])


def read_version(image: str, described: dict[str, Any]) -> str:
    """Return the tag of an image that is its version. Raises DeployError when it has none, or several."""
    tags: set[str] = {name.rpartition(":")[2] for name in described.get("RepoTags") or []} - {"latest"}
    if len(tags) != 1:
        raise DeployError(
            f"{image!r} has the tags {', '.join(sorted(tags)) or 'latest alone'}; wanted one that is its version,"
            " as `make image` gives it: name the image by it, or build it again."
        )
    return tags.pop()


def add_tag(image: str, tag: str) -> str:
    """Point a tag at an image that is named by digest; return what it named before, or nothing.

    Raises DeployError when the registry has no such image.
    """
    _check(image, "digest")
    repository, _, digest = image.partition("@")
    target = f"{repository}:{tag}"
    _check(target, "tag")
    before = find_digest(target) or ""
    if find_digest(image) is None:
        raise DeployError(f"the registry has no {image}; push it first.")
    copied = copy(f"{DOCKER}{image}", f"{DOCKER}{target}")
    if copied != digest or find_digest(target) != digest:
        raise DeployError(f"{target} came out as {copied}, wanted {digest}; the registry rewrites what it is given.")
    return before


def mirror_image(image: str, repository: str, tag: str) -> str:
    """Copy an image that is named by digest to another registry; return its name there, with the same digest."""
    _check(image, "digest")
    _check(f"{repository}:{tag}", "tag")
    digest = image.partition("@")[2]
    if find_digest(f"{repository}:{tag}") == digest:
        return f"{repository}@{digest}"  # a registry whose tags never move would refuse it
    copied = copy(f"{DOCKER}{image}", f"{DOCKER}{repository}:{tag}")
    if copied != digest:
        raise DeployError(f"{repository}:{tag} came out as {copied}, wanted {digest}; nothing may be deployed from it.")
    return f"{repository}@{digest}"


def find_digest(name: str) -> str | None:
    """Return the digest that a name in a registry stands for, or None where there is no such thing."""
    _check(name, "tag", "digest")
    try:
        raw = _run("inspect", "--raw", f"{DOCKER}{name}")
    except AbsentError:
        return None
    return f"sha256:{sha256(raw).hexdigest()}"


def read_model(image: str) -> str:
    """Return the version of the model in an image, such as 5-81d4da08a3a1. Raises DeployError when it has none."""
    _check(image, "tag", "digest")
    labels = (json.loads(_run("inspect", "--config", f"{DOCKER}{image}")).get("config") or {}).get("Labels") or {}
    if not (version := labels.get(MODEL_LABEL)):
        raise DeployError(f"{image} has no label {MODEL_LABEL}; wanted an image that `make image` built.")
    return str(version)


def copy(source: str, target: str) -> str:
    """Copy between two of skopeo's transports, nothing rewritten; return the digest there."""
    with tempfile.TemporaryDirectory() as folder:
        digest = Path(folder) / "digest"
        rewritten = source.startswith(("docker-archive:", "containers-storage:"))  # layers there are not compressed
        kept = () if rewritten else ("--all", "--preserve-digests")
        _run("copy", "--quiet", "--retry-times", "2", *kept, "--digestfile", str(digest), source, target)
        return digest.read_text(encoding="ascii").strip()


def check_repository(place: str) -> None:
    """Raise DeployError unless a name is that of a repository, with its registry and without tag or digest."""
    found = re.fullmatch(REPOSITORY, place)
    if not found or not re.search(r"[.:]|^localhost$", found["host"]):
        seen = f"{place!r} is no repository of a registry" if place else "no registry is named"
        raise DeployError(f"{seen}; wanted REGISTRY=HOST/NAME, such as {EXAMPLE}.")


class AbsentError(DeployError):
    """The registry has no such image."""


def _run(verb: str, *arguments: str) -> bytes:
    """Return what skopeo prints. Raises DeployError that says what the matter is, in a sentence."""
    skopeo = shutil.which("skopeo")
    if skopeo is None:
        raise DeployError("there is no skopeo on PATH, which speaks to registries; `apt-get install skopeo` has it.")
    sides = ("src-", "dest-") if verb == "copy" else ("",)
    with tempfile.TemporaryDirectory() as folder:
        options: list[str] = []
        for side, place in zip(sides, arguments[-len(sides) :], strict=True):
            host = _read_host(place)
            if LOOPBACK.fullmatch(host):
                options.append(f"--{side}tls-verify=false")
            elif registry := re.fullmatch(ECR, host):
                options.append(f"--{side}authfile={_write_login(host, registry['region'], Path(folder))}")
        done = subprocess.run([skopeo, verb, *options, *arguments], capture_output=True, check=False)
    if done.returncode:
        raise read_refusal(verb, arguments[-1], done.stderr.decode(errors="replace"))
    return done.stdout


def read_refusal(verb: str, place: str, said: str) -> DeployError:
    """Return an error of one sentence on why skopeo failed; a registry that has no such image is an AbsentError."""
    name, host = place.removeprefix(DOCKER), _read_host(place)
    line = find_last_words(said)
    quoted = re.search(r'msg="(.*)"$', line)
    why = (quoted[1] if quoted else line).replace('\\"', "'").rstrip(".")
    if IMMUTABLE.search(said):
        return DeployError(f"{host} has another image as {name} already, and never replaces one: {why}.")
    if REFUSED.search(said):
        return DeployError(f"{host} refuses: {why}; log in with `skopeo login {host}` as somebody who may do this.")
    if UNREACHABLE.search(said):
        return DeployError(f"{host} cannot be reached: {why}; look at its name and at your network.")
    if ABSENT.search(said):
        return AbsentError(f"there is no {name}, or {host} has no such repository: {why}.")
    return DeployError(f"skopeo {verb} failed: {why}.")


def _read_host(place: str) -> str:
    return place.removeprefix(DOCKER).partition("/")[0] if place.startswith(DOCKER) else ""


def _write_login(host: str, region: str, folder: Path) -> Path:
    """Write the password that ECR gives for half a day into a file for skopeo; logins of the user stay as they are."""
    try:
        answer = boto3.client("ecr", region).get_authorization_token()
    except (BotoCoreError, ClientError) as error:
        raise DeployError(
            f"{host} gives no password: {find_last_words(str(error))}; look at your credentials."
        ) from error
    file = folder / host
    file.touch(mode=0o600)
    file.write_text(json.dumps({"auths": {host: {"auth": answer["authorizationData"][0]["authorizationToken"]}}}))
    return file


def _find_image(image: str) -> tuple[Engine, dict[str, Any]]:
    """Return the engine of this machine that built an image, and what it says of that."""
    for name in ("docker", "podman"):
        if shutil.which(name):
            try:
                return Engine(name), json.loads(Engine(name).run("image", "inspect", image))[0]
            except DeployError:
                continue
    raise DeployError(f"neither docker nor podman has an image {image}; `make image` builds one.")


def _check(name: str, *wanted: str) -> None:
    """Raise DeployError unless a name is one in a registry, with a tag or a digest as wanted."""
    found = PLACE.fullmatch(name)
    if not found or not any(found[part] for part in wanted):
        endings = {"tag": ":TAG", "digest": "@sha256:<64 hexadecimal digits>"}
        shown = " or ".join(EXAMPLE + endings[part] for part in wanted)
        raise DeployError(f"{name!r} names nothing in a registry; wanted for example {shown}.")


@click.group(cls=SentenceGroup)
def main() -> None:
    """Images in a registry, by digest."""


@main.command()
@click.argument("repository")
@click.option("--image", default="sentigate:latest", show_default=True, help="Image of this machine's engine.")
@click.option("--tag", default="", help="A tag that is not taken; by default the version of the image.")
def push(repository: str, image: str, tag: str) -> None:
    """Push an image of this machine to REPOSITORY, as HOST/NAME; print its name by digest."""
    click.echo(push_image(image, repository, tag))


@main.command()
@click.argument("image")
@click.argument("repository")
@click.argument("tag")
def mirror(image: str, repository: str, tag: str) -> None:
    """Copy IMAGE, a name by digest, to REPOSITORY:TAG; print its name there."""
    click.echo(mirror_image(image, repository, tag))


@main.command()
@click.argument("image")
def model(image: str) -> None:
    """Print the version of the model in IMAGE."""
    click.echo(read_model(image))


if __name__ == "__main__":
    main()
