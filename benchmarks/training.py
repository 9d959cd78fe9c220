"""`python -m benchmarks.training`: the training pipeline against the plain script, side by side.

Both do the same work on the same rows of `youtube`. Ours starts from an empty state folder: ZenML, MLflow,
encoder export, embeddings, gate, Bento and smoke test are all in its time. The runs alternate, and the
figure to look at is the ratio of a pair.
"""

import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

from sentiment.paths import CHECKOUT
from tests.support.checkout_copy import copy_checkout

CANDIDATES = "svm,svm_smote"
STEP = re.compile(r"Step (\w+) has finished in (?:(\d+)m)?([\d.]+)s")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def run_pipeline(dataset: str, precision: str) -> tuple[float, dict[str, float]]:
    """Return the wall seconds of a run on an empty state folder, set-up apart, and those of its steps."""
    with tempfile.TemporaryDirectory() as folder:
        copy = copy_checkout(Path(folder) / "copy")
        copy.run("-m", "sentigate", "setup")
        started = time.perf_counter()
        done = copy.run(
            "-m",
            "sentigate",
            "train",
            "--dataset",
            dataset,
            "--candidates",
            CANDIDATES,
            "--set",
            f"encoder.precision={precision}",
        )
        seconds = time.perf_counter() - started
    steps = {name: 60 * float(minutes or 0) + float(rest) for name, minutes, rest in STEP.findall(COLOUR.sub("", done))}
    return seconds, steps


def run_plain(dataset: str) -> tuple[float, dict[str, float]]:
    """Return the wall seconds of the plain script and those of its parts."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.plain_script", dataset]
    done = subprocess.run(command, cwd=CHECKOUT, check=True, stdout=subprocess.PIPE, text=True)
    return time.perf_counter() - started, json.loads(done.stdout)


@click.command()
@click.option("--dataset", default="youtube", show_default=True, help="Dataset to train on.")
@click.option("--pairs", default=1, show_default=True, help="Runs of each, in turn.")
@click.option("--precision", default="auto", show_default=True, type=click.Choice(["auto", "int8", "fp32"]))
def main(dataset: str, pairs: int, precision: str) -> None:
    """Time both, in turn, and print the ratio."""
    ratios = []
    for pair in range(1, pairs + 1):
        ours, steps = run_pipeline(dataset, precision)
        plain, parts = run_plain(dataset)
        ratios.append(ours / plain)
        click.echo(f"pair {pair}: pipeline {ours:.1f} s, plain script {plain:.1f} s, ratio {ours / plain:.2f}")
        click.echo(_list_parts("pipeline", {**steps, "start, ZenML between steps": ours - sum(steps.values())}))
        click.echo(_list_parts("plain", parts))
    click.echo(f"median ratio over {pairs} pair(s): {statistics.median(ratios):.2f}")


def _list_parts(name: str, parts: dict[str, float]) -> str:
    return "\n".join(f"  {name:<9} {part:<32} {value:8.3f}" for part, value in parts.items())


if __name__ == "__main__":
    main()
