"""`make image` when something is missing: one sentence, and no image."""

import json
import shutil
from pathlib import Path

import pytest

from tests.integration.conftest import IMAGE, build_image

pytestmark = pytest.mark.slow


@pytest.fixture
def checkout(bento_store, tmp_path):
    """The environment of a checkout with a store and a state of its own."""
    state = shutil.copytree(bento_store["SENTIMENT_STATE_DIR"], tmp_path / "state")
    return {**bento_store, "SENTIMENT_STATE_DIR": str(state)}


def put_in_production(checkout, content):
    state = Path(checkout["SENTIMENT_STATE_DIR"])
    state.mkdir(parents=True, exist_ok=True)
    (state / "production.json").write_text(content, encoding="utf-8")


def read_refusal(done):
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return next(line for line in done.stderr.splitlines() if line.startswith("Error: ")).removeprefix("Error: ")


def test_nothing_in_production_says_how_to_get_there(checkout):
    """A new checkout has no model."""
    assert read_refusal(build_image(checkout)) == (
        "no model is in production in this checkout; train one with `make train`, or name a version of"
        " `bentoml list sentigate`, for example VERSION=3."
    )


def test_a_damaged_pointer_is_named(checkout):
    """What cannot be read is said with its path."""
    put_in_production(checkout, "{")
    assert "the pointer to the model in production, " in read_refusal(build_image(checkout))


def test_a_bento_that_is_gone_can_be_built_again(checkout):
    """The sentence has the command."""
    put_in_production(checkout, json.dumps({"tag": "sentiment:9-abc", "bento": "sentigate:9-abc", "digest": "abc"}))
    assert read_refusal(build_image(checkout)) == (
        "BentoML's store has no sentigate:9-abc; build it again with `source .venv/bin/activate &&"
        " SENTIMENT_MODEL_TAG=sentiment:9-abc bentoml build --version 9-abc`."
    )


def test_a_version_that_is_not_there_is_said_with_those_that_are(checkout):
    """Nobody need guess."""
    refusal = read_refusal(build_image(checkout, "--version", "77"))
    assert refusal == "BentoML's store has 0 Bentos of version '77'; wanted one of tiny."


def test_a_version_is_not_there_where_nothing_was_built(checkout, tmp_path):
    """A store without any Bento of ours says so, too."""
    refusal = read_refusal(build_image({**checkout, "BENTOML_HOME": str(tmp_path)}, "--version", "77"))
    assert refusal == (
        "BentoML's store has 0 Bentos of version '77'; wanted one of those that `make train` builds, it has none yet."
    )


def test_a_bento_from_before_images_is_not_built_without_its_dockerfile(checkout, tmp_path):
    """It would be a large image with compilers in it, that runs as nobody meant it to."""
    store = tmp_path / "bentoml"
    shutil.copytree(checkout["BENTOML_HOME"], store)
    (store / "bentos/sentigate/tiny/env/docker/Dockerfile.template").unlink()
    refusal = read_refusal(build_image({**checkout, "BENTOML_HOME": str(store)}, "--version", "tiny"))
    assert refusal.startswith("sentigate:tiny was built before Bentos had a Dockerfile; remove it with")


def test_no_engine_is_said_before_anything_is_built(checkout, tmp_path):
    """Each engine is named with the reason why it is of no use here."""
    refusal = read_refusal(build_image({**checkout, "PATH": str(tmp_path)}, "--version", "tiny"))
    assert refusal.startswith("no container engine works here (docker: not installed; podman: not installed;")


@pytest.mark.container
def test_a_base_image_that_cannot_be_had_is_named(checkout, engine):
    """The sentence says which one, why, and how to name another."""
    options = ("--version", "tiny", "--backend", engine.name, "--base", "localhost:1/python:none")
    refusal = read_refusal(build_image(checkout, *options))
    assert refusal.startswith("the base image localhost:1/python:none cannot be had: ")
    assert refusal.endswith("for example BASE=registry.example.org/python:3.11-slim-bookworm.")


@pytest.mark.container
def test_packages_that_cannot_be_had_leave_no_image(checkout, engine):
    """The reason is what pip says of it, and what was said in full is in a file."""
    options = ("--version", "tiny", "--backend", engine.name, "--name", f"{IMAGE}-broken")
    broken = {**checkout, "PIP_INDEX_URL": "http://127.0.0.1:9/simple"}
    refusal = read_refusal(build_image(broken, *options))
    assert refusal.startswith("the image was not built: ")
    assert refusal.endswith("image.log.")
    assert engine.find_image(f"{IMAGE}-broken:tiny") is None


@pytest.mark.container
def test_the_bento_in_production_is_the_latest(checkout, engine, image):
    """Of all versions only what is in production is called latest."""
    put_in_production(checkout, json.dumps({"tag": "sentiment:tiny", "bento": "sentigate:tiny", "digest": "abc"}))
    done = build_image(checkout, "--backend", engine.name, "--name", IMAGE, check=True)
    assert done.stdout.startswith(f"{IMAGE}:tiny and {IMAGE}:latest: ")
    assert " MB on top of python:3.11-slim-bookworm" in done.stdout
    assert engine.find_image(f"{IMAGE}:latest") is not None
