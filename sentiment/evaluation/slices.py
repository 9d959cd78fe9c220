"""Parts of a dataset that models find hard, and the rows on which they go wrong."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import f1_score

from sentiment.evaluation.predictions import Answers

WORD_EDGES = ((1, 4), (5, 15), (16, 50), (51, None))
NEGATION = re.compile(
    r"\b(?:not|no|never|none|nothing|nobody|neither|nor|cannot|without|\w+n['\u2019]t"
    r"|(?:ca|wo|do|does|did|is|are|was|were|have|has|had|would|could|should|ai|must|need)nt)\b",
    re.IGNORECASE,
)
EMOJI = re.compile(
    "[\U0001f1e6-\U0001faff\U0001f004\U0001f0cf\U0001f18e\U0001f191-\U0001f19a\u2600-\u27bf\u2b50\ufe0f"
    "\u231a\u231b\u23e9-\u23f3\u25fd\u25fe\u2b1b\u2b1c\u2b55]"
)
MIN_CAPITALS = 4

TRAITS: dict[str, Callable[[str], bool]] = {
    "negation": lambda text: bool(NEGATION.search(text)),
    "emoji": lambda text: bool(EMOJI.search(text)),
    "question": lambda text: "?" in text,
    "all caps": lambda text: text.isupper() and sum(map(str.isupper, text)) >= MIN_CAPITALS,
}

Rows = NDArray[np.bool_]


@dataclass(frozen=True)
class SliceScore:
    """Accuracy and macro F1, in [0, 1], on the rows of one slice; F1 over the classes that occur in it."""

    name: str
    rows: int
    accuracy: float
    macro_f1: float


@dataclass(frozen=True)
class Mistake:
    """A row answered wrongly, with the confidence in the wrong label."""

    text: str
    target: str
    answer: str
    confidence: float


@dataclass(frozen=True)
class Change:
    """A row on which exactly one of two models is right."""

    text: str
    target: str
    before: str
    after: str


def slice_texts(texts: Sequence[str]) -> dict[str, Rows]:
    """Return the slices by name, each as a mask over the texts; a text may be in several, or none."""
    words = np.array([len(text.split()) for text in texts])
    slices: dict[str, Rows] = {}
    for low, high in WORD_EDGES:
        name = f"{low}-{high} words" if high else f"{low} words or more"
        slices[name] = (words >= low) & (words <= (high or np.inf))
    for name, holds in TRAITS.items():
        slices[name] = np.array([holds(text) for text in texts]).astype(np.bool_)
    return slices


def score_slices(answers: Answers, texts: Sequence[str]) -> list[SliceScore]:
    """Return the scores on every slice that has rows."""
    found = []
    for name, rows in slice_texts(texts).items():
        if rows.any():
            targets, chosen = answers.targets[rows], answers.chosen[rows]
            met = np.unique(targets)
            f1 = f1_score(targets, chosen, labels=met, average="macro", zero_division=0)
            found.append(SliceScore(name, int(rows.sum()), float((targets == chosen).mean()), float(f1)))
    return found


def find_mistakes(answers: Answers, texts: Sequence[str], limit: int) -> list[Mistake]:
    """Return the wrong answers that were given with the most confidence."""
    wrong = np.flatnonzero(~answers.correct)
    worst = wrong[np.argsort(-answers.confidences[wrong], kind="stable")][:limit]
    return [
        Mistake(
            texts[row],
            answers.labels[answers.targets[row]],
            answers.labels[answers.chosen[row]],
            float(answers.confidences[row]),
        )
        for row in worst
    ]


def find_changes(before: Answers, after: Answers, texts: Sequence[str]) -> tuple[list[Change], list[Change]]:
    """Return the rows that went from wrong to right and from right to wrong, the surest new answers first.

    Both answered the same rows, with the same labels in order.
    """
    surest = np.argsort(-after.confidences, kind="stable")

    def collect(rows: Rows) -> list[Change]:
        return [
            Change(
                texts[row],
                after.labels[after.targets[row]],
                before.labels[before.chosen[row]],
                after.labels[after.chosen[row]],
            )
            for row in surest
            if rows[row]
        ]

    return collect(~before.correct & after.correct), collect(before.correct & ~after.correct)
