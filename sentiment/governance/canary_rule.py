"""The rule of a canary: what champion and canary answered side by side, and what follows from it.

Who watches looks again and again, and would in the end see by chance what it waits for if each look were judged as if
it were the only one. The intervals here are wider, by Robbins' mixture: they hold at all looks at once, however many.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import log, sqrt
from typing import Literal

CanaryOutcome = Literal["wait", "promote", "back out"]

SLOW_QUANTILE = 0.95


@dataclass(frozen=True)
class CanaryRule:
    """What a canary must show; shares, rises, drops and shifts are in [0, 1], confidence in (0, 1).

    Slow is a request that takes over `max_latency_ratio` times the champion's p95.
    """

    min_answers: int
    max_minutes: float
    confidence: float
    max_failures: int
    max_uncertain_rise: float
    max_confidence_drop: float
    max_label_shift: float
    max_latency_ratio: float
    max_slow_rise: float
    max_accuracy_drop: float
    min_feedback: int


@dataclass(frozen=True)
class Figures:
    """What one model answered in a window: sums over its answers, and over its requests.

    `squared_sizes` is the sum of the squares of the number of texts in a request; `confidence_sum` and
    `confidence_squares` are over answers; `feedback` counts labels that callers gave, `right` those that agree.
    """

    requests: int = 0
    answers: int = 0
    squared_sizes: int = 0
    uncertain: int = 0
    confidence_sum: float = 0.0
    confidence_squares: float = 0.0
    labels: Mapping[str, int] | None = None
    p95_ms: float = 0.0
    slow: int = 0
    feedback: int = 0
    right: int = 0

    @property
    def independent(self) -> float:
        """How many answers these are worth: texts of one request may be alike, so that they count as one witness."""
        return self.answers**2 / self.squared_sizes if self.squared_sizes else 0.0

    def share_of(self, count: int) -> float:
        """Return the share of the answers."""
        return count / self.answers if self.answers else 0.0

    @property
    def mean_confidence(self) -> float:
        return self.confidence_sum / self.answers if self.answers else 0.0


@dataclass(frozen=True)
class FigureComparison:
    """One figure of both models, the interval of how much worse the canary's is, and how much worse it may be."""

    name: str
    champion: float
    canary: float
    low: float
    high: float
    limit: float

    @property
    def is_harm(self) -> bool:
        """Whether the canary is proven to be worse than it may be."""
        return self.low > self.limit

    @property
    def is_harmless(self) -> bool:
        """Whether the canary is proven not to be."""
        return self.high <= self.limit

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.canary:.3f} against the champion's {self.champion:.3f}"
            f" (worse by {self.low:+.3f} to {self.high:+.3f}, at most {self.limit:.3f} is allowed)"
        )


@dataclass(frozen=True)
class Verdict:
    """What to do, why, and the comparisons that it rests on."""

    outcome: CanaryOutcome
    reasons: tuple[str, ...]
    comparisons: tuple[FigureComparison, ...]

    @property
    def summary(self) -> str:
        """The reasons in one line."""
        return "; ".join(self.reasons)


def judge_canary(champion: Figures, canary: Figures, failures: int, minutes: float, rule: CanaryRule) -> Verdict:
    """Return what to do after so many minutes, in which the canary failed to answer so many texts.

    Harm that is proven backs it out, and so does the end of its time; it is promoted once every figure is proven to
    be no worse than it may be, all at the same look.
    """
    if failures > rule.max_failures:
        return Verdict("back out", (f"it failed to answer {failures} texts, at most {rule.max_failures} may be",), ())
    is_over = minutes >= rule.max_minutes
    seen, wanted = int(min(champion.independent, canary.independent)), rule.min_answers
    if seen < wanted:
        few = (
            f"the canary gave {canary.answers:,} answers and the champion {champion.answers:,}, in"
            f" {canary.requests:,} and {champion.requests:,} requests: too few, {wanted:,} of each are wanted;"
            " take a larger share or more minutes, or lower canary.min_answers"
        )
        return Verdict("back out" if is_over else "wait", (few,), ())
    comparisons = tuple(compare_figures(champion, canary, rule))
    harms = tuple(str(one) for one in comparisons if one.is_harm)
    if harms:
        return Verdict("back out", harms, comparisons)
    needed = [one for one in comparisons if one.name != ACCURACY]  # feedback is seldom enough to prove no harm
    open_ones = tuple(str(one) for one in needed if not one.is_harmless)
    if not open_ones:
        return Verdict("promote", (f"no figure is worse than it may be, over {canary.answers:,} answers",), comparisons)
    if is_over:
        return Verdict("back out", ("worse is not ruled out in its time", *open_ones), comparisons)
    return Verdict("wait", open_ones, comparisons)


UNCERTAIN, CONFIDENCE, SLOW, ACCURACY = "uncertain share", "mean confidence", "share of slow requests", "accuracy"


def compare_figures(champion: Figures, canary: Figures, rule: CanaryRule) -> list[FigureComparison]:
    """Return a comparison for each figure; accuracy where there is feedback enough for both."""
    n, m = champion.independent, canary.independent
    half_width = find_half_width(n * m / (n + m) / rule.min_answers, rule.confidence)

    def compare_shares(
        name: str, before: tuple[float, float], after: tuple[float, float], limit: float, *, falls: bool = False
    ) -> FigureComparison:
        value, error = find_difference(before, after)
        low, high = value - half_width * error, value + half_width * error
        if falls:
            low, high = -high, -low
        return FigureComparison(name, before[0], after[0], low, high, limit)

    found = [
        compare_shares(
            UNCERTAIN,
            (champion.share_of(champion.uncertain), n),
            (canary.share_of(canary.uncertain), m),
            rule.max_uncertain_rise,
        ),
        _compare_confidence(champion, canary, half_width, rule.max_confidence_drop),
        compare_shares(
            SLOW,
            (champion.slow / champion.requests, champion.requests),
            (canary.slow / canary.requests, canary.requests),
            rule.max_slow_rise,
        ),
    ]
    said, says = champion.labels or {}, canary.labels or {}
    for label in sorted({*said, *says}):
        before, after = champion.share_of(said.get(label, 0)), canary.share_of(says.get(label, 0))
        one = compare_shares(f"share of {label!r}", (before, n), (after, m), rule.max_label_shift)
        # A shift is one in either direction.
        nearest = 0.0 if one.low <= 0 <= one.high else min(abs(one.low), abs(one.high))
        found.append(FigureComparison(one.name, before, after, nearest, max(abs(one.low), abs(one.high)), one.limit))
    if min(champion.feedback, canary.feedback) >= rule.min_feedback:
        right_before = (champion.right / champion.feedback, champion.feedback)
        right_after = (canary.right / canary.feedback, canary.feedback)
        found.append(compare_shares(ACCURACY, right_before, right_after, rule.max_accuracy_drop, falls=True))
    return found


def find_half_width(progress: float, confidence: float) -> float:
    """Return how many standard errors an interval reaches, so that it holds at all looks at once.

    `progress` is how much of the planned information there is by now: the interval is narrowest at 1. It is Robbins'
    normal mixture (Annals of Mathematical Statistics 41, 1970), 3.0 at confidence 0.95 where a single look has 1.96.
    """
    error = 1 - confidence
    prior = 1 / (2 * log(1 / error) + log(1 + 2 * log(1 / error)))
    return sqrt((1 + prior / progress) * log((progress + prior) / (prior * error**2)))


def find_difference(before: tuple[float, float], after: tuple[float, float]) -> tuple[float, float]:
    """Return the difference of two shares, each with the answers it rests on, and its standard error.

    By Agresti and Caffo (The American Statistician 54, 2000): with one success and one failure more on either side it
    holds for shares near 0 and 1, too.
    """
    (share_before, n), (share_after, m) = before, after
    p, q = (share_before * n + 1) / (n + 2), (share_after * m + 1) / (m + 2)
    return q - p, sqrt(p * (1 - p) / (n + 2) + q * (1 - q) / (m + 2))


def _compare_confidence(champion: Figures, canary: Figures, half_width: float, limit: float) -> FigureComparison:
    before, after = champion.mean_confidence, canary.mean_confidence
    error = sqrt(sum(_find_variance(one) / one.independent for one in (champion, canary)))
    fall = before - after
    return FigureComparison(CONFIDENCE, before, after, fall - half_width * error, fall + half_width * error, limit)


def _find_variance(figures: Figures) -> float:
    return max(0.0, figures.confidence_squares / figures.answers - figures.mean_confidence**2)
