"""The models of a choice once they are open: what answers, and which model may answer beside another.

Whether a bundle is sound is in `sentiment/soundness.py`, where it comes from in `model.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sentiment.errors import BundleError
from sentiment.predictor import Predictor
from service.choices import CanaryChoice, Choice

OpenModel = Callable[[Path], Predictor]
"""Returns what answers from a bundle; raises SentimentError or ValueError for one that is not sound."""


@dataclass(frozen=True)
class Served:
    """A predictor that answers, and the version it is called by."""

    predictor: Predictor
    version: str


@dataclass(frozen=True)
class Canary:
    """A second model that answers, as it was chosen."""

    served: Served
    choice: CanaryChoice


def open_served(choice: Choice | CanaryChoice, open_model: OpenModel) -> Served:
    """Return the model that was chosen. Raises what `open_model` does."""
    return Served(open_model(Path(choice.folder)), choice.version)


def open_canary(choice: CanaryChoice, champion: Served, open_model: OpenModel) -> Canary:
    """Return a canary that can be compared with the champion. Raises BundleError for any other."""
    canary = open_served(choice, open_model)
    said, wanted = canary.predictor.labels, champion.predictor.labels
    if set(said) != set(wanted):
        raise BundleError(
            f"{choice.version} says {', '.join(said)} and {champion.version}, which answers, {', '.join(wanted)};"
            " a canary wants the same labels."
        )
    if canary.predictor.bundle.card.digest == champion.predictor.bundle.card.digest:
        raise BundleError(f"{choice.version} is the model that answers already; name another for a canary.")
    return Canary(canary, choice)
