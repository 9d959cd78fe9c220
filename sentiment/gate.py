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
    why = f"champion version {champion_version} could not be measured: {reason}"
    return Decision("hold", (why,), rule, challenger, None, champion_version)


def write_decision(decision: Decision, path: Path) -> None:
    """Write the decision as JSON."""
    path.write_text(json.dumps({**asdict(decision), "summary": decision.summary}, indent=2) + "\n", encoding="utf-8")


def _find_failures(challenger: Evaluation, champion: Evaluation | None, rule: GateRule) -> list[str]:
    found = []
    if challenger.macro_f1 < rule.min_f1:
        found.append(f"macro F1 {challenger.macro_f1:.3f} is below the floor {rule.min_f1:.3f}")
    if champion is None:
        return found
    wanted = champion.macro_f1 + rule.min_improvement
    if challenger.macro_f1 < wanted:
        margin = f" plus {rule.min_improvement:.3f}" if rule.min_improvement else ""
        found.append(f"macro F1 {challenger.macro_f1:.3f} is below the champion's {champion.macro_f1:.3f}{margin}")
    for label, score in champion.classes.items():
        drop = score.f1 - challenger.classes[label].f1
        if drop > rule.max_class_drop:
            found.append(
                f"F1 of {label!r} falls by {drop:.3f}, from {score.f1:.3f} to {challenger.classes[label].f1:.3f},"
                f" more than {rule.max_class_drop:.3f}"
            )
    return found


def _praise(challenger: Evaluation, champion: Evaluation | None, rule: GateRule) -> str:
    reached = f"macro F1 {challenger.macro_f1:.3f} on {challenger.rows} holdout rows"
    if champion is None:
        return f"{reached} reaches the floor {rule.min_f1:.3f} and there is no champion yet"
    return f"{reached} against the champion's {champion.macro_f1:.3f}"
