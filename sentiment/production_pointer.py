"""The pointer to the model in production: what a service that starts in a checkout serves, and what is deployed."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from sentiment.atomic_files import write_atomically
from sentiment.errors import PointerError
from sentiment.model_name import ModelName


@dataclass(frozen=True)
class ProductionPointer:
    """The exact tags of the model and the Bento in production, in BentoML's store, and the digest of the model."""

    tag: str
    bento: str
    digest: str

    @property
    def version(self) -> str:
        """The version as every prediction names it, such as 5-81d4da08a3a1."""
        return self.tag.partition(":")[2]

    @classmethod
    def read(cls, path: Path) -> "ProductionPointer | None":
        """Return what a file points to, or None where there is no file. Raises PointerError when it is damaged."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return cls(str(content["tag"]), str(content["bento"]), str(content["digest"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise PointerError(
                f"the pointer to the model in production, {path}, cannot be read; train again with `make train`,"
                " roll back, or name a model from `bentoml models list` in SENTIMENT_MODEL_TAG."
            ) from error

    @classmethod
    def to(cls, name: ModelName) -> "ProductionPointer":
        """Return the pointer to a model."""
        return cls(name.tag, name.bento, name.digest)

    def write(self, path: Path) -> None:
        """Write the pointer whole, or not at all."""
        write_atomically(path, json.dumps(asdict(self), indent=2) + "\n")
