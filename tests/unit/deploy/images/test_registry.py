"""Which repositories there are, which version an image has, and what a registry's refusal means."""

import pytest

from deploy.images.registry import AbsentError, check_repository, read_refusal, read_version
from sentiment.errors import DeployError

TARGET = "docker://registry.example.org/team/sentigate:5-0a1b2c3d4e5f"
SKOPEO = 'time="2026-11-30T09:00:00Z" level=fatal msg="trying to reuse blob: {}"'


@pytest.mark.parametrize("place", ["localhost:5000/sentigate", "123456789012.dkr.ecr.eu-west-1.amazonaws.com/a/b-c"])
def test_a_repository_is_a_host_and_a_name(place):
    check_repository(place)


@pytest.mark.parametrize("place", ["sentigate", "team/sentigate", "h.org/Name", "h.org/name:tag", "https://h.org/n"])
def test_what_is_no_repository_is_named_with_an_example(place, refuses):
    with refuses(DeployError):
        check_repository(place)


def test_no_registry_at_all_is_said_with_an_example(refuses):
    with refuses(DeployError):
        check_repository("")


@pytest.mark.parametrize(
    ("said", "meaning"),
    [
        ("unauthorized: authentication required", "registry.example.org refuses: "),
        ("denied: requested access to the resource is denied", "log in with `skopeo login registry.example.org`"),
        ("tag invalid: cannot be overwritten because the tag is immutable", "and never replaces one: "),
        ("name unknown: The repository with name 'team/sentigate' does not exist", "has no such repository: "),
        ("dial tcp: lookup registry.example.org: no such host", "registry.example.org cannot be reached: "),
        ("disk full", "skopeo copy failed: trying to reuse blob: disk full."),
    ],
)
def test_a_refusal_says_what_to_do_and_what_the_registry_said(said, meaning):
    sentence = str(read_refusal("copy", TARGET, SKOPEO.format(said)))
    assert meaning in sentence
    assert said in sentence
    assert sentence.endswith(".")


def test_only_what_is_not_there_is_taken_for_absent():
    """A refusal that is read as "there is none yet" would let any model pass the gate."""
    kinds = {said: type(read_refusal("inspect", TARGET, said)) for said in ("manifest unknown", "unauthorized", "eof")}
    assert kinds == {"manifest unknown": AbsentError, "unauthorized": DeployError, "eof": DeployError}


def test_the_version_of_an_image_is_its_tag_that_is_not_latest(refuses):
    assert read_version("x", {"RepoTags": ["localhost/sentigate:5-0a", "localhost/sentigate:latest"]}) == "5-0a"
    with refuses(DeployError):
        read_version("x", {"RepoTags": ["localhost/sentigate:latest"]})
