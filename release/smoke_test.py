"""Asking what is about to go into production: a model, or the Bento built of it, each in a process of its own."""

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

from sentigate_client import SentigateClient, SentigateError
from sentiment.bundle.trial import Patience, try_bundle
from sentiment.bundle.verify import SMOKE_TEXT
from sentiment.environment import MODEL_TAG_VARIABLE
from sentiment.errors import BundleError, DeployError, find_last_words

READY_SECONDS = 60.0
ANSWER_SECONDS = 10.0
TRIAL_SECONDS = 120.0

logger = logging.getLogger(__name__)


def try_model(folder: Path, digest: str) -> None:
    """Open a stored model in a process of its own, warm it and ask it. Raises DeployError when it is not sound."""
    try:
        found, answer = try_bundle(folder, Patience(time.monotonic() + TRIAL_SECONDS))
    except BundleError as error:
        raise DeployError(f"the model does not answer: {error}") from error
    if found != digest:
        raise DeployError(f"the model in {folder} is {found[:12]}, wanted {digest[:12]}.")
    logger.info("test load: %r is %s", SMOKE_TEXT, answer)


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
