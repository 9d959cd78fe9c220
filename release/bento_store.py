"""BentoML's store: the models that it keeps, and the Bentos that are built of them."""

import os
import subprocess
import sys
from pathlib import Path

import bentoml
from bentoml.exceptions import NotFound

from sentiment.bundle.bundle import Bundle, copy_bundle
from sentiment.environment import MODEL_TAG_VARIABLE
from sentiment.errors import DeployError, find_last_words
from sentiment.governance.signatures import PUBLIC_FOLDER, write_public_keys
from sentiment.model_name import BENTO
from sentiment.paths import CHECKOUT


def store_model(bundle: Bundle, tag: str) -> Path:
    """Copy the bundle into BentoML's model store under an exact tag, unless it is there; return its folder."""
    if folder := find_stored(tag):
        return folder
    labels = {"candidate": bundle.card.candidate, "dataset": bundle.card.dataset}
    with bentoml.models.create(tag, labels=labels, metadata={"digest": bundle.card.digest}) as model:
        copy_bundle(bundle, Path(model.path))
    return Path(bentoml.models.get(tag).path)


def remove_stored(tag: str) -> None:
    """Remove a model from BentoML's store."""
    bentoml.models.delete(tag)


def find_stored(tag: str) -> Path | None:
    """Return the folder of a model in BentoML's store, or None where it is not there."""
    try:
        return Path(bentoml.models.get(tag).path)
    except NotFound:
        return None


def has_bento(tag: str) -> bool:
    """Return whether a Bento is in the store."""
    try:
        bentoml.bentos.get(tag)
    except NotFound:
        return False
    return True


def build_bento(model_tag: str) -> None:
    """Build the Bento from `bentofile.yaml` with exactly this model inside, under the version of the model.

    Raises DeployError with the last words of the build when it fails.
    """
    version = model_tag.partition(":")[2]
    command = [sys.executable, "-m", "bentoml", "build", "--version", version, "--output", "tag"]
    if revision := find_revision():
        command += ["--label", f"revision={revision}"]
    command.append(str(CHECKOUT))
    environment = {**os.environ, MODEL_TAG_VARIABLE: model_tag}
    done = subprocess.run(command, env=environment, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DeployError(f"the Bento could not be built: {find_last_words(done.stderr or done.stdout)}.")
    carry_keys(f"{BENTO}:{version}")


def carry_keys(bento: str) -> None:
    """Put the public keys that this installation trusts into a Bento, so that it can tell whose model it has."""
    write_public_keys(Path(bentoml.bentos.get(bento).path) / PUBLIC_FOLDER)


def find_revision() -> str:
    """Return the commit of this checkout, with `-dirty` where files differ from it; empty without git."""
    return ask_git("describe", "--always", "--match=", "--abbrev=40", "--dirty")


def ask_git(*question: str) -> str:
    """Return what git says of this checkout; empty without git, or where it has no answer."""
    try:
        done = subprocess.run(["git", *question], cwd=CHECKOUT, capture_output=True, text=True, check=False)  # noqa: S607 - as PATH has it
    except FileNotFoundError:
        return ""
    return done.stdout.strip()
