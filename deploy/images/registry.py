"""`python -m deploy.images.registry`: push an image to a registry, tag it, resolve a tag to a digest.

Registries are asked through skopeo, with the credentials of `skopeo login`. A registry on this machine may speak plain
http, any other must not.
"""

import json
import re
import shutil
import subprocess
import tempfile
from hashlib import sha256
from pathlib import Path

import click

from deploy.cli_errors import say_in_one_sentence
from deploy.images.registries import DIGEST, LOOPBACK, REFUSED, REPOSITORY, UNREACHABLE
from sentiment.errors import DeployError, find_last_words

PLACE = re.compile(rf"{REPOSITORY}(?::(?P<tag>\w[\w.-]{{0,127}}))?(?:@(?P<digest>{DIGEST}))?")
EXAMPLE = "ghcr.io/owner/sentigate"
ABSENT = re.compile(r"manifest unknown|name unknown|not found", re.IGNORECASE)
MODEL_LABEL = "sentigate.model.version"
STORES = (("docker", "docker-daemon:"), ("podman", "containers-storage:"))


def push_image(image: str, repository: str, tag: str) -> str:
    """Push an image of this machine's engine; return its name by digest.

    Raises DeployError when there is no such image, or the tag names another one already.
    """
    target = f"{repository}:{tag}"
    _check(target, "tag")
    source = _find_image(image)
    if taken := find_digest(target):
        raise DeployError(f"{target} is {taken} already, and a tag of a release is given once; take another tag.")
    return f"{repository}@{copy(source, f'docker://{target}')}"


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
    copied = copy(f"docker://{image}", f"docker://{target}")
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
    copied = copy(f"docker://{image}", f"docker://{repository}:{tag}")
    if copied != digest:
        raise DeployError(f"{repository}:{tag} came out as {copied}, wanted {digest}; nothing may be deployed from it.")
    return f"{repository}@{digest}"


def find_digest(name: str) -> str | None:
    """Return the digest that a name in a registry stands for, or None where there is no such thing."""
    _check(name, "tag", "digest")
    try:
        raw = _run("inspect", "--raw", f"docker://{name}")
    except AbsentError:
        return None
    return f"sha256:{sha256(raw).hexdigest()}"


def read_model(image: str) -> str:
    """Return the version of the model in an image, such as 5-81d4da08a3a1. Raises DeployError when it has none."""
    _check(image, "tag", "digest")
    labels = (json.loads(_run("inspect", "--config", f"docker://{image}")).get("config") or {}).get("Labels") or {}
    if not (version := labels.get(MODEL_LABEL)):
        raise DeployError(f"{image} has no label {MODEL_LABEL}; wanted an image that `make image` built.")
    return str(version)


def copy(source: str, target: str) -> str:
    """Copy between two of skopeo's transports, nothing rewritten; return the digest there."""
    with tempfile.TemporaryDirectory() as folder:
        digest = Path(folder) / "digest"
        rewritten = source.startswith(("docker-daemon:", "containers-storage:"))  # layers there are not compressed
        kept = () if rewritten else ("--all", "--preserve-digests")
        _run("copy", "--quiet", "--retry-times", "2", *kept, "--digestfile", str(digest), source, target)
        return digest.read_text(encoding="ascii").strip()


class AbsentError(DeployError):
    """The registry has no such image."""


def _run(verb: str, *arguments: str) -> bytes:
    """Return what skopeo prints. Raises DeployError that says what the matter is, in a sentence."""
    skopeo = shutil.which("skopeo")
    if skopeo is None:
        raise DeployError("there is no skopeo on PATH, which speaks to registries; `apt-get install skopeo` has it.")
    places = [argument.removeprefix("docker://") for argument in arguments if argument.startswith("docker://")]
    plain = ["--tls-verify=false"] if verb != "copy" else ["--src-tls-verify=false", "--dest-tls-verify=false"]
    hosts = [place.partition("/")[0] for place in places]
    insecure = plain if all(map(LOOPBACK.fullmatch, hosts)) else []
    done = subprocess.run([skopeo, verb, *insecure, *arguments], capture_output=True, check=False)
    if done.returncode == 0:
        return done.stdout
    said = done.stderr.decode(errors="replace").strip()
    host = hosts[-1]
    if REFUSED.search(said):
        raise DeployError(f"{host} refuses: {_last_words(said)}; log in with `skopeo login {host}`.")
    if UNREACHABLE.search(said):
        raise DeployError(f"{host} cannot be reached: {_last_words(said)}.")
    if ABSENT.search(said):
        raise AbsentError(f"{host} has no {places[-1]}.")
    raise DeployError(f"skopeo {verb} failed: {_last_words(said)}.")


def _last_words(said: str) -> str:
    line = find_last_words(said)
    found = re.search(r'msg="(.*)"$', line)
    return (found[1] if found else line).replace('\\"', "'").rstrip(".")


def _find_image(image: str) -> str:
    """Return where skopeo finds an image that an engine of this machine built."""
    for engine, transport in STORES:
        if shutil.which(engine):
            command = [engine, "image", "inspect", image]
            if subprocess.run(command, capture_output=True, check=False).returncode == 0:
                is_short = engine == "podman" and "/" not in image
                return f"{transport}{'localhost/' if is_short else ''}{image}"
    raise DeployError(f"neither docker nor podman has an image {image}; `make image` builds one.")


def _check(name: str, *wanted: str) -> None:
    """Raise DeployError unless a name is one in a registry, with a tag or a digest as wanted."""
    found = PLACE.fullmatch(name)
    if not found or not any(found[part] for part in wanted):
        endings = {"tag": ":TAG", "digest": "@sha256:<64 hexadecimal digits>"}
        shown = " or ".join(EXAMPLE + endings[part] for part in wanted)
        raise DeployError(f"{name!r} names nothing in a registry; wanted for example {shown}.")


@click.group()
def main() -> None:
    """Images in a registry, by digest."""


@main.command()
@click.argument("image")
@click.argument("repository")
@click.argument("tag")
@say_in_one_sentence
def push(image: str, repository: str, tag: str) -> None:
    """Push IMAGE of this machine to REPOSITORY:TAG; print its name by digest."""
    click.echo(push_image(image, repository, tag))


@main.command("tag")
@click.argument("image")
@click.argument("tag")
@say_in_one_sentence
def add(image: str, tag: str) -> None:
    """Point TAG at IMAGE, a name by digest; print the digest that it stood for before, if any."""
    click.echo(add_tag(image, tag))


@main.command()
@click.argument("image")
@click.argument("repository")
@click.argument("tag")
@say_in_one_sentence
def mirror(image: str, repository: str, tag: str) -> None:
    """Copy IMAGE, a name by digest, to REPOSITORY:TAG; print its name there."""
    click.echo(mirror_image(image, repository, tag))


@main.command()
@click.argument("image")
@say_in_one_sentence
def model(image: str) -> None:
    """Print the version of the model in IMAGE."""
    click.echo(read_model(image))


@main.command()
@click.argument("name")
@say_in_one_sentence
def find(name: str) -> None:
    """Print the digest that NAME stands for; nothing where the registry has no such image."""
    click.echo(find_digest(name) or "")


if __name__ == "__main__":
    main()
