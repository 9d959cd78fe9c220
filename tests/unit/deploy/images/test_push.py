"""Which repositories there are, and what a registry's refusal means."""

import pytest

from deploy.images.engines import Engine
from deploy.images.push import find_version, read_repository, say_refusal
from sentiment.errors import DeployError

PODMAN = Engine("podman")
REPOSITORY = read_repository("registry.example.org/team/sentigate")
TARGET = f"{REPOSITORY}:5-0a1b2c3d4e5f"


@pytest.mark.parametrize("place", ["localhost:5000/sentigate", "123456789012.dkr.ecr.eu-west-1.amazonaws.com/a/b-c"])
def test_a_repository_is_a_host_and_a_name(place):
    assert str(read_repository(place)) == place


@pytest.mark.parametrize("place", ["sentigate", "team/sentigate", "h.org/Name", "h.org/name:tag", "https://h.org/n"])
def test_what_is_no_repository_is_named_with_an_example(place):
    with pytest.raises(DeployError, match="is no repository of a registry; wanted REGISTRY=HOST/NAME, such as 1234"):
        read_repository(place)


def test_no_registry_at_all_is_said_with_an_example():
    with pytest.raises(DeployError, match=r"^no registry is named; wanted REGISTRY=HOST/NAME, such as 1234"):
        read_repository("")


@pytest.mark.parametrize(
    ("said", "meaning"),
    [
        ("unauthorized: authentication required", "refuses: log in with `podman login registry.example.org`"),
        ("denied: requested access to the resource is denied", "refuses: log in"),
        ("tag invalid: cannot be overwritten because the tag is immutable", "has another image of this version"),
        ("name unknown: The repository with name 'team/sentigate' does not exist", "has no such repository"),
        ("dial tcp: lookup registry.example.org: no such host", "cannot be reached"),
    ],
)
def test_a_refusal_says_what_to_do(said, meaning):
    sentence = say_refusal(PODMAN, REPOSITORY, TARGET, said)
    assert sentence.startswith(f"{TARGET} was not pushed: registry.example.org {meaning}")
    assert sentence.endswith(f"({said}).")


def test_a_refusal_that_nobody_knows_is_passed_on():
    assert say_refusal(PODMAN, REPOSITORY, TARGET, "disk full") == f"{TARGET} was not pushed: disk full."


def test_an_image_that_is_not_there_names_what_builds_it():
    with pytest.raises(DeployError, match=r"has no image 'sentigate:none'; build it with `make image`\."):
        find_version(Engine("false"), "sentigate:none")
