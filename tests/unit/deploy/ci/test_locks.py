"""What the image is made of: each package with hashes, and none that training and tests do not have too."""

import re

import pytest
import yaml
from limits import parse_many
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy.ci.locks import TORCH_CPU, split_lock
from sentiment.errors import DeployError
from sentiment.paths import CHECKOUT
from service.settings import ServiceSettings

HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")
LOCKS = (
    *("requirements.lock", "requirements.cpu.lock", "requirements.cuda.lock"),
    *("service/requirements.lock", "deploy/requirements.lock", "deploy/compose/mlflow/requirements.lock"),
)
INSTALLERS = (
    *("Makefile", "deploy/images/Dockerfile", "deploy/compose/mlflow/Dockerfile"),
    *("deploy/huggingface/templates/Dockerfile", ".github/actions/setup/action.yml"),
)
TARGETS = ("deploy/images/Dockerfile", "deploy/huggingface/templates/Dockerfile", "deploy/bentocloud/bentocloud.yaml")
PINS = ("cuda-toolkit==1", "nvidia-cublas==1", "nvidia-ml-py==1", "tbb==1", "torch==2.13.0", "triton==1")
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


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_has_hashes(name):
    """A file that is not the one that was locked is refused."""
    text = (CHECKOUT / name).read_text(encoding="utf-8")
    packages = re.split(r"\n(?=[a-z0-9])", text)[1:]
    assert len(packages) == len(read_pins(name))
    assert [package for package in packages if not HASH.search(package)] == []


@pytest.mark.parametrize("name", LOCKS[3:])
def test_a_smaller_lock_has_the_versions_of_the_checkout(name):
    """One version of a package is looked at, tested and scanned."""
    ours = read_pins("requirements.lock")
    assert {item for item in read_pins(name).items() if item[0] in ours} <= ours.items()


def test_torch_is_taken_from_each_place_that_has_it():
    """From PyPI with CUDA, whose packages have a lock of their own, and from PyTorch's index without."""
    text = (CHECKOUT / "requirements.lock").read_text(encoding="utf-8")
    (torch,) = (package for package in re.split(r"\n(?=[a-z0-9])", text) if package.startswith("torch=="))
    version = read_pins("requirements.lock")["torch"].removeprefix("==")
    assert [digest for digest in TORCH_CPU[version] if digest not in torch] == []
    assert len(HASH.findall(torch)) > len(TORCH_CPU[version])
    assert read_pins("requirements.lock").keys().isdisjoint(read_pins("requirements.cuda.lock"))
    assert "nvidia-cublas" in read_pins("requirements.cuda.lock")


def test_a_lock_is_split_by_what_wants_cuda_and_what_is_for_one_processor():
    text = "".join(f"{pin} \\\n    --hash=sha256:{'0' * 64}\n" for pin in PINS)
    ours, cpu, cuda = split_lock(text)
    assert re.findall("^[a-z].*", ours, re.MULTILINE) == [
        "nvidia-ml-py==1 \\",
        "tbb==1 ; platform_machine == 'x86_64' \\",
        "torch==2.13.0 \\",
    ]
    assert re.findall("^torch.*", cpu, re.MULTILINE) == ["torch==2.13.0+cpu \\"]
    assert [digest for digest in TORCH_CPU["2.13.0"] if digest not in cpu] == []
    assert ours.count("--hash=") == 3 + len(TORCH_CPU["2.13.0"])
    assert re.findall("^[a-z][^=]*", cuda, re.MULTILINE) == ["cuda-toolkit", "nvidia-cublas", "triton"]


def test_a_torch_whose_wheels_nobody_named_is_told(refuses):
    with refuses(DeployError):
        split_lock(f"torch==9 \\\n    --hash=sha256:{'0' * 64}\n")


def test_setup_takes_wheels_by_hash_alone():
    """Nothing of a package runs while it is installed, here, in the images and where tokens are at hand."""
    wanted = ("--no-deps", "--only-binary :all:", "--require-hashes")
    said = {name: (CHECKOUT / name).read_text(encoding="utf-8") for name in INSTALLERS}
    for name, text in said.items():
        installs = [
            line for line in text.replace("\\\n", " ").splitlines() if re.search(r"pip\S* (\S+ )*install\b", line)
        ]
        assert installs, name
        assert [line for line in installs if not all(option in line for option in wanted)] == [], name


def test_the_image_needs_no_training_library(locked):
    """Serving wants none of what is large."""
    assert TOO_LARGE & set(locked) == set()


@pytest.mark.parametrize("name", TARGETS)
def test_every_deploy_target_opens_signed_models_alone(name):
    """Compose, Kubernetes and AWS run the image of the first, whose variable none of them takes back."""
    text = (CHECKOUT / name).read_text(encoding="utf-8")
    assert re.search(r'SENTIMENT_REQUIRE_SIGNATURE(=|\n +value: ")true', text)
    files = [path for path in (CHECKOUT / "deploy").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    named = {str(path.relative_to(CHECKOUT)) for path in files if b"REQUIRE_SIGNATURE" in path.read_bytes()}
    assert named == {*TARGETS}


@pytest.mark.parametrize("name", TARGETS)
def test_every_deploy_target_has_a_rate(name):
    """A key that nobody watches cannot have all of the machine, nor fill the database in a day."""
    text = (CHECKOUT / name).read_text(encoding="utf-8")
    (rates,) = re.findall(r"SENTIMENT_RATE_LIMIT(?:=|\n +value: )(\S+)", text)

    ServiceSettings(rate_limit=rates)
    assert {rate.GRANULARITY.name for rate in parse_many(rates)} == {"minute", "day"}


def test_the_bento_has_the_lock_and_the_dockerfile():
    """Whoever has the Bento alone can build its image."""
    described = yaml.safe_load((CHECKOUT / "bentofile.yaml").read_text(encoding="utf-8"))
    assert "service/requirements.lock" in described["include"]
    assert (CHECKOUT / described["docker"]["dockerfile_template"]).is_file()


@pytest.mark.parametrize("root", ["deploy/aws/terraform", "deploy/aws/terraform/registry"])
def test_each_folder_that_terraform_starts_in_has_its_lock(root):
    """Terraform reads the digests of its provider beside the files, and nowhere else."""
    assert "hashes = [" in (CHECKOUT / root / ".terraform.lock.hcl").read_text(encoding="utf-8")
