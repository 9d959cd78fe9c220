"""Whether a bundle can be served: its digests hold, its graph runs, its answers add up.

`python -m sentiment.bundle.verify FOLDER [SECONDS BYTES]` asks that in a process of its own, which a broken graph may
bring down, and which ends by itself; `trial.py` starts it.
"""

import os
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from sentiment.bundle.bundle import Bundle, open_bundle
from sentiment.bundle.onnx_session import GRAPH_ERRORS, Floats
from sentiment.bundle.predictor import Predictor
from sentiment.errors import BundleError

MAX_SUM_GAP = 1e-3
WARM_TEXTS = ("good", "a sentence of some length to warm the model with " * 4)
SMOKE_TEXT = "I love this, thank you so much!"
LONG_WORD = "word "
NICENESS = 5


def open_sound_model(folder: Path, check: Callable[[Bundle], object] = lambda _: None) -> Predictor:
    """Return a predictor that is warm and has answered. Raises BundleError when the bundle is not sound.

    `check` hears of the bundle before its graph is run, and may raise.
    """
    bundle = open_bundle(folder)
    check(bundle)
    predictor = Predictor(bundle)
    require_sound(predictor, WARM_TEXTS)
    return predictor


def require_sound(predictor: Predictor, texts: Sequence[str]) -> Floats:
    """Return the probabilities for some texts. Raises BundleError where they are none."""
    folder = predictor.bundle.folder
    try:
        answers = predictor.predict_probabilities(texts)
    except GRAPH_ERRORS as error:
        raise BundleError(
            f"the graph in {folder} fails over a text ({type(error).__name__}); train and export it again."
        ) from error
    if not all(abs(float(total) - 1) < MAX_SUM_GAP for total in answers.sum(axis=1)):
        raise BundleError(f"the probabilities of the graph in {folder} do not add up to 1; train and export it again.")
    return answers


def bound_process(seconds: int, memory_bytes: int) -> None:
    """Let the system end this process after so long, refuse it more memory, and sacrifice it before any other."""
    signal.alarm(seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    # Not the address space: the engine maps more of it than it uses. This one counts what a process may write to.
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(NICENESS)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def main(folder: str, *bounds: str) -> None:
    """Write the digest of the bundle and its answer to one text, or one sentence and exit 1 where it is not sound."""
    if bounds:
        bound_process(*map(int, bounds))
    try:
        predictor = Predictor(open_bundle(Path(folder)))
        card = predictor.bundle.card
        answer = require_sound(predictor, (SMOKE_TEXT, LONG_WORD * card.max_tokens))[0]
    except BundleError as error:
        said, code = str(error), 1
    except Exception as error:  # noqa: BLE001 - whatever a file made a library raise
        said, code = f"the model in {folder} cannot be opened ({type(error).__name__}); train and export it again.", 1
    else:
        said, code = f"{card.digest} {card.labels[int(answer.argmax())]} {answer.max():.2f}", 0
    sys.stdout.write(f"{said}\n")
    sys.exit(code)


if __name__ == "__main__":
    main(*sys.argv[1:])
