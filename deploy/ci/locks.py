"""`python -m deploy.ci.locks`: what is installed, each package in one version with the digests of its wheels.

`requirements.lock` is for a checkout, after `requirements.cpu.lock` where a torch without CUDA can be had, before
`requirements.cuda.lock` where it is PyPI's. Images, and jobs of CI with credentials, have smaller ones.
"""

import re
import subprocess
import tempfile
import tomllib
from collections.abc import Iterable
from pathlib import Path

import click

from deploy.cli_errors import SentenceCommand
from sentiment.errors import DeployError, find_last_words
from sentiment.paths import CHECKOUT

CHECKOUT_LOCK, CPU_LOCK, CUDA_LOCK = (
    CHECKOUT / f"{name}.lock" for name in ("requirements", "requirements.cpu", "requirements.cuda")
)
# PyTorch keeps wheels that want no CUDA in an index of its own: their digests, for x86-64 and aarch64.
TORCH_CPU = {
    "2.13.0": (
        "6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b",
        "84453b69508ec79902f899c5ed9495acb9e2bbe9fda5f1d5d6f19e3c3842e1a7",
    )
}
CUDA = re.compile(r"triton|cuda-.*|nvidia-(?!ml-py).*")
X86_ALONE = ("daal", "scikit-learn-intelex", "tbb", "tcmlib")
SMALLER = {
    "service/requirements": ("hf-xet",),  # is for downloads alone
    "deploy/compose/mlflow/requirements": (),
    "deploy/requirements": (),
}
UV = ("pip", "compile", "--quiet", "--no-annotate", "--no-header", "--python-version", "3.11")
WHEELS = ("--python-platform", "x86_64-manylinux_2_28", "--only-binary", ":all:", "--generate-hashes")


def compile_lock(source: str, constraints: Iterable[Path], left_out: Iterable[str]) -> str:
    """Return the lock of a file of requirements. Raises DeployError with uv's last words."""
    options = [part for file in constraints if file.exists() for part in ("--constraints", str(file))]
    options += [part for name in left_out for part in ("--no-emit-package", name)]
    command = [str(CHECKOUT / ".venv" / "bin" / "uv"), *UV, *WHEELS, *options, source]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DeployError(f"{source} cannot be locked: {find_last_words(done.stderr)}.")
    return str(done.stdout)


def split_lock(text: str) -> tuple[str, str, str]:
    """Return what every checkout installs, the torch that it takes before where that can be had, and what PyPI's wants.

    By itself pip would take PyPI's: a file of a folder has no digest that it could prefer.
    """
    ours: list[str] = []
    cpu: list[str] = []
    cuda: list[str] = []
    for package in re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]:
        pin, hashes = package.split(" \\\n", 1)
        name, _, version = pin.partition("==")
        marker = " ; platform_machine == 'x86_64'" if name in X86_ALONE else ""
        if name == "torch" and version not in TORCH_CPU:
            raise DeployError(f"torch {version} is new: add the digests of its wheels without CUDA to TORCH_CPU.")
        more = [f"    --hash=sha256:{digest}" for digest in TORCH_CPU[version]] if name == "torch" else []
        if more:
            cpu = [" \\\n".join([f"{pin}+cpu", *more]) + "\n"]
        (cuda if CUDA.fullmatch(name) else ours).append(" \\\n".join([f"{pin}{marker}", *more, hashes]))
    return "".join(ours), "".join(cpu), "".join(cuda)


@click.command(cls=SentenceCommand)
@click.option("--upgrade", is_flag=True, help="Take the newest versions that pyproject.toml allows.")
def main(upgrade: bool) -> None:
    """Write the locks anew, with the versions that they have."""
    described = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as wanted:
        wanted.write("\n".join([*described["project"]["dependencies"], *described["dependency-groups"]["dev"]]))
        wanted.flush()
        kept = () if upgrade else (CHECKOUT_LOCK, CUDA_LOCK)
        ours, cpu, cuda = split_lock(compile_lock(wanted.name, kept, ["pip"]))
    head = "# Made by 'make lock' from {}.\n"
    CHECKOUT_LOCK.write_text(head.format("pyproject.toml") + ours, encoding="utf-8")
    CPU_LOCK.write_text(head.format("pyproject.toml: the torch without CUDA, of PyTorch's index") + cpu)
    CUDA_LOCK.write_text(head.format("pyproject.toml: what torch of PyPI wants beside requirements.lock") + cuda)
    for name, left_out in SMALLER.items():
        lock = head.format(f"{name}.txt") + compile_lock(f"{name}.txt", [CHECKOUT_LOCK], left_out)
        (CHECKOUT / f"{name}.lock").write_text(lock, encoding="utf-8")


if __name__ == "__main__":
    main()
