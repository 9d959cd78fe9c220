"""Who made what is about to be used: the workflow, its repository and its ref, all three."""

import pytest
from click.testing import CliRunner

from deploy.images.attestations import MAKERS_OF_IMAGES, MAKERS_OF_STATES, main, require_attestation
from sentiment.errors import DeployError
from tests.support.deploy.github import REPOSITORY, GitHub, put_on_path

IMAGE = f"ghcr.io/owner/sentigate/sentigate@sha256:{'a' * 64}"


@pytest.fixture
def github(tmp_path, monkeypatch) -> GitHub:
    return put_on_path(tmp_path / "bin", monkeypatch)


@pytest.mark.parametrize("workflow", MAKERS_OF_STATES)
def test_each_workflow_that_makes_it_may_have_signed(github, workflow):
    github.sign(IMAGE, workflow)
    require_attestation(IMAGE, REPOSITORY, MAKERS_OF_STATES)


@pytest.mark.parametrize(
    "signed",
    [
        {"workflow": "ci.yml"},
        {"workflow": "retrain.yml"},
        {"workflow": "release.yml", "ref": "refs/heads/feature"},
        {"workflow": "release.yml", "ref": "refs/tags/v1"},
        {"workflow": "release.yml", "repository": "owner/fork"},
    ],
    ids=str,
)
def test_what_another_workflow_ref_or_repository_signed_is_refused(github, signed, refuses):
    """Beside the target: signed, and yet not by the release of main."""
    github.sign(IMAGE, **signed)
    with refuses(DeployError):
        require_attestation(IMAGE, REPOSITORY, MAKERS_OF_IMAGES)


def test_another_digest_is_not_the_one_that_was_signed(github):
    github.sign(IMAGE, "release.yml")
    other = IMAGE.replace("a" * 64, "b" * 64)
    done = CliRunner().invoke(main, [other, "--repository", REPOSITORY])
    assert done.exit_code == 1
    assert done.output.startswith(f"Error: {other} is not used: ")
    assert CliRunner().invoke(main, [IMAGE, "--repository", REPOSITORY]).exit_code == 0


def test_a_tag_is_not_what_was_signed(refuses):
    """A tag may move between the look and the use."""
    with refuses(DeployError):
        require_attestation("ghcr.io/owner/sentigate/sentigate:production", REPOSITORY, MAKERS_OF_IMAGES)


def test_without_gh_nothing_is_taken_for_signed(tmp_path, monkeypatch, refuses):
    monkeypatch.setenv("PATH", str(tmp_path))
    with refuses(DeployError):
        require_attestation(IMAGE, REPOSITORY, MAKERS_OF_IMAGES)
