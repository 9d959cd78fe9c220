"""What the image is made of: each package with hashes, and none that training and tests do not have too."""

import re

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from sentiment.state import CHECKOUT

HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")
TOO_LARGE = {"torch", "transformers", "scikit-learn", "pandas", "mlflow-skinny", "zenml", "scipy"}


def read_pins(name: str) -> dict[str, str]:
    """Return the version of each package of a file of pins."""
    lines = (CHECKOUT / name).read_text(encoding="utf-8").splitlines()
    wanted = [Requirement(line.removesuffix(" \\")) for line in lines if re.match("[A-Za-z0-9]", line)]
    return {canonicalize_name(item.name): str(item.specifier) for item in wanted}


@pytest.fixture(scope="module")
def locked() -> dict[str, str]:
    return read_pins("service/requirements.lock")


def test_the_lock_has_what_the_service_requires(locked):
    """`make lock` ran after the last change of service/requirements.txt."""
    assert read_pins("service/requirements.txt").items() <= locked.items()


def test_the_image_has_the_versions_that_were_tested(locked):
    """Every package of the image is in requirements.lock, in the same version."""
    assert locked.items() <= read_pins("requirements.lock").items()


def test_every_package_has_hashes():
    """A file that is not the one that was locked is refused."""
    text = (CHECKOUT / "service" / "requirements.lock").read_text(encoding="utf-8")
    packages = re.split(r"\n(?=[a-z0-9])", text)[1:]
    assert len(packages) == len(read_pins("service/requirements.lock"))
    assert [package for package in packages if not HASH.search(package)] == []


def test_the_image_needs_no_training_library(locked):
    """Serving wants none of what is large."""
    assert TOO_LARGE & set(locked) == set()


@pytest.mark.parametrize(
    "name", ["deploy/Dockerfile", "deploy/huggingface/templates/Dockerfile", "deploy/bentocloud.yaml"]
)
def test_every_deploy_target_opens_signed_models_alone(name):
    """Compose, Kubernetes and AWS run the image of the first, whose variable none of them takes back."""
    text = (CHECKOUT / name).read_text(encoding="utf-8")
    assert re.search(r'SENTIMENT_REQUIRE_SIGNATURE(=|\n +value: ")true', text)
    files = [path for path in (CHECKOUT / "deploy").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    named = {str(path.relative_to(CHECKOUT)) for path in files if b"REQUIRE_SIGNATURE" in path.read_bytes()}
    assert named == {
        "deploy/Dockerfile",
        "deploy/bentocloud.yaml",
        "deploy/huggingface/templates/Dockerfile",
    }


def test_the_bento_has_the_lock_and_the_dockerfile():
    """Whoever has the Bento alone can build its image."""
    described = yaml.safe_load((CHECKOUT / "bentofile.yaml").read_text(encoding="utf-8"))
    assert "service/requirements.lock" in described["include"]
    assert (CHECKOUT / described["docker"]["dockerfile_template"]).is_file()
