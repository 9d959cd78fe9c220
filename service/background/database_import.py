"""The import of SQLAlchemy, when it is first needed and by one thread at a time."""

import threading

LOADING = threading.Lock()


def load_database() -> None:
    """Import SQLAlchemy and the modules that use it.

    Its modules import each other in circles: two threads that import them at once get half of them.
    """
    with LOADING:
        import sentiment.database.connection
        import sentiment.database.history  # noqa: F401
