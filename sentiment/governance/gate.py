"""The gate: champion and challenger measured on the same holdout, and what follows from it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from sentiment.evaluation.behaviour import BehaviourReport
from sentiment.evaluation.comparison import ModelComparison, compare_predictions
from sentiment.evaluation.predictions import Evaluation, Predictions, score_predictions

GateOutcome = Literal["pass", "block", "hold", "forced"]


@dataclass(frozen=True)
class GateRule:
    """What a challenger must reach; scores, drops and shares are in [0, 1].

    `require` is `not_worse` (the interval of the difference ends above `-tolerance`) or `better` (above zero).
    `min_behaviour` is a floor per kind of behavioural case.
    """

    min_f1: float
    min_recall: float
    min_behaviour: Mapping[str, float]
    max_calibration_error: float
    max_latency_ms: float
    max_size_mb: float
    require: Literal["not_worse", "better"]
    min_improvement: float
    tolerance: float
    max_class_drop: float
    min_class_rows: int
    max_decisions: int
    confidence: float
    resamples: int
    seed: int

    @property
    def least_difference(self) -> float:
        """What the interval of the difference in macro F1 must lie above."""
        return 0.0 if self.require == "better" else 0.0 - self.tolerance


@dataclass(frozen=True)
class MeasuredChallenger:
    """What the gate looks at in a challenger: its predictions on the holdout, and what else was measured of it."""

    predictions: Predictions
    latency_p95_ms: float
    size_bytes: int
    behaviour: BehaviourReport


@dataclass(frozen=True)
class Check:
    """One rule: what was measured, what was wanted, whether it held, and a sentence for when it did not."""

    name: str
    value: str
    wanted: str
    met: bool
    complaint: str


@dataclass(frozen=True)
class Decision:
    """What the gate said, the reasons in words, every check, and the measurements that they rest on.

    `earlier_decisions` counts those that the same holdout made before this one. `force` is the reason that a
    person gave to pass a challenger all the same.
    """

    outcome: GateOutcome
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]
    checks: tuple[Check, ...]
    rule: GateRule
    challenger: Evaluation
    champion: Evaluation | None
    champion_version: str | None
    comparison: ModelComparison | None
    behaviour: BehaviourReport
    earlier_decisions: int
    force: str

    @property
    def passed(self) -> bool:
        return self.outcome in {"pass", "forced"}

    @property
    def summary(self) -> str:
        """One sentence for people."""
        consequence = "" if self.passed else "; the Bento was not built"
        return "; ".join(self.reasons) + consequence + "."


def decide_gate(
    challenger: MeasuredChallenger,
    champion: Predictions | None,
    rule: GateRule,
    *,
    champion_version: str | None = None,
    unmeasured: str = "",
    earlier_decisions: int = 0,
    notes: tuple[str, ...] = (),
    force: str = "",
) -> Decision:
    """Return the decision on a challenger; both models predicted the same holdout.

    Without a champion the floors decide. `unmeasured` says why a champion that there is could not answer: then,
    and with too few rows of a class, the gate holds. `force` passes what was held or blocked, on the record.
    """
    if champion is not None:
        champion = champion.reorder(challenger.predictions.labels)
    scores = score_predictions(challenger.predictions)
    before = score_predictions(champion) if champion is not None else None
    comparison = (
        compare_predictions(
            champion, challenger.predictions, resamples=rule.resamples, confidence=rule.confidence, seed=rule.seed
        )
        if champion is not None
        else None
    )
    checks = _check_floors(challenger, scores, rule)
    if before is not None and comparison is not None:
        checks += _check_against_champion(scores, before, comparison, rule, champion_version)
    obstacles = _find_obstacles(scores, rule, champion_version, unmeasured)
    failures = [check.complaint for check in checks if not check.met]
    outcome: GateOutcome
    if obstacles:
        outcome, reasons = "hold", obstacles
    elif failures:
        outcome, reasons = "block", failures
    else:
        outcome, reasons = "pass", [_praise(scores, before, comparison, rule)]
    if force.strip() and outcome != "pass":
        reasons = [f"forced past a {outcome} because {force.strip().rstrip('.')}", *reasons]
        outcome = "forced"
    warnings = [*notes, *_warn_of_wear(scores, rule, earlier_decisions)]
    return Decision(
        outcome,
        tuple(reasons),
        tuple(warnings),
        tuple(checks),
        rule,
        scores,
        before,
        champion_version,
        comparison,
        challenger.behaviour,
        earlier_decisions,
        force,
    )


def format_decision(decision: Decision) -> str:
    """Return the decision as JSON."""
    return json.dumps({**asdict(decision), "summary": decision.summary}, indent=2) + "\n"


def _find_obstacles(scores: Evaluation, rule: GateRule, champion_version: str | None, unmeasured: str) -> list[str]:
    found = []
    if unmeasured:
        found.append(f"champion version {champion_version} could not be measured: {unmeasured.rstrip('.')}")
    label, score = min(scores.classes.items(), key=lambda item: item[1].rows)
    if score.rows < rule.min_class_rows:
        found.append(
            f"the holdout has {score.rows} rows of {label!r} among {scores.rows}, fewer than {rule.min_class_rows};"
            " add labelled rows, or lower gate.min_class_rows"
        )
    return found


def _check_floors(challenger: MeasuredChallenger, scores: Evaluation, rule: GateRule) -> list[Check]:
    label, weakest = min(scores.classes.items(), key=lambda item: item[1].recall)
    return [
        _check_floor("macro F1", scores.macro_f1, rule.min_f1),
        _check_floor(f"recall of {label!r}", weakest.recall, rule.min_recall),
        *(
            _check_floor(f"pass rate of {kind} cases", rate, rule.min_behaviour[kind])
            for kind, rate in challenger.behaviour.rates.items()
        ),
        _check_ceiling("calibration error", scores.calibration_error, rule.max_calibration_error),
        _check_ceiling("p95 latency", challenger.latency_p95_ms, rule.max_latency_ms, " ms"),
        _check_ceiling("bundle size", challenger.size_bytes / 1e6, rule.max_size_mb, " MB"),
    ]


def _check_floor(name: str, value: float, floor: float) -> Check:
    met = bool(np.isfinite(value)) and not _is_below(value, floor)
    reached, wanted = _format_apart(value, floor)
    return Check(name, reached, f"at least {wanted}", met, f"{name} {reached} is below the floor {wanted}")


def _check_ceiling(name: str, value: float, ceiling: float, unit: str = "") -> Check:
    met = bool(np.isfinite(value)) and not _is_below(ceiling, value)
    reached, wanted = _format_apart(value, ceiling, digits=1 if unit else 3)
    return Check(
        name,
        reached + unit,
        f"at most {wanted}{unit}",
        met,
        f"{name} {reached}{unit} is above the limit {wanted}{unit}",
    )


def _check_against_champion(
    scores: Evaluation, before: Evaluation, comparison: ModelComparison, rule: GateRule, version: str | None
) -> list[Check]:
    same = before.bundle_digest == scores.bundle_digest
    return [
        Check(
            "another model",
            "the same model" if same else "another model",
            "another model",
            not same,
            f"the challenger is the model already in production, version {version}",
        ),
        _check_improvement(scores, before, rule),
        _check_interval(comparison, rule),
        *(_check_drop(label, before.classes[label].f1, scores.classes[label].f1, rule) for label in scores.labels),
    ]


def _check_improvement(scores: Evaluation, before: Evaluation, rule: GateRule) -> Check:
    wanted = before.macro_f1 + rule.min_improvement
    reached, _ = _format_apart(scores.macro_f1, wanted)
    champion = f"{before.macro_f1:.{len(reached) - 2}f}"
    margin = f" plus {rule.min_improvement:g}" if rule.min_improvement else ""
    return Check(
        "macro F1 against the champion's",
        reached,
        f"at least {champion}{margin}",
        not _is_below(scores.macro_f1, wanted),
        f"macro F1 {reached} is below the champion's {champion}{margin}",
    )


def _check_interval(comparison: ModelComparison, rule: GateRule) -> Check:
    """The lower end must lie above the limit; on it is not enough."""
    limit = rule.least_difference
    difference = comparison.difference
    share = f"{100 * comparison.confidence:g}%"
    span = f"{difference.value:+.3f}, {share} interval {difference.low:+.4f} to {difference.high:+.4f}"
    why = "better is not proven" if rule.require == "better" else "worse is not ruled out"
    return Check(
        "difference in macro F1",
        span,
        f"interval above {limit:+.3f}",
        _is_below(limit, difference.low),
        f"{why}: the difference in macro F1 is {span}, wanted above {limit:+.3f};"
        f" {comparison.rows:,} rows show no difference below {comparison.detectable:.3f}",
    )


def _check_drop(label: str, before: float, after: float, rule: GateRule) -> Check:
    drop = before - after
    limit, seen = _format_apart(rule.max_class_drop, drop)
    return Check(
        f"fall of F1 of {label!r}",
        f"{drop:.3f}",
        f"at most {limit}",
        not _is_below(rule.max_class_drop, drop),
        f"F1 of {label!r} falls by {seen}, from {before:.3f} to {after:.3f}, more than {limit}",
    )


def _is_below(value: float, limit: float) -> bool:
    """Compare to nine decimals, so that a sum in floating point does not decide."""
    return bool(np.round(value - limit, 9) < 0)


def _format_apart(value: float, limit: float, digits: int = 3) -> tuple[str, str]:
    """Return both with three decimals, or as many as it takes to see that they differ."""
    pairs = ((f"{value:.{more}f}", f"{limit:.{more}f}") for more in range(digits, 10))
    same = f"{value:.{digits}f}", f"{limit:.{digits}f}"
    return next((pair for pair in pairs if pair[0] != pair[1]), same)


def _praise(scores: Evaluation, before: Evaluation | None, comparison: ModelComparison | None, rule: GateRule) -> str:
    reached = f"macro F1 {scores.macro_f1:.3f} on {scores.rows} holdout rows"
    if before is None or comparison is None:
        return f"{reached} reaches the floor {rule.min_f1:.3f} and there is no champion yet"
    low, high = comparison.difference.low, comparison.difference.high
    return (
        f"{reached} against the champion's {before.macro_f1:.3f}"
        f" ({100 * comparison.confidence:g}% interval of the difference {low:+.3f} to {high:+.3f})"
    )


def _warn_of_wear(scores: Evaluation, rule: GateRule, earlier: int) -> list[str]:
    if earlier < rule.max_decisions:
        return []
    return [
        f"this holdout ({scores.dataset_digest[:12]}) has made {earlier} decisions before, {rule.max_decisions} wear it"
        " out: whoever tries often enough passes by luck; add new labelled rows"
    ]
