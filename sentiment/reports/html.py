"""Reports as HTML pages that stand alone: no script, no style and no picture from elsewhere."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure

from sentiment.bundle.bundle import Bundle, Card
from sentiment.data.datasets import Dataset
from sentiment.data.validation import ValidationReport
from sentiment.evaluation.behaviour import KINDS, BehaviourReport
from sentiment.evaluation.comparison import Interval, ModelComparison, measure_interval
from sentiment.evaluation.error_analysis import find_changes, find_mistakes
from sentiment.evaluation.predictions import Evaluation, Predictions, score_predictions
from sentiment.evaluation.slices import score_slices
from sentiment.governance.gate import Decision
from sentiment.reports.plots import plot_confusions, plot_dataset, plot_difference, plot_intervals, plot_reliability

TEMPLATES = Path(__file__).parent / "templates"
MISTAKES = 20
CHANGES = 20
LONGEST_TEXT = 300


@dataclass(frozen=True)
class Scored:
    """One model on one dataset, as a report shows it."""

    name: str
    card: Card
    predictions: Predictions
    evaluation: Evaluation
    interval: Interval
    behaviour: BehaviourReport


@dataclass(frozen=True)
class Trial:
    """A decision with the predictions that it rests on, labels in the same order."""

    decision: Decision
    challenger: Predictions
    champion: Predictions | None


def score_model(
    name: str,
    bundle: Bundle,
    predictions: Predictions,
    behaviour: BehaviourReport,
    *,
    resamples: int,
    confidence: float,
    seed: int,
) -> Scored:
    """Return a model with its scores and the interval of its macro F1."""
    interval = measure_interval(predictions, resamples=resamples, confidence=confidence, seed=seed)
    return Scored(name, bundle.card, predictions, score_predictions(predictions), interval, behaviour)


def render_validation(report: ValidationReport) -> str:
    """Return the validation report as a page."""
    return _render("validation.html", report=report, picture=_encode(plot_dataset(report)))


def render_comparison(candidates: Sequence[Scored], validation: Dataset, trial: Trial, holdout: Dataset) -> str:
    """Return the page on a decision: the verdict first, then champion and challenger, then every candidate."""
    decision = trial.decision
    chosen = next(item for item in candidates if item.card.digest == decision.challenger.bundle_digest)
    texts = list(holdout.frame["text"])
    better, worse = find_changes(trial.champion, trial.challenger, texts) if trial.champion is not None else ([], [])
    return _render(
        "comparison.html",
        decision=decision,
        chosen=chosen,
        candidates=candidates,
        difference=_encode(plot_difference(decision)) if decision.comparison else "",
        better=better,
        worse=worse,
        slices=_pair_slices(trial, texts),
        mistakes=find_mistakes(chosen.predictions, list(validation.frame["text"]), MISTAKES),
        pictures=_picture(candidates),
    )


def render_evaluation(
    models: Sequence[Scored], dataset: Dataset, comparisons: Sequence[tuple[str, ModelComparison]]
) -> str:
    """Return the page on several models and one dataset; the comparisons are with the first model, by name."""
    texts = list(dataset.frame["text"])
    return _render(
        "evaluation.html",
        dataset=dataset,
        candidates=models,
        comparisons=comparisons,
        slices=[(item.name, score_slices(item.predictions, texts)) for item in models],
        mistakes=[(item.name, find_mistakes(item.predictions, texts, MISTAKES)) for item in models],
        pictures=_picture(models),
    )


def _picture(models: Sequence[Scored]) -> dict[str, str]:
    return {
        "intervals": _encode(plot_intervals([(item.name, item.interval) for item in models])),
        "confusions": _encode(plot_confusions([(item.name, item.evaluation) for item in models])),
        "reliability": _encode(plot_reliability([(item.name, item.predictions) for item in models])),
    }


def _pair_slices(trial: Trial, texts: list[str]) -> list[dict[str, object]]:
    champion = {item.name: item for item in score_slices(trial.champion, texts)} if trial.champion is not None else {}
    return [{"after": item, "before": champion.get(item.name)} for item in score_slices(trial.challenger, texts)]


def _render(template: str, **values: object) -> str:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["clip"] = lambda text: text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + " ..."
    environment.globals.update(kinds=KINDS, changes_shown=CHANGES)
    return environment.get_template(template).render(**values)


def _encode(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return base64.b64encode(buffer.getvalue()).decode()
