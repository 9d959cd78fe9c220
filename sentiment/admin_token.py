"""The token of an installation: where no API keys are set up, whoever can read it is the operator."""

import secrets
import stat
from contextlib import suppress
from pathlib import Path

from sentiment.atomic_files import make_secret_file
from sentiment.errors import ConfigError

TOKEN_BYTES = 32
SHORTEST_TOKEN = 32


def make_admin_token(file: Path) -> str:
    """Return the token, which is made on first need; empty where the folder cannot be written.

    Raises ConfigError for a file that holds no token.
    """
    if not file.exists():
        with suppress(OSError):
            make_secret_file(file, f"{secrets.token_urlsafe(TOKEN_BYTES)}\n")
    return read_admin_token(file)


def read_admin_token(file: Path) -> str:
    """Return the token; empty where there is none for this user. Raises ConfigError for a file that holds none."""
    try:
        if stat.S_IMODE(file.stat().st_mode) & 0o077:
            file.chmod(0o600)
        token = file.read_bytes().strip().decode("ascii", "replace")
    except OSError:
        return ""
    if len(token) < SHORTEST_TOKEN or not token.isascii():
        raise ConfigError(f"{file} holds no token; remove the file, and the next start of the service makes another.")
    return token
