"""Versions for a registry that has none, made without training: `python -m tests.support.versions FOLDER SLOPE...`

One version per slope of a tiny bundle. The first three passed the gate, the third waits for approval, the others never
passed. Tests run it in a copy of the checkout, whose registry and ledger it fills.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import mlflow

from release.journal import enter_event
from release.mlflow_registry import log_bundle, register_bundle
from release.promotion import stage_version
from sentiment.bundle.bundle import seal_bundle
from tests.conftest import make_tiny_bundle

CHAMPIONS = {1: None, 2: "1", 3: "1"}
"""The champion that each version which passed the gate was compared with."""
WAITING = 3


def make_versions(folder: Path, slopes: Sequence[float]) -> None:
    """Register a bundle per slope, each with a digest of its own, enter the decisions and stage what waits."""
    with mlflow.start_run():
        for number, slope in enumerate(slopes, 1):
            made = make_tiny_bundle(folder / str(number), slope=slope)
            bundle = seal_bundle(made.folder, replace(made.card, max_tokens=8 + number))
            with mlflow.start_run(nested=True) as own:
                register_bundle(bundle, log_bundle(bundle), own.info.run_id)
            if number in CHAMPIONS:
                decision = {"outcome": "pass", "digest": bundle.card.digest, "champion_version": CHAMPIONS[number]}
                enter_event("decision", None, "passed.", decision)
    waiting = mlflow.MlflowClient().get_model_version("sentiment", str(WAITING))
    stage_version(waiting, CHAMPIONS[WAITING])


if __name__ == "__main__":
    make_versions(Path(sys.argv[1]), [float(slope) for slope in sys.argv[2:]])
