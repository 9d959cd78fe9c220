"""The gate: champion and challenger measured on the same holdout, and what follows from it."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from sentiment.evaluation import Evaluation

Outcome = Literal["pass", "block", "hold"]


@dataclass(frozen=True)
class GateRule:
    """What a challenger must reach; F1 figures and drops are in [0, 1]."""

    min_f1: float
    min_improvement: float
    max_class_drop: float


@dataclass(frozen=True)
class Decision:
    """What the gate said, the reasons in words, and the two measurements it rests on."""

    outcome: Outcome
    reasons: tuple[str, ...]
    rule: GateRule
    challenger: Evaluation
    champion: Evaluation | None
    champion_version: str | None

    @property
    def passed(self) -> bool:
        return self.outcome == "pass"

    @property
    def summary(self) -> str:
        """One sentence for people."""
        consequence = "" if self.passed else "; the Bento was not built"
        return "; ".join(self.reasons) + consequence + "."


def decide_gate(
    challenger: Evaluation, champion: Evaluation | None, rule: GateRule, *, champion_version: str | None = None
) -> Decision:
    """Return the decision on a challenger; both evaluations are of the same holdout.

    Without a champion the floor alone decides.
    """
    outcome: Outcome
    failures = _find_failures(challenger, champion, rule)
    if champion is not None and champion.bundle_digest == challenger.bundle_digest:
        failures = [f"the challenger is the model already in production, version {champion_version}"]
    if failures:
        outcome, reasons = "block", failures
    else:
        outcome, reasons = "pass", [_praise(challenger, champion, rule)]
    return Decision(outcome, tuple(reasons), rule, challenger, champion, champion_version)


def hold_decision(challenger: Evaluation, rule: GateRule, champion_version: str, reason: str) -> Decision:
    """Return the decision for a champion that cannot be measured: nobody is promoted over an unknown."""
    why = f"champion version {champion_version} could not be measured: {reason.rstrip('.')}"
    return Decision("hold", (why,), rule, challenger, None, champion_version)


def write_decision(decision: Decision, path: Path) -> None:
    """Write the decision as JSON."""
    path.write_text(json.dumps({**asdict(decision), "summary": decision.summary}, indent=2) + "\n", encoding="utf-8")


def _find_failures(challenger: Evaluation, champion: Evaluation | None, rule: GateRule) -> list[str]:
    found = []
    if _is_below(challenger.macro_f1, rule.min_f1):
        reached, floor = _say_apart(challenger.macro_f1, rule.min_f1)
        found.append(f"macro F1 {reached} is below the floor {floor}")
    if champion is None:
        return found
    wanted = champion.macro_f1 + rule.min_improvement
    if _is_below(challenger.macro_f1, wanted):
        reached, _ = _say_apart(challenger.macro_f1, wanted)
        margin = f" plus {rule.min_improvement:.3f}" if rule.min_improvement else ""
        before = f"{champion.macro_f1:.{len(reached) - 2}f}"
        found.append(f"macro F1 {reached} is below the champion's {before}{margin}")
    for label, score in champion.classes.items():
        drop = score.f1 - challenger.classes[label].f1
        if _is_below(rule.max_class_drop, drop):
            limit, seen = _say_apart(rule.max_class_drop, drop)
            found.append(
                f"F1 of {label!r} falls by {seen}, from {score.f1:.3f} to {challenger.classes[label].f1:.3f},"
                f" more than {limit}"
            )
    return found


def _is_below(value: float, limit: float) -> bool:
    """Compare to nine decimals, so that a sum in floating point does not decide."""
    return round(value - limit, 9) < 0


def _say_apart(value: float, limit: float) -> tuple[str, str]:
    """Return both with three decimals, or as many as it takes to see that they differ."""
    pairs = ((f"{value:.{digits}f}", f"{limit:.{digits}f}") for digits in range(3, 10))
    return next((pair for pair in pairs if pair[0] != pair[1]), (f"{value:.9f}", f"{limit:.9f}"))


def _praise(challenger: Evaluation, champion: Evaluation | None, rule: GateRule) -> str:
    reached = f"macro F1 {challenger.macro_f1:.3f} on {challenger.rows} holdout rows"
    if champion is None:
        return f"{reached} reaches the floor {rule.min_f1:.3f} and there is no champion yet"
    return f"{reached} against the champion's {champion.macro_f1:.3f}"
