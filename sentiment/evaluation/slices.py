"""Slices: parts of a dataset that models find hard, and the scores on each."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import f1_score

from sentiment.evaluation.predictions import Predictions

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


def score_slices(predictions: Predictions, texts: Sequence[str]) -> list[SliceScore]:
    """Return the scores on every slice that has rows."""
    found = []
    for name, rows in slice_texts(texts).items():
        if rows.any():
            targets, chosen = predictions.targets[rows], predictions.chosen[rows]
            met = np.unique(targets)
            f1 = f1_score(targets, chosen, labels=met, average="macro", zero_division=0)
            found.append(SliceScore(name, int(rows.sum()), float((targets == chosen).mean()), float(f1)))
    return found
