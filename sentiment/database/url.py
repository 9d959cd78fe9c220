"""The URL of the database that holds our own records."""

import os
from pathlib import Path

from sentiment.errors import ConfigError
from sentiment.paths import locate_state

DATABASE_VARIABLE = "DATABASE_URL"
DATABASE_FILE_VARIABLE = "DATABASE_URL_FILE"


def locate_database() -> str:
    """Return the SQLAlchemy URL of our own records: `DATABASE_URL`, else SQLite in the state folder.

    `DATABASE_URL_FILE` names a file that holds the URL, as secrets are mounted. Raises ConfigError when it cannot be
    read, or when both are set.
    """
    url, file = os.environ.get(DATABASE_VARIABLE), os.environ.get(DATABASE_FILE_VARIABLE)
    if url and file:
        raise ConfigError(f"{DATABASE_VARIABLE} and {DATABASE_FILE_VARIABLE} are both set; wanted one of them.")
    if file:
        return _read_database_url(Path(file))
    return url or locate_state().database_uri


def _read_database_url(file: Path) -> str:
    try:
        url = file.expanduser().read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise ConfigError(
            f"{DATABASE_FILE_VARIABLE} names {str(file)!r}, which cannot be read ({reason});"
            " wanted a file that holds the URL of a database."
        ) from error
    if not url:
        raise ConfigError(
            f"{DATABASE_FILE_VARIABLE} names {str(file)!r}, which is empty; wanted the URL of a database in it."
        )
    return url
