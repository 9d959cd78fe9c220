"""A lock that lasts as long as a process: the system drops it when the process dies."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PAUSE_SECONDS = 0.05


def lock_file(path: Path) -> int:
    """Return a descriptor that locks the file until it is closed. Raises BlockingIOError when another holds it."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def hold_file(path: Path, seconds: float = float("inf")) -> Iterator[None]:
    """Hold the lock of a file for the block. Raises BlockingIOError when another still holds it after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            descriptor = lock_file(path)
            break
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(PAUSE_SECONDS)
    try:
        yield
    finally:
        os.close(descriptor)
