"""Which rows of a dataset can train a model, which were dropped and why, and when to stop."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import pandas as pd

from sentiment.data.datasets import Dataset, DatasetSource
from sentiment.data.text_normalization import normalise_text
from sentiment.errors import DatasetError

EXAMPLES_PER_REASON = 3
MAX_CLASSES = 3
CLASS_ORDER = ("negative", "neutral", "positive")
LENGTH_BINS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


@dataclass(frozen=True)
class DroppedRows:
    """Rows left out for one reason, with a few of them."""

    reason: str
    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class ValidationReport:
    """What was read, what was kept, what was dropped; lengths are in words, binned from each edge up."""

    dataset: str
    digest: str
    rows_read: int
    rows_kept: int
    dropped: tuple[DroppedRows, ...]
    class_counts: Mapping[str, int]
    length_counts: Mapping[int, int]

    @property
    def rows_dropped(self) -> int:
        return self.rows_read - self.rows_kept


def clean_dataset(raw: Dataset, source: DatasetSource) -> tuple[Dataset, ValidationReport]:
    """Return the rows that can train a model, labels mapped, and the report on all of them.

    Raises DatasetError when what is left cannot train one.
    """
    frame = raw.frame.assign(key=raw.frame["text"].map(normalise_text))
    dropped: list[DroppedRows] = []
    for reason, bad in (
        ("empty text", frame["key"] == ""),
        ("no label", frame["label"] == ""),
        ("unknown label", ~frame["label"].isin(source.labels) & bool(source.labels) & (frame["label"] != "")),
    ):
        frame = _drop(frame, bad.reindex(frame.index), reason, dropped)
    frame = frame.assign(label=frame["label"].map(lambda label: source.labels.get(label, label)))
    labels_per_key = frame.groupby("key")["label"].transform("nunique")
    frame = _drop(frame, labels_per_key > 1, "same text with different labels", dropped)
    frame = _drop(frame, frame.duplicated("key"), "duplicate text", dropped)
    clean = Dataset(raw.name, frame[["text", "label"]].reset_index(drop=True))
    report = _report(raw, clean, tuple(dropped))
    _require_classes(report, source)
    return clean, report


def order_labels(labels: Mapping[str, int] | set[str]) -> tuple[str, ...]:
    """Return the classes from negative to positive; others follow by name."""
    known = [label for label in CLASS_ORDER if label in labels]
    return (*known, *sorted(set(labels) - set(CLASS_ORDER)))


def _drop(frame: pd.DataFrame, bad: "pd.Series[bool]", reason: str, dropped: list[DroppedRows]) -> pd.DataFrame:
    rows = frame[bad]
    if len(rows):
        examples = tuple(
            f"{label or 'no label'}: {text[:80]}"
            for label, text in rows[["label", "text"]].head(EXAMPLES_PER_REASON).to_numpy()
            if text.strip()
        )
        dropped.append(DroppedRows(reason, len(rows), examples))
    return frame[~bad]


def _report(raw: Dataset, clean: Dataset, dropped: tuple[DroppedRows, ...]) -> ValidationReport:
    counts = {str(label): int(count) for label, count in clean.frame["label"].value_counts().items()}
    words = clean.frame["text"].map(lambda text: len(text.split()))
    lengths = {
        low: int(words.between(low, high, inclusive="left").sum())
        for low, high in pairwise([*LENGTH_BINS, sys.maxsize])
    }
    ordered = {label: counts[label] for label in order_labels(counts)}
    return ValidationReport(clean.name, clean.digest, len(raw.frame), len(clean.frame), dropped, ordered, lengths)


def _require_classes(report: ValidationReport, source: DatasetSource) -> None:
    reasons = "; ".join(f"{rows.count} {rows.reason}" for rows in report.dropped) or "none dropped"
    if not report.rows_kept:
        wanted = f" Known labels: {', '.join(source.labels)}." if source.labels else ""
        raise DatasetError(
            f"dataset {report.dataset!r} has no usable row left of {report.rows_read} ({reasons});"
            f" check dataset.text_column, dataset.label_column and dataset.labels.{wanted}"
        )
    classes = len(report.class_counts)
    if classes == 1:
        only = next(iter(report.class_counts))
        raise DatasetError(
            f"dataset {report.dataset!r} has only the class {only!r} ({report.rows_kept} rows);"
            " a model needs two or three classes: add rows or map more labels in dataset.labels."
        )
    if classes > MAX_CLASSES:
        found = ", ".join(list(report.class_counts)[:8])
        raise DatasetError(
            f"dataset {report.dataset!r} has {classes} classes ({found}); wanted two or three:"
            " map them in dataset.labels, for example {'1': negative, '5': positive}."
        )
