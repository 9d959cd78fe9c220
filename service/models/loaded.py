"""Models in memory: how a worker loads the models of a desired state, and which model may be a canary.

`sentiment/bundle/verify.py` says whether a bundle is sound, `sources.py` where it comes from.
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
from service.models.desired_state import DesiredCanary, DesiredState

OpenModel = Callable[[Path], Predictor]
"""Returns the predictor of a bundle; raises SentimentError or ValueError for a bundle that is not sound."""


class TryBundle(Protocol):
    """Returns the digest of a bundle and its prediction; raises BundleError for a bundle that is not sound."""

    def __call__(self, folder: Path, patience: Patience, *, copies: int) -> tuple[str, str]: ...


@dataclass(frozen=True)
class LoadedModel:
    """A predictor and its version."""

    predictor: Predictor
    version: str


@dataclass(frozen=True)
class Canary:
    """A second model that answers, and the share and time it was given."""

    model: LoadedModel
    desired: DesiredCanary


@dataclass(frozen=True)
class Prepared:
    """The models of a desired state, ready to answer."""

    desired: DesiredState
    champion: LoadedModel
    canary: Canary | None = None


class Preparation:
    """Loads the models of a desired state in a thread, so that its worker can react to other orders meanwhile.

    When it is done, there is either `prepared` or, in one sentence, `refusal`.
    """

    def __init__(self, desired: DesiredState, load_all: Callable[[DesiredState], Prepared]) -> None:
        self.desired = desired
        self.prepared: Prepared | None = None
        self.refusal = ""
        self.is_reported = False
        self._load_all = load_all
        self._thread = threading.Thread(target=self._run, name="loading a model", daemon=True)
        self._thread.start()

    @property
    def is_done(self) -> bool:
        return self.prepared is not None or bool(self.refusal)

    def wait(self, seconds: float) -> None:
        """Return when it is done, or after so many seconds."""
        self._thread.join(seconds)

    def _run(self) -> None:
        try:
            self.prepared = self._load_all(self.desired)
        except BaseException as error:  # noqa: BLE001 - a panic in a Rust library is not an Exception
            known = isinstance(error, SentimentError | ValueError | OSError) and str(error)
            self.refusal = known or f"{self.desired.version} cannot be opened ({type(error).__name__})"


def load_model(desired: DesiredState | DesiredCanary, open_model: OpenModel) -> LoadedModel:
    """Return a model. Raises what `open_model` raises, and BundleError if the files changed after their trial."""
    if desired.digest and read_card(Path(desired.folder)).digest != desired.digest:
        raise BundleError(f"the model in {desired.folder} is not the one that was tried; ask for it again.")
    return LoadedModel(open_model(Path(desired.folder)), desired.version)


def load_canary(desired: DesiredCanary, champion: LoadedModel, open_model: OpenModel) -> Canary:
    """Return a canary. Raises BundleError if its labels are not the champion's, or it is the champion itself."""
    model = load_model(desired, open_model)
    found, wanted = model.predictor.labels, champion.predictor.labels
    if set(found) != set(wanted):
        raise BundleError(
            f"{desired.version} says {', '.join(found)} and {champion.version}, which answers, {', '.join(wanted)};"
            " a canary wants the same labels."
        )
    if model.predictor.bundle.card.digest == champion.predictor.bundle.card.digest:
        raise BundleError(f"{desired.version} is the model that answers already; name another for a canary.")
    return Canary(model, desired)
