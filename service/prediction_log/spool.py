"""The spool: where an entry is safe before its prediction is acknowledged.

A writer appends to a segment of its own, which it locks. A segment is sealed by its new name, after a second or when it
is large; one whose writer died is no longer locked. Who ships takes both.
"""

import fcntl
import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from sentiment.paths import make_private_folder

MADE, OPEN, SEALED = ".new", ".open", ".sealed"
FORGOTTEN_SECONDS = 60.0
SEGMENT_SECONDS = 1.0
SEGMENT_BYTES = 4_000_000

logger = logging.getLogger(__name__)


class SpoolError(Exception):
    """An entry could not be made safe: the disk is full, or the spool holds as much as it may."""


class Spool:
    """The segments of one writer in a folder that many writers share; safe to use from several threads.

    What a kill of the process leaves is whole; `sync` waits for the disk too, so that a loss of power does not lose
    an entry, at the price of a wait per request.
    """

    def __init__(self, folder: Path, *, max_bytes: int, sync: bool = False) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._sync = sync
        self._lock = threading.Lock()
        self._segment: Path | None = None
        self._descriptor = -1
        self._size = 0
        self._opened = 0.0
        self._number = 0
        self._full = False
        try:
            make_private_folder(folder)
        except OSError as error:
            raise SpoolError(
                f"the spool {folder} cannot be made ({error.strerror}); name a folder in SENTIMENT_SPOOL_FOLDER."
            ) from error

    def append(self, lines: Sequence[bytes]) -> None:
        """Return when the lines are safe, all of them. Raises SpoolError when none is."""
        data = b"".join(lines)
        with self._lock:
            if self._full:
                raise SpoolError(f"the spool in {self._folder} holds {self._max_bytes:,} bytes, as many as it may")
            try:
                if self._segment is None:
                    self._open_segment()
                self._write(data)
            except OSError as error:
                raise SpoolError(f"the spool in {self._folder} cannot be written ({error.strerror})") from error
            if self._size >= SEGMENT_BYTES:
                self._seal()

    def seal_if_due(self) -> None:
        """Seal the segment when it is a second old, and look how much lies in the spool; called every second."""
        with self._lock:
            if time.monotonic() - self._opened >= SEGMENT_SECONDS:
                self._seal()
        self._full = measure_bytes(self._folder) >= self._max_bytes

    def close(self) -> None:
        """Seal what is there."""
        with self._lock:
            self._seal()

    def _write(self, data: bytes) -> None:
        """Write all or nothing: what a full disk cut short is taken back."""
        written = 0
        try:
            while written < len(data):
                written += os.write(self._descriptor, data[written:])
            if self._sync:
                os.fsync(self._descriptor)
        except OSError:
            try:
                os.ftruncate(self._descriptor, self._size)
            except OSError:
                self._seal()  # a torn line at the end was never acknowledged; in the middle it would spoil the next
            raise
        self._size += len(data)

    def _open_segment(self) -> None:
        """Make a segment under a name that nobody looks for, until it is locked: a shipper takes what is not."""
        self._number += 1
        made = self._folder / f"{time.time_ns():020d}-{os.getpid()}-{self._number}{MADE}"
        descriptor = os.open(made, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            self._segment = made.rename(made.with_suffix(OPEN))
            self._sync_folder()
        except OSError:
            os.close(descriptor)
            made.unlink(missing_ok=True)
            raise
        self._descriptor, self._size, self._opened = descriptor, 0, time.monotonic()

    def _sync_folder(self) -> None:
        """Wait for the disk to know the name of a segment, too."""
        if self._sync:
            descriptor = os.open(self._folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def _seal(self) -> None:
        if self._segment is None:
            return
        try:
            if self._size:
                self._segment.rename(self._segment.with_suffix(SEALED))
            else:
                self._segment.unlink()
        except OSError as error:
            logger.warning("%s cannot be sealed (%s); it is shipped later", self._segment.name, error.strerror)
        os.close(self._descriptor)
        self._segment, self._descriptor = None, -1


def list_segments(folder: Path) -> Iterator[Path]:
    """Yield the segments that no writer writes to any more, oldest first; those of dead writers are sealed first."""
    for path in folder.glob(f"*{MADE}"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > FORGOTTEN_SECONDS:
                path.unlink()
    for path in sorted(folder.glob(f"*{OPEN}")):
        with suppress(OSError):
            _seal_orphan(path)
    yield from sorted(folder.glob(f"*{SEALED}"))


def measure_bytes(folder: Path) -> int:
    """Return how many bytes wait in the spool."""
    size = 0
    for path in folder.iterdir():
        if path.suffix in {OPEN, SEALED}:
            with suppress(FileNotFoundError):
                size += path.stat().st_size
    return size


def _seal_orphan(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.rename(path.with_suffix(SEALED))
    except BlockingIOError:
        pass
    finally:
        os.close(descriptor)
