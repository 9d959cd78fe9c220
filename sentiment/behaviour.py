"""Behavioural tests: small cases with a known outcome, and how many of them a model passes (Ribeiro et al. 2020)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pandas as pd

from sentiment.errors import DatasetError
from sentiment.predictor import Predictor
from sentiment.state import CHECKOUT
from sentiment.text_graph import Floats

BEHAVIOUR_FILE = CHECKOUT / "data" / "behaviour.csv"
COLUMNS = ("kind", "topic", "text", "other", "expected")
MAX_WRONG_WAY = 0.05

Kind = Literal["minimum_function", "invariance", "direction"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Case:
    """One case.

    `minimum_function`: `text` has the label `expected`. `invariance`: `text` and `other` get the same label.
    `direction`: from `text` to `other` the balance of positive over negative does not move against `expected`.
    """

    kind: Kind
    topic: str
    text: str
    other: str
    expected: str


@dataclass(frozen=True)
class BehaviourScore:
    """How many cases of one kind, on one topic, were met."""

    kind: Kind
    topic: str
    passed: int
    cases: int


@dataclass(frozen=True)
class BehaviourReport:
    """The scores per kind and topic, and the cases that were not met."""

    scores: tuple[BehaviourScore, ...]
    failed: tuple[Case, ...]

    @property
    def rates(self) -> dict[str, float]:
        """The share of cases met per kind, for the kinds that were run."""
        return {kind: rate for kind in KINDS if (rate := self._rate(kind)) is not None}

    def _rate(self, kind: Kind) -> float | None:
        scores = [score for score in self.scores if score.kind == kind]
        cases = sum(score.cases for score in scores)
        return sum(score.passed for score in scores) / cases if cases else None


def read_cases(path: Path = BEHAVIOUR_FILE) -> list[Case]:
    """Return the cases in a CSV file. Raises DatasetError with the line that is wrong."""
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise DatasetError(f"the behavioural cases in {path} cannot be read; restore the file from git.") from error
    if tuple(frame.columns) != COLUMNS:
        raise DatasetError(f"{path.name} has the columns {', '.join(frame.columns)}; wanted {', '.join(COLUMNS)}.")
    cases = []
    for line, row in enumerate(frame.itertuples(index=False), start=2):
        case = Case(*row)
        if case.kind not in KINDS:
            raise DatasetError(f"{path.name} line {line}: the kind is {case.kind!r}; wanted one of {', '.join(KINDS)}.")
        if (case.kind == "minimum_function") == bool(case.other) or (case.kind == "invariance") == bool(case.expected):
            other = "no" if case.kind == "minimum_function" else "an"
            expected = "no" if case.kind == "invariance" else "an"
            raise DatasetError(
                f"{path.name} line {line}: {case.kind} wants {other} 'other' and {expected} 'expected'; mend the line."
            )
        cases.append(case)
    return cases


def run_cases(predictor: Predictor, cases: Sequence[Case]) -> BehaviourReport:
    """Return how the predictor does on the cases.

    Cases that expect a label the model does not have are left out; without positive and negative, all are.
    """
    if not {"positive", "negative"} <= set(predictor.labels):
        return BehaviourReport((), ())
    known = [case for case in cases if not case.expected or case.expected in predictor.labels]
    first = predictor.predict_probabilities([case.text for case in known])
    second = predictor.predict_probabilities([case.other or case.text for case in known])
    met = [_is_met(case, one, other, predictor.labels) for case, one, other in zip(known, first, second, strict=True)]
    tallies: dict[tuple[Kind, str], list[bool]] = {}
    for case, passed in zip(known, met, strict=True):
        tallies.setdefault((case.kind, case.topic), []).append(passed)
    scores = tuple(BehaviourScore(*key, sum(tally), len(tally)) for key, tally in sorted(tallies.items()))
    return BehaviourReport(scores, tuple(case for case, passed in zip(known, met, strict=True) if not passed))


def _is_met(case: Case, first: Floats, second: Floats, labels: Sequence[str]) -> bool:
    if case.kind == "minimum_function":
        return labels[int(first.argmax())] == case.expected
    if case.kind == "invariance":
        return bool(first.argmax() == second.argmax())
    moved = _measure_balance(second, labels) - _measure_balance(first, labels)
    return bool((moved if case.expected == "positive" else -moved) >= -MAX_WRONG_WAY)


def _measure_balance(row: Floats, labels: Sequence[str]) -> np.float32:
    balance: np.float32 = row[labels.index("positive")] - row[labels.index("negative")]
    return balance
