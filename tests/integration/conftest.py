"""What integration tests share: one small image, and the engine that runs it."""

import os
import subprocess
import sys

import pytest

from deploy.images.build import BASE_TAG
from deploy.images.engines import Engine, find_engine
from sentiment.errors import DeployError
from sentiment.paths import CHECKOUT
from tests.support.serving import TAG, make_store

IMAGE = "localhost/sentigate-test"
BUILD = """
from sentiment.bundle.bundle import open_bundle
from release.bento_store import build_bento, find_stored
from tests.conftest import let_pass
let_pass(open_bundle(find_stored({tag!r})))
build_bento({tag!r})
"""


@pytest.fixture(scope="session")
def engine() -> Engine:
    """The engine that runs containers here, or a skip that says why there is none."""
    try:
        found = find_engine(among=("docker", "podman"))
        found.fetch_image(BASE_TAG)
    except DeployError as error:
        pytest.skip(str(error))
    return found


@pytest.fixture(scope="session")
def bento_store(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a checkout with the Bento of the tiny bundle in its store, and nothing in production."""
    folder = tmp_path_factory.mktemp("bento")
    environment = {
        **os.environ,
        "BENTOML_HOME": str(make_store(folder)),
        "BENTOML_DO_NOT_TRACK": "True",
        "SENTIMENT_STATE_DIR": str(folder / "state"),
    }
    build = BUILD.format(tag=TAG)
    subprocess.run([sys.executable, "-c", build], cwd=CHECKOUT, env=environment, check=True)
    return environment


@pytest.fixture(scope="session")
def image(engine: Engine, bento_store: dict[str, str]) -> str:
    """The name of an image of the service with the tiny bundle in it, as `make image` builds it."""
    version = TAG.partition(":")[2]
    build_image(bento_store, "--version", version, "--name", IMAGE, "--backend", engine.name, check=True)
    return f"{IMAGE}:{version}"


def build_image(environment: dict[str, str], *options: str, check: bool = False) -> "subprocess.CompletedProcess[str]":
    """Return what `make image` did with these options."""
    command = [sys.executable, "-m", "sentigate", "image", *options]
    environment = {"BASE_IMAGE": BASE_TAG, **environment}  # the stand-in of a machine without a registry has no digest
    done = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done
