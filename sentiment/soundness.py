"""Whether a bundle can be served: its digests hold, its graph runs, its answers add up.

`python -m sentiment.soundness FOLDER` asks that in a process of its own, which a broken graph may bring down.
"""

import sys
from collections.abc import Callable
from pathlib import Path

from sentiment.bundle import Bundle, open_bundle
from sentiment.errors import BundleError
from sentiment.predictor import Predictor
from sentiment.text_graph import GRAPH_ERRORS

MAX_SUM_GAP = 1e-3
WARM_TEXTS = ("good", "a sentence of some length to warm the model with " * 4)
SMOKE_TEXT = "I love this, thank you so much!"


def open_sound_model(folder: Path, check: Callable[[Bundle], object] = lambda _: None) -> Predictor:
    """Return a predictor that is warm and has answered. Raises BundleError when the bundle is not sound.

    `check` hears of the bundle before its graph is run, and may raise.
    """
    bundle = open_bundle(folder)
    check(bundle)
    predictor = Predictor(bundle)
    try:
        sums = predictor.predict_probabilities(WARM_TEXTS).sum(axis=1)
    except GRAPH_ERRORS as error:
        raise BundleError(
            f"the graph in {folder} fails over a text ({type(error).__name__}); train and export it again."
        ) from error
    if not all(abs(float(total) - 1) < MAX_SUM_GAP for total in sums):
        raise BundleError(f"the probabilities of the graph in {folder} do not add up to 1; train and export it again.")
    return predictor


def main() -> None:
    """Write the digest of the bundle and its answer to one text; exit 1 with one sentence where it is not sound."""
    try:
        predictor = open_sound_model(Path(sys.argv[1]))
        (answer,) = predictor.predict([SMOKE_TEXT])
    except BundleError as error:
        sys.exit(str(error))
    sys.stdout.write(f"{predictor.bundle.card.digest} {answer.label} {answer.confidence:.2f}\n")


if __name__ == "__main__":
    main()
