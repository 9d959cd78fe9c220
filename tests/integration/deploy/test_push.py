"""Pushing to a real registry that wants a password: the digest that it reports, and what it refuses."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from deploy.images.engines import Engine, find_engine
from release.smoke_test import find_free_port
from sentiment.errors import DeployError
from tests.support.image_registry import ClosedRegistry, require_registry, run_closed_registry

pytestmark = [pytest.mark.container, pytest.mark.slow]

IMAGE = "localhost/sentigate-push-test"


@pytest.fixture(scope="module")
def engine() -> Engine:
    """The engine that `make push` finds; it needs no base image."""
    try:
        return find_engine(among=("docker", "podman"))
    except DeployError as error:
        pytest.skip(str(error))


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[ClosedRegistry]:
    require_registry("skopeo")
    with run_closed_registry(tmp_path, "pusher", "tangerine") as registry:
        yield registry


@pytest.fixture
def small_image(engine: Engine, tmp_path: Path) -> Iterator[str]:
    """An image of one small file, tagged as `make image` does."""
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    names = (f"{IMAGE}:5-0a1b2c3d4e5f", f"{IMAGE}:latest")
    engine.run("build", "--quiet", "--tag", names[0], "--tag", names[1], str(tmp_path))
    yield names[1]
    engine.run("rmi", *names)


def test_a_pushed_image_is_found_under_the_digest_that_was_reported(engine, registry, small_image):
    registry.log_in(engine)
    done = registry.push(small_image)
    assert done.returncode == 0, done.stderr
    place, _, digest = done.stdout.strip().partition("@")
    assert place == f"{registry.host}/sentigate"
    found = _ask(registry, f"manifests/{digest}")
    assert found.headers["docker-content-digest"] == digest


def test_it_lies_there_under_its_version_and_never_as_latest(engine, registry, small_image):
    registry.log_in(engine)
    assert registry.push(small_image).returncode == 0
    tags = _ask(registry, "tags/list").json()["tags"]
    assert tags == ["5-0a1b2c3d4e5f"]


def test_a_registry_that_refuses_says_so_in_one_sentence(registry, small_image):
    done = registry.push(small_image)
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: {registry.host} refuses: ")
    assert f"; log in with `skopeo login {registry.host}` as somebody who may do this." in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_registry_that_is_not_there_says_so(registry, small_image):
    nowhere = replace(registry, port=find_free_port())
    said = nowhere.push(small_image).stderr
    assert said.startswith(f"Error: {nowhere.host} cannot be reached: ")
    assert said.endswith("; look at its name and at your network.\n")


def test_an_image_that_is_not_there_is_not_pushed(registry):
    said = registry.push("sentigate:0-none").stderr
    assert said == "Error: neither docker nor podman has an image sentigate:0-none; `make image` builds one.\n"


def _ask(registry: ClosedRegistry, path: str) -> httpx.Response:
    kinds = ("vnd.docker.distribution.manifest.v2", "vnd.oci.image.manifest.v1")
    accepted = {"accept": ", ".join(f"application/{kind}+json" for kind in kinds)}
    return httpx.get(
        f"http://{registry.host}/v2/sentigate/{path}", auth=(registry.user, registry.password), headers=accepted
    )
