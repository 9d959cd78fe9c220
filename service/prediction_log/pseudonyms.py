"""Digests of texts and of persons; only the key of the installation can make them again."""

import hmac
import secrets
from pathlib import Path

from sentiment.atomic_files import make_secret_file
from sentiment.data.text_normalization import normalise_text
from sentiment.errors import ConfigError

KEY_BYTES = 32


def open_key(file: Path) -> bytes:
    """Return the key in a file, which is made if there is none."""
    try:
        make_secret_file(file, f"{secrets.token_hex(KEY_BYTES)}\n")
    except OSError as error:
        raise ConfigError(
            f"the key of the digests {file} cannot be made ({error.strerror}); name one in SENTIMENT_HASH_KEY_FILE."
        ) from error
    return read_key(file)


def read_key(file: Path) -> bytes:
    """Return the key in a file. Raises ConfigError if it cannot be read or is too short."""
    try:
        key = file.read_bytes().strip()
    except OSError as error:
        raise ConfigError(
            f"the key of the digests {file} cannot be read ({error.strerror}); name in SENTIMENT_HASH_KEY_FILE the one"
            " that the service uses, or unset it."
        ) from error
    if len(key) < KEY_BYTES:
        raise ConfigError(
            f"the key of the digests {file} has {len(key)} bytes; wanted at least {KEY_BYTES}, as"
            " `openssl rand -hex 32` makes them."
        )
    return key


def digest_text(text: str, key: bytes) -> str:
    """Return the HMAC-SHA-256 of a normalised text."""
    return _digest("text", normalise_text(text), key)


def digest_subject(subject: str, key: bytes) -> str:
    """Return the HMAC-SHA-256 of a caller's id of a person."""
    return _digest("subject", subject, key)


def _digest(kind: str, value: str, key: bytes) -> str:
    return hmac.digest(key, f"{kind}\0{value}".encode("utf-8", "replace"), "sha256").hex()
