"""An image on its way into an environment: a real registry, a target that notes what it is given, a server to ask."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from deploy.ci.delivery import Delivery, find_before, find_script, main
from deploy.images.registry import add_tag, find_digest, read_model
from sentiment.errors import DeployError
from sentiment.paths import CHECKOUT
from tests.integration.deploy.test_registry_images import push_something
from tests.support.deploy.github import REPOSITORY, put_on_path
from tests.support.deploy.stand_in import DIGEST, Asked, Reply, Server, answer_soundly, serve
from tests.support.image_registry import require_registry, run_registry

pytestmark = pytest.mark.slow

SCRIPT = """#!/bin/sh
echo "$1 $2" >> "$(dirname "$0")/applied"
! grep -qs "$2" "$(dirname "$0")/refused"
"""


@dataclass
class Place:
    """An environment: what was brought there, which images are unsound there, and the images themselves."""

    folder: Path
    repository: str
    delivery: Delivery
    images: list[str]
    unsound: set[str] = field(default_factory=set)

    @property
    def applied(self) -> list[str]:
        return [line.split()[1] for line in (self.folder / "applied").read_text().splitlines()]

    def find(self, tag: str) -> str:
        return f"{self.repository}@{find_digest(f'{self.repository}:{tag}')}"


@pytest.fixture
def place(tmp_path) -> Iterator[Place]:
    require_registry("skopeo")
    script = tmp_path / "target.sh"
    script.write_text(SCRIPT)
    script.chmod(0o755)
    with run_registry(tmp_path / "registry") as registry, serve(Server()) as server:
        images = []
        for number in range(3):
            pushed = push_something(registry, f"made{number}", tmp_path / f"made{number}")
            copied = f"{registry.host}/sentigate@{pushed.partition('@')[2]}"
            command = [
                sys.executable,
                "-m",
                "deploy.images.registry",
                "mirror",
                pushed,
                copied.partition("@")[0],
                f"r{number}",
            ]
            subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True)
            images.append(copied)
        delivery = Delivery(script, "production", [server.url, "--wait", "0.5"])
        place = Place(tmp_path, f"{registry.host}/sentigate", delivery, images)

        def answer(asked: Asked) -> Reply | None:
            return (503, {"code": "not_ready"}) if place.applied[-1] in place.unsound else answer_soundly(asked)

        server.wrong = answer
        yield place


def test_a_sound_image_is_named_by_the_tag_of_its_environment(place):
    first, second, _ = place.images
    place.delivery.deliver(first, ["--version", "5", "--digest", DIGEST])
    assert place.find("production") == first
    place.delivery.deliver(second)
    assert place.find("production") == second
    assert find_before(place.repository, "production") == first
    place.delivery.deliver(second)  # again, as somebody does who is not sure
    assert find_before(place.repository, "production") == first


def test_an_image_that_does_not_pass_its_smoke_test_makes_room_for_the_one_before(place):
    first, second, _ = place.images
    place.delivery.deliver(first)
    place.unsound.add(second)
    with pytest.raises(DeployError, match=r"did not pass its smoke test. What ran before, .* runs again and passed"):
        place.delivery.deliver(second)
    assert place.applied == [first, second, first]
    assert place.find("production") == first


def test_another_model_than_the_one_that_was_tested_makes_room_too(place):
    first, second, _ = place.images
    place.delivery.deliver(first)
    with pytest.raises(DeployError, match="runs again"):
        place.delivery.deliver(second, ["--version", "6"])
    assert place.find("production") == first


def test_an_image_that_the_target_refuses_makes_room_too(place):
    first, second, _ = place.images
    place.delivery.deliver(first)
    (place.folder / "refused").write_text(second)
    with pytest.raises(DeployError, match=r"could not be brought to production. What ran before, .* runs again"):
        place.delivery.deliver(second)
    assert place.applied == [first, second, first]


def test_the_worst_case_is_said_as_it_is(place):
    first, second, _ = place.images
    place.delivery.deliver(first)
    place.unsound |= {first, second}
    with pytest.raises(DeployError, match=r"What ran before, .* did not come back: .* Look there at once"):
        place.delivery.deliver(second)


def test_only_a_release_is_delivered_and_gone_back_to(place, tmp_path, monkeypatch):
    """Whoever may write to the registry can move its tags; what ran before is looked at like what comes."""
    first, second, third = place.images
    github = put_on_path(tmp_path / "bin", monkeypatch)
    signed = replace(place.delivery, attested_by=REPOSITORY)
    with pytest.raises(DeployError, match=r"is not used: nobody signed that release\.yml"):
        signed.deliver(first)
    assert not (place.folder / "applied").exists()
    github.sign(first, "release.yml")
    signed.deliver(first)
    add_tag(third, "production")  # by somebody else
    github.sign(second, "release.yml")
    place.unsound.add(second)
    with pytest.raises(DeployError, match=r"What ran before, .* did not come back: .* is not used: nobody signed"):
        signed.deliver(second)
    assert place.applied == [first, second]


def test_the_first_image_of_an_environment_has_nothing_to_make_room_for(place):
    place.unsound.add(place.images[0])
    with pytest.raises(DeployError, match="Nothing is known to have run in production before; look there"):
        place.delivery.deliver(place.images[0])
    assert find_digest(f"{place.repository}:production") is None
    with pytest.raises(DeployError, match="knows of no image that ran in production before"):
        find_before(place.repository, "production")


def test_the_command_is_the_one_that_the_workflow_gives(place, tmp_path, monkeypatch):
    monkeypatch.setattr("deploy.ci.delivery.TARGETS", tmp_path)
    key = tmp_path / "key"
    key.write_text("sg_a-key-that-nobody-wants\n")
    options = ["--target", "target", "--environment", "production", "--url", place.delivery.smoke_options[0]]
    model = ["--key-file", str(key), "--version", "5", "--digest", ""]
    given = ["deliver", place.images[0], *options, *model, "--", "--wait", "1"]
    done = CliRunner().invoke(main, given)
    assert (done.exit_code, done.output) == (0, f"{place.images[0]} runs in production\n")
    refused = CliRunner().invoke(main, [*given, "--require-keys"])
    assert refused.exit_code == 1
    assert "did not pass its smoke test" in refused.output


def test_a_target_that_there_is_not_is_told():
    with pytest.raises(DeployError, match=r"unknown target 'kubernets'\. Did you mean 'kubernetes'"):
        find_script("kubernets")


def test_an_image_without_a_model_is_told(place):
    with pytest.raises(DeployError, match=r"has no label sentigate\.model\.version"):
        read_model(place.images[0])
