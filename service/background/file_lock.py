"""Files that are locked as long as their process lives: the kernel drops the lock when the process dies.

A worker and a segment of the spool are such files. They need flock itself: the file is renamed while it is locked.
Where the aim is only that one thing happens at a time, `filelock` does it.
"""

import fcntl
import os
from pathlib import Path


def make_locked_file(path: Path) -> int:
    """Return a descriptor that appends to a new file and locks it until it is closed."""
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def is_abandoned(path: Path) -> bool:
    """Return whether the process that locked a file is dead. Raises FileNotFoundError if the file is gone."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        # Shared, so that two processes that look at once do not take each other for the owner.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
