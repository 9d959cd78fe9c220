"""A lock that lasts as long as a process: the system drops it when the process dies."""

import fcntl
import os
from pathlib import Path


def lock_file(path: Path) -> int:
    """Return a descriptor that locks the file until it is closed. Raises BlockingIOError when another holds it."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise
    return descriptor
