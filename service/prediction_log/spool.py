"""The spool: where an entry is safe before its prediction is acknowledged.

A writer appends to its own segment, which it locks. It seals a segment, by a new name, after a second or when the
segment is large. The lock of a segment ends with its writer. The shipper takes sealed segments and those of dead
writers.
"""

import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from sentiment.errors import SentimentError
from sentiment.paths import make_private_folder
from service.background.file_lock import is_abandoned, make_locked_file

MADE, OPEN, SEALED, SCRATCH = ".new", ".open", ".sealed", ".part"
REJECTED_FILES = "rejected*.jsonl"
SEGMENTS_LOCK = "segments.lock"
FORGOTTEN_SECONDS = 60.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SegmentLimits:
    """The age and the size at which a segment is sealed."""

    seconds: float = 1.0
    bytes: int = 4_000_000


SEGMENT_LIMITS = SegmentLimits()


class SpoolError(SentimentError):
    """An entry could not be made safe: the disk is full, or the spool holds as much as it may."""


class Spool:
    """The segments of one writer in a folder that many writers share; safe to use from several threads.

    A kill of the process loses no entry. With `sync` a loss of power loses none either, and each request waits for the
    disk.
    """

    def __init__(
        self, folder: Path, *, max_bytes: int, sync: bool = False, segment_limits: SegmentLimits = SEGMENT_LIMITS
    ) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._sync = sync
        self._segment_limits = segment_limits
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
        """Return when all lines are safe. Raises SpoolError when none is."""
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
            if self._size >= self._segment_limits.bytes:
                self._seal()

    def seal_if_due(self) -> None:
        """Seal the segment if it is old enough, and measure the spool; called about every second."""
        with self._lock:
            if time.monotonic() - self._opened >= self._segment_limits.seconds:
                self._seal()
        self._full = measure_bytes(self._folder) >= self._max_bytes

    def close(self) -> None:
        """Seal what is there."""
        with self._lock:
            self._seal()

    def _write(self, data: bytes) -> None:
        """Write all or nothing: what a full disk cuts short is removed again."""
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
        """Make a segment; it is locked before it gets a name that a shipper looks for."""
        self._number += 1
        made = self._folder / f"{time.time_ns():020d}-{os.getpid()}-{self._number}{MADE}"
        descriptor = make_locked_file(made)
        try:
            self._segment = made.rename(made.with_suffix(OPEN))
            self._sync_folder()
        except OSError:
            os.close(descriptor)
            made.unlink(missing_ok=True)
            raise
        self._descriptor, self._size, self._opened = descriptor, 0, time.monotonic()

    def _sync_folder(self) -> None:
        """Wait until the name of a segment is on the disk, too."""
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
    """Seal the segments of dead writers, and yield all sealed segments, oldest first."""
    for path in (*folder.glob(f"*{MADE}"), *folder.glob(f"*{SCRATCH}")):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > FORGOTTEN_SECONDS:
                path.unlink()
    for path in sorted(folder.glob(f"*{OPEN}")):
        with suppress(OSError):
            if is_abandoned(path):
                path.rename(path.with_suffix(SEALED))
    yield from sorted(folder.glob(f"*{SEALED}"))


def lock_segments(folder: Path, seconds: float = -1) -> FileLock:
    """Return the lock of whoever removes files of the spool; waiting ends after so many seconds, or never."""
    return FileLock(folder / SEGMENTS_LOCK, timeout=seconds, mode=0o600)


def measure_bytes(folder: Path) -> int:
    """Return how many bytes wait in the spool."""
    size = 0
    for path in folder.iterdir():
        if path.suffix in {OPEN, SEALED}:
            with suppress(FileNotFoundError):
                size += path.stat().st_size
    return size
