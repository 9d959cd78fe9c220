"""Loading what speaks to the database, when it is first needed and by one thread at a time."""

import threading

LOADING = threading.Lock()


def load_database() -> None:
    """Return when SQLAlchemy can be imported safely.

    Its modules import each other in circles: two threads that start at once leave each other with half of them.
    """
    with LOADING:
        import sentiment.database.connection
        import sentiment.database.history  # noqa: F401
