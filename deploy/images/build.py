"""`sentigate image`: the container image of a Bento, by BentoML and the engine of this machine."""

import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import bentoml
import click
from bentoml.exceptions import BentoMLException

from deploy.cli_errors import SentenceCommand
from deploy.images.engines import ENGINES, Engine, find_engine
from release.bento_store import ask_git, carry_keys
from sentiment.errors import DeployError, find_last_words
from sentiment.governance.admission import admit_bundle
from sentiment.model_name import BENTO
from sentiment.paths import locate_state
from sentiment.production_pointer import ProductionPointer

BASE_TAG = "python:3.11-slim-bookworm"
BASE_IMAGE = f"{BASE_TAG}@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b"
# https://github.com/bentoml/BentoML/blob/v1.4.39/src/bentoml/_internal/container/__init__.py#L204
TEMPLATE = "env/docker/Dockerfile.template"
MEGABYTE = 1e6
SCP_LIKE = re.compile(r"git@([^:/]+):(.+?)(?:\.git)?$")
WEB = re.compile(r"https://(?:[^@/]+@)?(.+?)(?:\.git)?$")
MISTAKE = re.compile(r"\b(?:ERROR|Error|error): (?!subprocess-exited)(.+)")
# https://github.com/bentoml/BentoML/blob/v1.4.39/src/bentoml/_internal/container/__init__.py#L309
OWN_WORDS = "Encountered exception while"


@dataclass(frozen=True)
class BuiltBento:
    """A Bento of BentoML's store, and the model in it."""

    version: str
    model_version: str
    model_digest: str
    revision: str

    @property
    def tag(self) -> str:
        return f"{BENTO}:{self.version}"


def find_bento(wanted: str | None) -> BuiltBento:
    """Return the Bento of a version, such as 3 or 3-7dfa72db3c90; without one, that of the model in production.

    Raises DeployError when there is none, or it has no image of its own, PromotionError when its model never passed.
    """
    version = _find_version(wanted) if wanted else find_production_version()
    if version is None:
        raise DeployError(
            "no model is in production in this checkout; train one with `make train`, or name a version of"
            f" `bentoml list {BENTO}`, for example VERSION=3."
        )
    tag = f"{BENTO}:{version}"
    again = f"`source .venv/bin/activate && SENTIMENT_MODEL_TAG=sentiment:{version} bentoml build --version {version}`"
    try:
        bento = bentoml.get(tag)
    except BentoMLException as error:
        raise DeployError(f"BentoML's store has no {tag}; build it again with {again}.") from error
    if not Path(bento.path, TEMPLATE).is_file():
        raise DeployError(
            f"{tag} was built before Bentos had a Dockerfile; remove it with `bentoml delete {tag}`,"
            f" and build it again with {again}."
        )
    (service,) = bento.info.services
    (model,) = service.models
    bundle = admit_bundle(Path(bentoml.models.get(model.tag).path)).bundle
    carry_keys(tag)
    return BuiltBento(version, str(model.tag.version), bundle.card.digest, bento.info.labels.get("revision", ""))


def find_production_version() -> str | None:
    """Return the version that the pointer to production names, or None; its Bento need not be there.

    Raises PointerError when the pointer is damaged.
    """
    pointer = ProductionPointer.read(locate_state().production)
    return pointer.version if pointer else None


def _find_version(wanted: str) -> str:
    stored = [str(bento.tag.version) for bento in bentoml.list() if bento.tag.name == BENTO]  # none of a name raises
    found = [version for version in stored if version == wanted or version.startswith(f"{wanted}-")]
    if len(found) != 1:
        raise DeployError(
            f"BentoML's store has {len(found)} Bentos of version {wanted!r};"
            f" wanted one of {', '.join(sorted(stored)) or 'those that `make train` builds, it has none yet'}."
        )
    return found[0]


def list_labels(bento: BuiltBento, base: str, base_digest: str, source: str) -> dict[str, str]:
    """Return the labels of the image, those that have a value."""
    labels = {
        "org.opencontainers.image.title": BENTO,
        "org.opencontainers.image.version": bento.version,
        "org.opencontainers.image.created": datetime.now(UTC).isoformat(timespec="seconds"),
        "org.opencontainers.image.revision": bento.revision,
        "org.opencontainers.image.source": source,
        "org.opencontainers.image.base.name": base.partition("@")[0],
        "org.opencontainers.image.base.digest": base_digest or base.partition("@")[2],
        f"{BENTO}.model.version": bento.model_version,
        f"{BENTO}.model.digest": bento.model_digest,
    }
    return {name: value for name, value in labels.items() if value}


def read_source(address: str) -> str:
    """Return where people find the repository that git fetches from, without a password; empty for a local one."""
    if found := SCP_LIKE.match(address):
        return f"https://{found[1]}/{found[2]}"
    return f"https://{found[1]}" if (found := WEB.match(address)) else ""


def containerize(engine: Engine, bento: BuiltBento, base: str, names: list[str], labels: dict[str, str]) -> None:
    """Build the image of a Bento under these names. Raises DeployError with the reason when that fails."""
    command = [sys.executable, "-m", "bentoml", "containerize", bento.tag, "--backend", engine.name]
    for name in names:
        command += ["--image-tag", name]
    for label, value in labels.items():
        command += ["--opt", f"label={label}={value}"]
    command += ["--opt", f"build-arg=BASE_IMAGE={base}"]
    if index := os.environ.get("PIP_INDEX_URL"):
        command += ["--opt", f"build-arg=PIP_INDEX_URL={index}"]
    log = locate_state().folder / "image.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    # BentoML refuses a template outside its working folder, and unpacks the Bento's own into TMPDIR
    # (github.com/bentoml/BentoML/issues/5566). OCI's own format has no HEALTHCHECK.
    with tempfile.TemporaryDirectory() as scratch, log.open("w+", encoding="utf-8") as said:
        environment = {**os.environ, "TMPDIR": scratch, "BUILDAH_FORMAT": "docker", "COLUMNS": "1000"}
        done = subprocess.run(command, cwd=scratch, env=environment, stdout=said, stderr=said, check=False)
        said.seek(0)
        if done.returncode:
            raise DeployError(f"the image was not built: {find_mistake(said.read())}; all that was said is in {log}.")


def find_mistake(output: str) -> str:
    """Return the first line of a build that says what went wrong, else its last words."""
    mistakes = [found[1].strip().rstrip(".") for found in MISTAKE.finditer(output) if OWN_WORDS not in found[1]]
    return mistakes[0] if mistakes else find_last_words(output)


@click.command(cls=SentenceCommand)
@click.option("--version", help="Version of the Bento, such as 3; by default the one in production.")
@click.option("--backend", type=click.Choice(["auto", *ENGINES]), default="auto", show_default=True, help="Engine.")
@click.option("--base", envvar="BASE_IMAGE", default=BASE_IMAGE, show_default=True, help="Base image, best by digest.")
@click.option("--name", default=BENTO, show_default=True, help="Name of the image, with its registry if it has one.")
def main(version: str | None, backend: str, base: str, name: str) -> None:
    """Build the container image of a Bento; that of the model in production is `latest`, too."""
    bento = find_bento(version)
    engine = find_engine(backend)
    for reason in engine.passed_over:
        click.echo(f"passed over {reason}", err=True)
    base_image = engine.fetch_image(base)
    names = [f"{name}:{bento.version}"]
    if bento.version == find_production_version():
        names.append(f"{name}:latest")
    click.echo(f"building {names[0]} with {engine.name}, a minute where nothing is cached", err=True)
    source = read_source(ask_git("config", "--get", "remote.origin.url"))
    labels = list_labels(bento, base, base_image.digest, source)
    containerize(engine, bento, base, names, labels)
    image = engine.find_image(names[0])
    if image is None:
        raise click.ClickException(f"{engine.name} says that it built {names[0]}, and does not have it; try again.")
    size, added = image.size_bytes / MEGABYTE, (image.size_bytes - base_image.size_bytes) / MEGABYTE
    click.echo(f"{' and '.join(names)}: {size:.0f} MB, {added:.0f} MB on top of {base.partition('@')[0]}")
