"""The one family of errors that a user may see: each message is a sentence that names the way out."""

import difflib
from collections.abc import Iterable


class SentimentError(Exception):
    """Something that the user can mend: what was wrong, the value seen, the value wanted, the way out."""


class ConfigError(SentimentError):
    """The configuration file or a setting does not say what it should."""


class DatasetError(SentimentError):
    """A dataset cannot be read, or cannot train a model."""


class EncoderError(SentimentError):
    """The sentence encoder is missing or does not export faithfully."""


class TrainingError(SentimentError):
    """A model cannot be fitted: its loss left the numbers, or the memory does not suffice."""


class BundleError(SentimentError):
    """A model bundle is missing, incomplete or altered."""


class SignatureError(BundleError):
    """No trusted key signed that these files passed the gate."""


class LedgerError(SentimentError):
    """The ledger is not what this installation wrote: cut, edited, or in another order."""


class RegistryError(SentimentError):
    """The model registry has no such version or alias."""


class PointerError(SentimentError):
    """The pointer to the model in production is damaged."""


class DatabaseError(SentimentError):
    """The database of our own records is of another kind, or its schema of a later version."""


class DeployError(SentimentError):
    """A Bento could not be built, or did not answer its smoke test."""


class PromotionError(SentimentError):
    """A version may not go into production, or production cannot go back to it."""


class ServiceError(SentimentError):
    """A running service does not answer from the model that it was told to."""


class CanaryError(SentimentError):
    """A canary could not be tried, or was backed out."""


class GateBlockedError(SentimentError):
    """The gate blocked the challenger and `gate.strict` asks for a failing exit."""


class BusyError(SentimentError):
    """Another run holds what this one needs."""


def describe_unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Return a sentence that names the unknown value, the nearest known one and all that are known."""
    choices = sorted(known)
    nearest = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    return f"unknown {kind} {name!r}.{hint} Known: {', '.join(choices)}."


def find_last_words(output: str) -> str:
    """Return the last line of what a command said, without its full stop."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else "no word of why"
