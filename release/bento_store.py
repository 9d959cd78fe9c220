"""From a bundle to a Bento that has answered: store, build, smoke-test, each in a process of its own."""

import logging
import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import bentoml
from bentoml.exceptions import NotFound

from sentigate_client import SentigateClient, SentigateError
from sentiment.bundle.bundle import Bundle, copy_bundle
from sentiment.bundle.trial import Patience, try_bundle
from sentiment.bundle.verify import SMOKE_TEXT
from sentiment.environment import MODEL_TAG_VARIABLE
from sentiment.errors import BundleError, DeployError, find_last_words
from sentiment.governance.signatures import PUBLIC_FOLDER, write_public_keys
from sentiment.model_name import BENTO
from sentiment.paths import CHECKOUT

READY_SECONDS = 60.0
ANSWER_SECONDS = 10.0
TRIAL_SECONDS = 120.0

logger = logging.getLogger(__name__)


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


def try_model(folder: Path, digest: str) -> None:
    """Open a stored model in a process of its own, warm it and ask it. Raises DeployError when it is not sound."""
    try:
        found, answer = try_bundle(folder, Patience(time.monotonic() + TRIAL_SECONDS))
    except BundleError as error:
        raise DeployError(f"the model does not answer: {error}") from error
    if found != digest:
        raise DeployError(f"the model in {folder} is {found[:12]}, wanted {digest[:12]}.")
    logger.info("test load: %r is %s", SMOKE_TEXT, answer)


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


def smoke_test(bento_tag: str, digest: str) -> None:
    """Serve the built Bento from another folder, on loopback and a free port, and ask it a question.

    Raises DeployError when it does not answer from the model with this digest.
    """
    port = find_free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "bentoml", "serve", bento_tag, "--host", "127.0.0.1", "--port", str(port)]
    environment = {key: value for key, value in os.environ.items() if key not in {MODEL_TAG_VARIABLE, "PYTHONPATH"}}
    environment |= {"SENTIMENT_LOG_PREDICTIONS": "false", "SENTIMENT_REQUIRE_SIGNATURE": "true"}
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "serve.log").open("w+") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT, text=True
        )
        try:
            wait_until_ready(url, process)
            with SentigateClient(url, api_key="", timeout_seconds=ANSWER_SECONDS) as client:
                answered = client.predict(SMOKE_TEXT)
        except (SentigateError, TimeoutError) as error:
            log.seek(0)
            raise DeployError(
                f"{bento_tag} did not answer its smoke test: {error}; {find_last_words(log.read())}."
            ) from error
        finally:
            process.terminate()
            process.wait(timeout=30)
    if answered.model_digest != digest:
        raise DeployError(
            f"{bento_tag} answered from the model {answered.model_digest[:12]}, wanted {digest[:12]};"
            " remove the Bento with `bentoml delete` and build it again."
        )
    logger.info("smoke test: %r is %s (%.2f)", SMOKE_TEXT, answered.label, answered.confidence)


def find_free_port() -> int:
    """Return a port on loopback that nobody listens on."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until_ready(url: str, process: "subprocess.Popen[Any]") -> None:
    """Return when the service answers its readiness probe.

    Raises TimeoutError when it ends before, or is not ready within a minute.
    """
    deadline = time.monotonic() + READY_SECONDS
    with SentigateClient(url, api_key="", timeout_seconds=ANSWER_SECONDS) as client:
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise TimeoutError(f"the server ended with exit code {process.returncode}")
            with suppress(SentigateError):
                if client.ready():
                    return
            time.sleep(0.1)
    raise TimeoutError(f"not ready after {READY_SECONDS:.0f} s")
