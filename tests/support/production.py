"""A checkout state with a tiny model in production: its Bento built, its model stored, its decision in the ledger."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from sentiment.environment import MODEL_TAG_VARIABLE, list_environment
from sentiment.paths import CHECKOUT, StateFolder

MAKE = """
import sys
from sentiment.model_name import ModelName
from sentiment.production_pointer import ProductionPointer
from sentiment.paths import locate_state
from release.bento_store import build_bento, store_model
from tests.conftest import let_pass, make_tiny_bundle

state, number = locate_state(), sys.argv[1]
bundle = make_tiny_bundle(state.folder / f"tiny-{number}", slope=0.1 * int(number))
name = ModelName(number, bundle.card.digest)
let_pass(bundle, macro_f1=0.8123)
store_model(bundle, name.tag)
build_bento(name.tag)
ProductionPointer.to(name).write(state.production)
"""


@dataclass(frozen=True)
class Checkout:
    """A state folder, and the commands of this checkout on it."""

    state: StateFolder

    @property
    def pointer(self) -> dict[str, str]:
        return json.loads(self.state.production.read_text())

    def environment(self, **variables: str) -> dict[str, str]:
        left_out = ("SENTIMENT_", "DATABASE_", "HF_", "BENTO")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
        return {**inherited, **list_environment(self.state), **variables}

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Return how `python -m ...` ended."""
        return subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=CHECKOUT, env=self.environment(**variables), capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    def promote(self, number: int) -> None:
        """Put a tiny model into production."""
        command = [sys.executable, "-c", MAKE, str(number)]
        environment = self.environment()
        environment.pop(MODEL_TAG_VARIABLE, None)
        subprocess.run(command, cwd=CHECKOUT, env=environment, check=True)


def make_checkout(folder: Path) -> Checkout:
    """Return a state with version 1 in production."""
    state = StateFolder(folder / "state")
    for made in (state.bentoml, state.mlflow_artifacts):
        made.mkdir(parents=True)
    checkout = Checkout(state)
    checkout.promote(1)
    return checkout
