"""What is in production in this checkout: the Bento that targets get, and the bundle inside it, checked together."""

from dataclasses import dataclass
from pathlib import Path

import bentoml
from bentoml.exceptions import BentoMLException

from release.bento_store import carry_keys
from sentiment.bundle.bundle import Bundle
from sentiment.errors import DeployError
from sentiment.governance.admission import admit_bundle
from sentiment.paths import locate_state
from sentiment.production_pointer import ProductionPointer

AGAIN = "train again with `make train`, or roll back"


@dataclass(frozen=True)
class Production:
    """The model in production: the exact tags of its model and its Bento, the folder of the Bento, and the bundle."""

    model: str
    bento: str
    bento_folder: Path
    bundle: Bundle

    @property
    def version(self) -> str:
        """The version as every answer names it, such as 5-81d4da08a3a1."""
        return self.model.partition(":")[2]


def find_production() -> Production:
    """Return what is in production, whose files passed the gate.

    Raises DeployError, PointerError or BundleError when it is not all there, or not one thing, PromotionError when it
    never passed.
    """
    pointer = ProductionPointer.read(locate_state().production)
    if pointer is None:
        raise DeployError(
            "no model is in production in this checkout, so that there is nothing to deploy; `make train`."
        )
    model, bento, digest = pointer.tag, pointer.bento, pointer.digest
    try:
        built, stored = bentoml.bentos.get(bento), bentoml.models.get(model)
    except BentoMLException as error:
        raise DeployError(
            f"{bento} is in production, and BentoML's store has not all of it: {error}; {AGAIN}."
        ) from error
    inside = [str(found.tag) for found in built.info.all_models]
    if inside != [model]:
        raise DeployError(f"{bento} was built with {', '.join(inside) or 'no model'}, wanted {model}; {AGAIN}.")
    bundle = admit_bundle(Path(stored.path)).bundle
    if bundle.card.digest != digest:
        raise DeployError(
            f"{model} has the digest {bundle.card.digest[:12]}, production was promoted with {digest[:12]}; {AGAIN}."
        )
    carry_keys(bento)
    return Production(model, bento, Path(built.path), bundle)
