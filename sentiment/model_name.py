"""The name of a model that is registered, and how each store spells it."""

import re
from dataclasses import dataclass

from sentiment.errors import RegistryError

MODEL, BENTO = "sentiment", "sentigate"
DIGEST_LENGTH = 12
SPELLING = re.compile(rf"(\d+)-([0-9a-f]{{{DIGEST_LENGTH}}})")


@dataclass(frozen=True)
class ModelName:
    """A version of the registry: its number there, and the digest of its files.

    As text it is what predictions and images name, such as 5-81d4da08a3a1.
    """

    number: str
    digest: str

    def __str__(self) -> str:
        return f"{self.number}-{self.digest[:DIGEST_LENGTH]}"

    @property
    def tag(self) -> str:
        """The model in BentoML's store."""
        return f"{MODEL}:{self}"

    @property
    def bento(self) -> str:
        """The Bento in BentoML's store that has this model inside."""
        return f"{BENTO}:{self}"

    @classmethod
    def parse(cls, text: str) -> "ModelName":
        """Return the name that a text spells; of the digest it has the start alone.

        Raises RegistryError for a text that spells none.
        """
        found = SPELLING.fullmatch(text)
        if found is None:
            raise RegistryError(
                f"{text!r} is not the name of a model; wanted its number and {DIGEST_LENGTH} digits of its digest, for"
                " example 5-81d4da08a3a1."
            )
        return cls(found[1], found[2])
