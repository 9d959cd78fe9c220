"""A copy of this checkout with a state folder of its own, run by this Python: benchmarks and tests leave no trace."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from sentiment.environment import list_environment
from sentiment.paths import CHECKOUT, DEFAULT_FOLDER, StateFolder

COPIED = (
    *("sentigate", "pipelines", "steps", "release", "sentigate_client", "sentiment", "service", "deploy", "data"),
    *("bentofile.yaml", "zenml_config.yaml", "pyproject.toml"),
)
LEFT = ("__pycache__", "secrets", "backups", ".terraform")


@dataclass(frozen=True)
class CheckoutCopy:
    """Where the copy lies, where its state is, and the variables that lead to it."""

    folder: Path
    state: StateFolder

    @property
    def environment(self) -> dict[str, str]:
        """The variables of this process with those of the copy on top; no terminal colours."""
        return {**os.environ, **list_environment(self.state), "NO_COLOR": "1"}

    def start(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run this Python in the copy to its end; return output and exit code, whatever it is."""
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def run(self, *arguments: str) -> str:
        """Return the output of a command; raises RuntimeError with it when the command fails."""
        done = self.start(*arguments)
        if done.returncode:
            raise RuntimeError(f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stdout[-4000:]}")
        return done.stdout


def copy_checkout(folder: Path) -> CheckoutCopy:
    """Copy what runs into `folder`, without any state."""
    folder.mkdir(parents=True)
    for name in COPIED:
        source = CHECKOUT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns(*LEFT))
        else:
            shutil.copy(source, folder / name)
    return CheckoutCopy(folder, StateFolder(folder / DEFAULT_FOLDER))


class Snapshot:
    """The models of a copy at one moment, to go back to: stores, registry, runs, ledger, what is in production."""

    KEPT = ("bentoml", "mlflow", "zenml", "ledger.jsonl", "signing", "production.json")

    def __init__(self, state: StateFolder, folder: Path) -> None:
        self._state, self._folder = state.folder, folder
        for name in self.KEPT:
            _copy(self._state / name, folder / name)

    def restore(self) -> None:
        for name in self.KEPT:
            _remove(self._state / name)
            _copy(self._folder / name, self._state / name)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
    elif source.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)


def _remove(path: Path) -> None:
    """Remove a file or what is in a folder, but for databases: whoever has one open goes on with the same file."""
    if not path.is_dir():
        path.unlink(missing_ok=True)
        return
    for inner in sorted(path.rglob("*"), reverse=True):
        if inner.is_symlink() or (inner.is_file() and inner.suffix != ".db"):
            inner.unlink()
        elif inner.is_dir() and not any(inner.iterdir()):
            inner.rmdir()
