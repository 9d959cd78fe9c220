"""Behavioural tests: small cases with a known outcome, and how many of them a model passes (Ribeiro et al. 2020)."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from sentiment.bundle.onnx_session import Floats
from sentiment.bundle.predictor import Predictor
from sentiment.errors import DatasetError
from sentiment.paths import CHECKOUT

BEHAVIOUR_FILE = CHECKOUT / "data" / "behaviour.csv"
COLUMNS = ("kind", "topic", "text", "other", "expected")
POLES = ("positive", "negative")
MAX_WRONG_WAY = 0.05

CaseKind = Literal["minimum_function", "invariance", "direction"]
KINDS: tuple[CaseKind, ...] = get_args(CaseKind)


@dataclass(frozen=True)
class Case:
    """One case.

    `minimum_function`: `text` has the label `expected`. `invariance`: `text` and `other` get the same label.
    `direction`: from `text` to `other` the balance of positive over negative does not move against `expected`.
    """

    kind: CaseKind
    topic: str
    text: str
    other: str
    expected: str


@dataclass(frozen=True)
class BehaviourScore:
    """How many cases of one kind, on one topic, were met."""

    kind: CaseKind
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

    def _rate(self, kind: CaseKind) -> float | None:
        scores = [score for score in self.scores if score.kind == kind]
        cases = sum(score.cases for score in scores)
        return sum(score.passed for score in scores) / cases if cases else None


def read_cases(path: Path = BEHAVIOUR_FILE) -> list[Case]:
    """Return the cases in a CSV file. Raises DatasetError with the line that is wrong."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(filter(None, reader), [])
            if tuple(header) != COLUMNS:
                raise DatasetError(
                    f"{path.name} has the columns {', '.join(header) or 'none'}; wanted {', '.join(COLUMNS)}."
                )
            cases, line = [], reader.line_num + 1
            for row in reader:
                if row:
                    cases.append(_read_case(row, f"{path.name} line {line}"))
                line = reader.line_num + 1
    except (OSError, ValueError, csv.Error) as error:
        raise DatasetError(f"the behavioural cases in {path} cannot be read; restore the file from git.") from error
    return cases


def _read_case(row: Sequence[str], place: str) -> Case:
    if len(row) != len(COLUMNS):
        raise DatasetError(f"{place} has {len(row)} cells; wanted {len(COLUMNS)}: {', '.join(COLUMNS)}.")
    kind, topic, text, other, expected = row
    if kind not in KINDS:
        raise DatasetError(f"{place}: the kind is {kind!r}; wanted one of {', '.join(KINDS)}.")
    if not text.strip() or not topic.strip():
        raise DatasetError(f"{place} has an empty topic or text; mend the line.")
    if (kind == "minimum_function") == bool(other) or (kind == "invariance") == bool(expected):
        wants_other = "no" if kind == "minimum_function" else "an"
        wants_expected = "no" if kind == "invariance" else "an"
        raise DatasetError(
            f"{place}: {kind} wants {wants_other} 'other' and {wants_expected} 'expected'; mend the line."
        )
    if kind == "direction" and expected not in POLES:
        raise DatasetError(f"{place}: a direction expects {' or '.join(POLES)}, not {expected!r}.")
    return Case(kind, topic, text, other, expected)


def run_cases(predictor: Predictor, cases: Sequence[Case]) -> BehaviourReport:
    """Return how the predictor does on the cases.

    Cases that expect a label the model does not have are left out; without positive and negative, all are.
    """
    if not set(POLES) <= set(predictor.labels):
        return BehaviourReport((), ())
    known = [case for case in cases if not case.expected or case.expected in predictor.labels]
    if not known:
        return BehaviourReport((), ())
    first = predictor.predict_probabilities([case.text for case in known])
    second = predictor.predict_probabilities([case.other or case.text for case in known])
    met = [_is_met(case, one, other, predictor.labels) for case, one, other in zip(known, first, second, strict=True)]
    tallies: dict[tuple[CaseKind, str], list[bool]] = {}
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
