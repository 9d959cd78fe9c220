"""Which container engine is taken, and what is said when there is none."""

import pytest

from deploy.images.engines import find_engine, find_obstacle
from sentiment.errors import DeployError


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """A folder that is the whole PATH, and a way to put engines into it."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def install(name, script):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)

    return install


def test_without_an_engine_each_is_named(programs, refuses):
    """The sentence says what was looked for and what to do."""
    with refuses(DeployError):
        find_engine()


def test_a_client_without_its_daemon_is_passed_over(programs):
    """A docker client that reaches no daemon cannot build, so the next engine does, and the reason is kept."""
    programs("docker", "echo 'Cannot connect to the Docker daemon at unix:///run/d.sock.' >&2; exit 1")
    programs("podman", "echo fine")
    found = find_engine()
    assert found.name == "podman"
    assert found.passed_over == ("docker: Cannot connect to the Docker daemon at unix:///run/d.sock",)


def test_the_first_engine_that_works_is_taken(programs):
    """Docker, then podman, then buildah."""
    for name in ("docker", "podman", "buildah"):
        programs(name, "echo fine")
    assert find_engine().name == "docker"
    assert find_engine(among=("buildah", "docker")).name == "buildah"


def test_an_engine_that_was_named_is_not_replaced(programs, refuses):
    """Who names an engine gets that one or a reason."""
    programs("podman", "echo fine")
    with refuses(DeployError):
        find_engine("docker")


def test_an_engine_that_works_has_no_obstacle(programs):
    """An empty reason is none."""
    programs("podman", "echo 'a warning' >&2")
    assert find_obstacle("podman") == ""


def test_an_image_that_cannot_be_pulled_is_named(programs, refuses):
    """The sentence has the engine's own reason, and says how to name another image."""
    programs("podman", "case $1 in info) ;; *) echo 'Error: no route to host' >&2; exit 125;; esac")
    with refuses(DeployError):
        find_engine("podman").fetch_image("python:3")
