"""What a fine-tuning leaves in its folder: checkpoints, the best weights, and the note that it ended.

Every file of ours is written beside its name and moved there whole, so that a kill leaves the one before. The last
file of a checkpoint lists the digests of all the others: the names and formats of the Trainer do not matter.
"""

import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_model

from sentiment.atomic_files import write_atomically
from sentiment.bundle.bundle import digest_file
from sentiment.candidates.transformer.classifier import TextClassifier
from sentiment.errors import TrainingError

BEST_FILE, AVERAGED_FILE, DONE_FILE = "best.safetensors", "averaged.safetensors", "done.json"
SEAL_FILE = "seal.json"
CHECKPOINT = "checkpoint-"
"""How the Trainer names its checkpoints, before the step."""

logger = logging.getLogger(__name__)


def find_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint whose files are whole; those that a crash cut short are removed and said."""
    named = {path.name.removeprefix(CHECKPOINT): path for path in folder.glob(f"{CHECKPOINT}*")}
    numbered = {int(number): path for number, path in named.items() if number.isdigit()}
    if numbered and not holds_weights(folder / BEST_FILE):
        logger.warning("the best weights in %s are damaged; the fine-tuning starts anew", folder)
        for path in numbered.values():
            shutil.rmtree(path)
        return None
    for _, path in sorted(numbered.items(), reverse=True):
        if _is_whole(path):
            return path
        logger.warning("%s was cut short and is passed over", path)
        shutil.rmtree(path)
    return None


def is_done(folder: Path, names: set[str]) -> bool:
    """Return whether a fine-tuning ended here and what it left can be read; what cannot is made anew."""
    try:
        done = json.loads((folder / DONE_FILE).read_text(encoding="utf-8"))
        sound = isinstance(done["validation_f1"], float) and isinstance(done["seconds"], int | float)
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return sound and holds_weights(folder / BEST_FILE, names)


def holds_weights(file: Path, names: set[str] | None = None) -> bool:
    """Return whether a file of weights is whole and, where names are given, has none but these."""
    try:
        with safe_open(file, "pt") as weights:
            found = set(weights.keys())
            return bool(found) and (names is None or found <= names)
    except (OSError, SafetensorError):
        return False


def save_whole(model: torch.nn.Module, path: Path) -> None:
    """Write the weights of a model; a kill leaves what was there before."""
    scratch = path.with_suffix(".part")  # not `write_atomically`: safetensors writes to a path alone
    save_model(model, str(scratch))
    scratch.replace(path)


def name_checkpoint(step: int) -> str:
    """Return the name of the folder in which the Trainer puts its checkpoint of a step."""
    return f"{CHECKPOINT}{step}"


def seal_checkpoint(checkpoint: Path) -> None:
    """Note the digests of all files of a checkpoint; without them it counts as cut short."""
    write_atomically(checkpoint / SEAL_FILE, json.dumps(_digest_files(checkpoint)))


def note_end(folder: Path, validation_f1: float | None, seconds: float) -> None:
    """Note that a fine-tuning ended, and drop the checkpoints that it no longer needs."""
    write_atomically(folder / DONE_FILE, json.dumps({"validation_f1": validation_f1, "seconds": seconds}))
    for left in folder.glob(f"{CHECKPOINT}*"):
        shutil.rmtree(left)


def average_weights(weights: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Return the mean of each weight over several runs from the same start (Wortsman et al. 2022)."""
    return {name: torch.stack([run[name].float() for run in weights]).mean(dim=0) for name in weights[0]}


def load_state(model: TextClassifier, weights: dict[str, torch.Tensor]) -> None:
    """Put weights into a model. Raises TrainingError when they are not of this model."""
    missing, unexpected = model.load_state_dict(weights, strict=False)
    state = model.state_dict()
    there = {state[name].data_ptr() for name in weights if name in state}
    # What safetensors left out is tied to a weight that is there.
    lacking = [name for name in missing if state[name].data_ptr() not in there]
    if lacking or unexpected:
        raise TrainingError(
            f"weights that a fine-tuning left in the state folder lack {len(lacking)} of the model's;"
            " delete its folder 'finetuned' and train again."
        )


def _is_whole(checkpoint: Path) -> bool:
    try:
        sealed = json.loads((checkpoint / SEAL_FILE).read_text(encoding="utf-8"))
        return bool(sealed == _digest_files(checkpoint))
    except (OSError, ValueError):
        return False


def _digest_files(checkpoint: Path) -> dict[str, str]:
    return {path.name: digest_file(path) for path in checkpoint.iterdir() if path.name != SEAL_FILE}
