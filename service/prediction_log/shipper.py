"""The shipper: moves sealed segments of the spool to the database, each entry exactly once.

Every worker has a shipper, and the one that holds the lock of the spool works. When its process dies, another takes
over. A segment is removed after its rows are committed. A segment that is shipped again after a crash adds nothing: the
id of an entry is the key of its row.
"""

import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from filelock import FileLock, Timeout

from sentiment.atomic_files import write_atomically
from service.background.database_import import load_database
from service.background.periodic_thread import PeriodicThread
from service.prediction_log.entries import SHAPES, EntryKind, read_line
from service.prediction_log.retention import remove_expired
from service.prediction_log.spool import SEALED, Spool, list_segments, lock_segments

if TYPE_CHECKING:
    import sqlalchemy as sa

CLOSING_SECONDS = 0.05
SECONDS_BETWEEN_QUESTIONS = 5.0
MAX_LAG_SECONDS = 10.0
SECONDS_BETWEEN_NOTES = 2.0  # of a status that stays the same, which is well below the lag
ROWS_PER_STATEMENT = 500
RETENTION_SECONDS = 3600.0
NS_PER_SECOND = 1e9
LOCK_FILE, STATUS_FILE = "shipper.lock", "shipper.json"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LogTimings:
    """Seconds between two ticks of the log, at most after failures, and between two warnings."""

    tick_seconds: float = 0.5
    longest_pause_seconds: float = 5.0
    seconds_between_warnings: float = 60.0


LOG_TIMINGS = LogTimings()


@dataclass(frozen=True)
class LogStatus:
    """How the log is doing; `lag_seconds` is the age of the oldest entry that waits for the database.

    `shipped` and `rejected` count entries since the shipper started.
    """

    database: Literal["ok", "unreachable", "unknown"] = "unknown"
    lag_seconds: float = 0.0
    shipped: int = 0
    rejected: int = 0

    @property
    def is_sound(self) -> bool:
        """Whether entries reach the database soon."""
        return self.database != "unreachable" and self.lag_seconds <= MAX_LAG_SECONDS


class Shipper:
    """Ships all segments of a folder if it holds the lock, and seals the segments of its own spool.

    A second thread seals, because a database that does not answer must not delay it. `retention_days` 0 keeps rows for
    ever; `clock` is in seconds since 1970.
    """

    def __init__(
        self,
        folder: Path,
        spool: Spool,
        url: str,
        *,
        retention_days: int,
        clock: Callable[[], float] = time.time,
        timings: LogTimings = LOG_TIMINGS,
        rows_per_statement: int = ROWS_PER_STATEMENT,
    ) -> None:
        self._folder = folder
        self._spool = spool
        self._url = url
        self._retention_days = retention_days
        self._clock = clock
        self._rows_per_statement = rows_per_statement
        pauses = (timings.tick_seconds, timings.longest_pause_seconds)
        self._sealing = PeriodicThread("sealing the spool", spool.seal_if_due, *pauses)
        self._shipping = PeriodicThread("shipping the prediction log", self.tick, *pauses)
        # One thread takes it and another may release it.
        self._lock = FileLock(folder / LOCK_FILE, timeout=0, mode=0o600, thread_local=False)
        self._engine: sa.Engine | None = None
        self._status = LogStatus()
        self._noted: LogStatus | None = None
        self._noted_at = 0.0
        self._tidied = 0.0
        self._asked = 0.0

    def start(self) -> None:
        """Start sealing and shipping."""
        self._sealing.start()
        self._shipping.start()

    def close(self, seconds: float = 5.0) -> None:
        """Ship what is there and stop; what is not shipped after `seconds` stays in the spool."""
        deadline = time.monotonic() + seconds
        self._sealing.stop(seconds)
        self._spool.close()
        if self._shipping.stop(seconds):
            with suppress(Exception):  # it stays in the spool, and the next start ships it
                self.tick()
                # The worker that ships may end, too, and may have looked before this one sealed.
                while not self._lock.is_locked and any(self._folder.glob(f"*{SEALED}")) and time.monotonic() < deadline:
                    time.sleep(CLOSING_SECONDS)
                    self.tick()
            self._drop_engine()
            self._lock.release()

    def tick(self) -> None:
        """Ship once and remove what is too old, if this is the one shipper. Raises what keeps it from that."""
        if not self._lead():
            return
        load_database()
        try:
            self._ship_all()
        except Exception:
            self._status = replace(self._status, database="unreachable")
            self._drop_engine()
            raise
        finally:
            self._note_status()

    def _lead(self) -> bool:
        """Return whether this is the one shipper of the spool."""
        if not self._lock.is_locked:
            self._folder.stat()  # filelock makes a folder that is missing, and for everybody to read
            with suppress(Timeout):
                self._lock.acquire()
        return self._lock.is_locked

    def _ship_all(self) -> None:
        import sqlalchemy as sa

        for segment in list_segments(self._folder):
            with lock_segments(self._folder):  # `forget` may have removed the segment, or lines of it
                if segment.exists():
                    self._ship(segment)
        self._tidy()
        if not 0 <= self._clock() - self._asked < SECONDS_BETWEEN_QUESTIONS:  # the clock may have been set back
            with self._open_engine().connect() as connection:
                connection.execute(sa.select(1))
            self._note_answer()

    def _ship(self, segment: Path) -> None:
        rows: dict[EntryKind, list[dict[str, Any]]] = {kind: [] for kind in SHAPES}
        damaged = []
        for line in segment.read_bytes().splitlines(keepends=True):
            try:
                kind, row = read_line(line)
            except ValueError:
                # A line without its end was never acknowledged: its writer died over it.
                if line.endswith(b"\n"):
                    damaged.append(line)
            else:
                rows[kind].append(row)
        rejected = []
        for kind, found in rows.items():
            for start in range(0, len(found), self._rows_per_statement):
                rejected += self._insert(kind, found[start : start + self._rows_per_statement])
        self._reject([*damaged, *rejected])
        segment.unlink()
        self._status = replace(
            self._status, shipped=self._status.shipped + sum(map(len, rows.values())) - len(rejected)
        )

    def _insert(self, kind: EntryKind, rows: Sequence[dict[str, Any]]) -> list[bytes]:
        """Add rows to the database; return, as lines, those that it will never accept."""
        import sqlalchemy as sa

        try:
            self._execute(kind, rows)
        except (sa.exc.StatementError, ValueError, TypeError) as error:
            if not _blames_row(error):
                raise
            self._note_answer()
            if len(rows) > 1:
                return [line for row in rows for line in self._insert(kind, [row])]
            return [json.dumps({"kind": kind, **rows[0]}, default=str).encode() + b"\n"]
        self._note_answer()
        return []

    def _execute(self, kind: EntryKind, rows: Sequence[dict[str, Any]]) -> None:
        from sentiment.database.predictions import add_feedback, add_predictions, add_shadow_predictions

        add = {"prediction": add_predictions, "feedback": add_feedback, "shadow": add_shadow_predictions}[kind]
        with self._open_engine().begin() as connection:
            add(connection, rows)

    def _reject(self, lines: Sequence[bytes]) -> None:
        """Keep lines that the database will never accept, beside the spool."""
        if not lines:
            return
        name = f"rejected-{datetime.fromtimestamp(self._clock(), UTC):%Y-%m-%d}.jsonl"
        with os.fdopen(os.open(self._folder / name, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600), "ab") as file:
            file.writelines(lines)
        self._status = replace(self._status, rejected=self._status.rejected + len(lines))
        logger.warning("%d entries of the prediction log cannot be stored; they are in %s", len(lines), name)

    def _tidy(self) -> None:
        """Remove what is older than the log keeps it, once an hour."""
        now = self._clock()
        if 0 <= now - self._tidied < RETENTION_SECONDS:
            return
        remove_expired(self._open_engine(), self._folder, days=self._retention_days, now=now)
        self._tidied = now

    def _open_engine(self) -> "sa.Engine":
        if self._engine is None:
            from sentiment.database.connection import create_engine, migrate

            self._engine = create_engine(self._url)
            migrate(self._engine)
        return self._engine

    def _drop_engine(self) -> None:
        if self._engine is not None:
            self._engine.dispose()
        self._engine = None

    def _note_answer(self) -> None:
        self._asked = self._clock()
        self._status = replace(self._status, database="ok")

    def _note_status(self) -> None:
        """Write a new status down for the other workers; if the disk is full, they see an old one."""
        now = self._clock()
        if self._noted == self._status and 0 <= now - self._noted_at < SECONDS_BETWEEN_NOTES:
            return
        with suppress(OSError):
            status = {**asdict(self._status), "at": now}
            write_atomically(self._folder / STATUS_FILE, json.dumps(status))
            self._noted, self._noted_at = self._status, now


def read_status(folder: Path, now: float) -> LogStatus:
    """Return the last status of the shipper of a spool, and how long entries wait at `now`, in seconds since 1970."""
    try:
        found = json.loads((folder / STATUS_FILE).read_text(encoding="utf-8"))
        fresh = abs(now - found.pop("at")) <= MAX_LAG_SECONDS
        status = LogStatus(**found)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        fresh, status = True, LogStatus()
    times = [path.name.split("-")[0] for path in folder.glob(f"*{SEALED}")]
    started = [int(time) / NS_PER_SECOND for time in times if time.isdigit()]
    lag = round(max(0.0, now - min(started)), 3) if started else 0.0
    return replace(status, lag_seconds=lag, database=status.database if fresh else "unknown")


def _blames_row(error: Exception) -> bool:
    """Return whether a statement failed because of its rows, and not because of the database."""
    import sqlalchemy as sa

    return isinstance(error, sa.exc.DataError | sa.exc.IntegrityError) or not isinstance(error, sa.exc.DBAPIError)
