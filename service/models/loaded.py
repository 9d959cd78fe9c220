"""The models of a choice once they are open: what answers, and which model may answer beside another.

Whether a bundle is sound is in `sentiment/bundle/verify.py`, where it comes from in `sources.py`.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sentiment.bundle.bundle import read_card
from sentiment.bundle.predictor import Predictor
from sentiment.bundle.trial import Patience
from sentiment.errors import BundleError, SentimentError
from service.models.desired_state import CanaryChoice, Choice

OpenModel = Callable[[Path], Predictor]
"""Returns what answers from a bundle; raises SentimentError or ValueError for one that is not sound."""


class TryBundle(Protocol):
    """Returns the digest of a bundle and its answer; raises BundleError for one that is not sound."""

    def __call__(self, folder: Path, patience: Patience, *, copies: int) -> tuple[str, str]: ...


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


Models = tuple[Served, Canary | None]


class Opening:
    """Opens a choice in a thread of its own, so that the one that takes orders never waits for it.

    Once it is done, `models` is there or, in a sentence, the `refusal`.
    """

    def __init__(self, choice: Choice, open_all: Callable[[Choice], Models]) -> None:
        self.choice = choice
        self.models: Models | None = None
        self.refusal = ""
        self.is_reported = False
        self._open_all = open_all
        self._thread = threading.Thread(target=self._run, name="opening a model", daemon=True)
        self._thread.start()

    @property
    def is_done(self) -> bool:
        return self.models is not None or bool(self.refusal)

    def wait(self, seconds: float) -> None:
        """Return once it is done, or after so long."""
        self._thread.join(seconds)

    def _run(self) -> None:
        try:
            self.models = self._open_all(self.choice)
        except BaseException as error:  # noqa: BLE001 - a library in Rust panics with none of the exceptions
            known = isinstance(error, SentimentError | ValueError | OSError) and str(error)
            self.refusal = known or f"{self.choice.version} cannot be opened ({type(error).__name__})"


def open_served(choice: Choice | CanaryChoice, open_model: OpenModel) -> Served:
    """Return the model that was chosen. Raises what `open_model` does, and BundleError for another than was tried."""
    if choice.digest and read_card(Path(choice.folder)).digest != choice.digest:
        raise BundleError(f"the model in {choice.folder} is not the one that was tried; ask for it again.")
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
