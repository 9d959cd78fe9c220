"""`python -m benchmarks.gate`: how often the gate promotes a worse, an equal and a better model, by simulation.

Two models of the registry answer the validation and holdout rows of a dataset once: the population. The second
one's answers are then changed on random rows until its macro F1 on the population differs from the first one's
by a wanted amount, which keeps the two as much alike as they really are. Holdouts are drawn from the population,
and `decide_gate` decides on each, in both of its modes. The naive rule beside it compares the F1 of the new
model on one test set with that of the old one on another.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import click
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.splits import split_named
from release.mlflow_registry import find_bundle
from sentigate.configuration import CONFIG
from sentiment.bundle.predictor import Predictor
from sentiment.config.reader import read_config
from sentiment.data.datasets import Dataset
from sentiment.evaluation.behaviour import BehaviourReport
from sentiment.evaluation.comparison import count_cells, score_confusions
from sentiment.evaluation.predictions import Predictions, predict_rows
from sentiment.governance.gate import GateRule, MeasuredChallenger, decide_gate

DIFFERENCES = (-0.04, -0.03, -0.02, -0.01, 0.0, 0.01, 0.02, 0.03, 0.04)
RULES = ("not_worse", "better", "naive")
COLOURS = {"not_worse": "#3b6ea5", "better": "#2f7d3b", "naive": "#b3261e"}


@dataclass(frozen=True)
class Rates:
    """How often each rule promotes, by the true difference in macro F1."""

    difference: float
    not_worse: float
    better: float
    naive: float


def collect_answers(models: Sequence[str], dataset: str) -> list[Predictions]:
    """Return what each model says to the validation and holdout rows of a dataset."""
    splits = split_named(dataset)
    frames = [splits.validation.frame, splits.holdout.frame]
    rows = Dataset(dataset, pd.concat(frames, ignore_index=True))
    return [predict_rows(Predictor(find_bundle(model)[0], threads=2), rows) for model in models]


def shift_answers(
    first: Predictions, second: Predictions, difference: float, generator: np.random.Generator
) -> Predictions:
    """Return the second model with answers changed at random until it is better by `difference` in macro F1.

    Wrong answers are made right to raise it; to lower it, right ones take the label it held second likeliest.
    """
    base = _score(first, first)
    order = generator.permutation(len(second.targets))
    lift = _score(first, second) - base < difference
    able = order[~second.correct[order]] if lift else order[second.correct[order]]
    low, high = 0, len(able)
    while low < high:
        middle = (low + high) // 2
        reached = _score(first, _change(second, able[:middle], lift)) - base
        if (reached < difference) == lift:
            low = middle + 1
        else:
            high = middle
    return _change(second, able[:low], lift)


def simulate(
    first: Predictions, second: Predictions, rule: GateRule, *, difference: float, rows: int, draws: int, seed: int
) -> Rates:
    """Return how often each rule promotes a second model that differs by `difference` on the population."""
    generator = np.random.default_rng(seed)
    challenger = shift_answers(first, second, difference, generator)
    passed = dict.fromkeys(RULES, 0)
    for draw in range(draws):
        picked = generator.integers(len(first.targets), size=rows)
        other = generator.integers(len(first.targets), size=rows)
        old, new = _take(first, picked), _take(challenger, picked)
        measured = MeasuredChallenger(new, 0.0, 0, BehaviourReport((), ()))
        for mode in ("not_worse", "better"):
            asked = replace(rule, require=mode, seed=seed + draw)
            passed[mode] += decide_gate(measured, old, asked, champion_version="1").passed
        passed["naive"] += _score(new, new) >= _score(_take(first, other), _take(first, other))
    return Rates(difference, *(passed[name] / draws for name in RULES))


def plot_power(rates: Sequence[Rates], title: str) -> Figure:
    """Return the power curves: how often each rule promotes, over the true difference."""
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    axes = figure.add_subplot()
    names = {
        "not_worse": "gate, require: not_worse",
        "better": "gate, require: better",
        "naive": "new F1 >= old F1, two test sets",
    }
    for rule in RULES:
        axes.plot(
            [100 * item.difference for item in rates],
            [100 * getattr(item, rule) for item in rates],
            marker="o",
            color=COLOURS[rule],
            label=names[rule],
        )
    axes.axvline(0, color="#8c959f", linewidth=1)
    axes.set_xlabel("true difference in macro F1, points")
    axes.set_ylabel("promoted, %")
    axes.set_ylim(-2, 102)
    axes.grid(color="#eaeef2")
    axes.legend(frameon=False)
    axes.set_title(title, fontsize=11)
    return figure


def time_decision(answers: Sequence[Predictions], rule: GateRule, rows: int) -> float:
    """Return the seconds of one decision on that many rows."""
    picked = np.random.default_rng(0).integers(len(answers[0].targets), size=rows)
    old, new = (_take(item, picked) for item in answers)
    started = time.perf_counter()
    decide_gate(MeasuredChallenger(new, 0.0, 0, BehaviourReport((), ())), old, rule, champion_version="1")
    return time.perf_counter() - started


@click.command()
@click.option("--models", default="previous,production", show_default=True, help="Two models, by a comma.")
@click.option("--dataset", default="youtube", show_default=True)
@click.option("--rows", default=3600, show_default=True, help="Rows of a drawn holdout.")
@click.option("--draws", default=1000, show_default=True, help="Holdouts drawn per difference.")
@click.option("--seed", default=13, show_default=True)
@click.option("--plot", type=click.Path(path_type=Path), help="Write the power curves to this file.")
def main(models: str, dataset: str, rows: int, draws: int, seed: int, plot: Path | None) -> None:
    """Simulate the gate on real answers and print the rates as JSON lines."""
    settings = read_config(CONFIG).gate
    rule = replace(settings.rule_for(dataset, seed), resamples=2000)
    first, second = collect_answers([name.strip() for name in models.split(",")], dataset)
    second = second.reorder(first.labels)
    apart = float((first.chosen != second.chosen).mean())
    click.echo(json.dumps({"population": len(first.targets), "champion_f1": _score(first, first), "differ": apart}))
    full = settings.rule_for(dataset, seed)
    click.echo(json.dumps({"decision_seconds_10000_rows": round(time_decision((first, second), full, 10_000), 3)}))
    rates = []
    for difference in DIFFERENCES:
        rates.append(simulate(first, second, rule, difference=difference, rows=rows, draws=draws, seed=seed))
        click.echo(json.dumps(asdict(rates[-1])))
    if plot:
        title = f"{dataset}, holdouts of {rows:,} rows, models that differ on {apart:.0%} of the rows"
        plot_power(rates, title).savefig(plot, dpi=110)


def _change(answers: Predictions, rows: NDArray[np.int64], lift: bool) -> Predictions:
    probabilities = answers.probabilities.copy()
    if lift:
        probabilities[rows] = np.eye(len(answers.labels), dtype=np.float32)[answers.targets[rows]]
    else:
        probabilities[rows, answers.chosen[rows]] = 0.0
    return replace(answers, probabilities=probabilities)


def _take(answers: Predictions, rows: NDArray[np.int64]) -> Predictions:
    return replace(answers, probabilities=answers.probabilities[rows], targets=answers.targets[rows])


def _score(first: Predictions, second: Predictions) -> float:
    return float(score_confusions(count_cells(first, second).sum(axis=1)))


if __name__ == "__main__":
    main()
