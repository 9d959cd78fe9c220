"""The shipper: moves sealed segments of the spool to the database, each entry exactly once.

Every worker has one, and the one that holds the lock of the spool works; when its process dies another takes over.
A segment is removed after its rows are committed. One that is shipped again after a crash adds nothing: the
identity of an entry is the key of its row.
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

from service.background.database_import import load_database
from service.background.file_lock import hold_file, lock_file
from service.background.periodic_thread import PeriodicThread
from service.prediction_log.entries import SHAPES, Kind, read_line
from service.prediction_log.spool import SEALED, Spool, list_segments

if TYPE_CHECKING:
    import sqlalchemy as sa

TICK_SECONDS = 0.5
CLOSING_SECONDS = 0.05
SECONDS_BETWEEN_QUESTIONS = 5.0
MAX_LAG_SECONDS = 10.0
ROWS_PER_STATEMENT = 500
RETENTION_SECONDS = 3600.0
SECONDS_PER_DAY = 86_400
ROWS_PER_DELETION = 5000
NS_PER_SECOND = 1e9
LOCK_FILE, STATUS_FILE = "shipper.lock", "shipper.json"
SEGMENTS_LOCK = "segments.lock"
REJECTED_FILES = "rejected*.jsonl"

logger = logging.getLogger(__name__)


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
        """Whether entries reach the database, and soon."""
        return self.database != "unreachable" and self.lag_seconds <= MAX_LAG_SECONDS


class Shipper:
    """Ships all segments of a folder where it is the one to do so, and keeps its own spool's segments short.

    Sealing has a thread of its own: a database that does not answer must not keep it waiting. `retention_days` 0
    keeps rows for ever; `clock` is in seconds since 1970.
    """

    def __init__(
        self, folder: Path, spool: Spool, url: str, *, retention_days: int, clock: Callable[[], float] = time.time
    ) -> None:
        self._folder = folder
        self._spool = spool
        self._url = url
        self._retention_days = retention_days
        self._clock = clock
        self._sealing = PeriodicThread("sealing the spool", spool.seal_if_due, TICK_SECONDS)
        self._shipping = PeriodicThread("shipping the prediction log", self.tick, TICK_SECONDS)
        self._lock = -1
        self._engine: sa.Engine | None = None
        self._status = LogStatus()
        self._tidied = 0.0
        self._asked = 0.0

    def start(self) -> None:
        """Start sealing and shipping."""
        self._sealing.start()
        self._shipping.start()

    def close(self, seconds: float = 5.0) -> None:
        """Ship what is there and stop; what takes longer than `seconds` stays in the spool."""
        deadline = time.monotonic() + seconds
        self._sealing.stop(seconds)
        self._spool.close()
        if self._shipping.stop(seconds):
            with suppress(Exception):  # it stays in the spool, and the next start ships it
                self.tick()
                # The worker that ships may end as well, and have looked before this one sealed.
                while self._lock < 0 and any(self._folder.glob(f"*{SEALED}")) and time.monotonic() < deadline:
                    time.sleep(CLOSING_SECONDS)
                    self.tick()
            self._drop_engine()
            if self._lock >= 0:
                os.close(self._lock)
                self._lock = -1

    def tick(self) -> None:
        """Ship and tidy up once, where this is the one to do so; raises what keeps it from that."""
        if not self._lead():
            return
        load_database()
        try:
            self._ship_all()
        except Exception:
            self._change(database="unreachable")
            self._drop_engine()
            raise
        finally:
            self._note_status()

    def _lead(self) -> bool:
        """Return whether this is the one shipper of the spool."""
        if self._lock < 0:
            try:
                self._lock = lock_file(self._folder / LOCK_FILE)
            except BlockingIOError:
                return False
        return True

    def _ship_all(self) -> None:
        import sqlalchemy as sa

        for segment in list_segments(self._folder):
            with hold_file(self._folder / SEGMENTS_LOCK):  # `forget` may have taken the segment away, or what is in it
                if segment.exists():
                    self._ship(segment)
        self._tidy()
        if not 0 <= self._clock() - self._asked < SECONDS_BETWEEN_QUESTIONS:  # the clock may have been set back
            with self._open_engine().connect() as connection:
                connection.execute(sa.select(1))
            self._note_answer()

    def _ship(self, segment: Path) -> None:
        rows: dict[Kind, list[dict[str, Any]]] = {kind: [] for kind in SHAPES}
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
            for start in range(0, len(found), ROWS_PER_STATEMENT):
                rejected += self._insert(kind, found[start : start + ROWS_PER_STATEMENT])
        self._reject([*damaged, *rejected])
        segment.unlink()
        self._change(shipped=self._status.shipped + sum(map(len, rows.values())) - len(rejected))

    def _insert(self, kind: Kind, rows: Sequence[dict[str, Any]]) -> list[bytes]:
        """Put rows into the database; return, as lines, those that it will never take."""
        import sqlalchemy as sa

        rejected: list[dict[str, Any]] = []
        try:
            self._execute(kind, rows)
        except (sa.exc.StatementError, ValueError, TypeError) as error:
            if not _blames_row(error):
                raise
            rejected = [row for row in rows if not self._try_to_execute(kind, row)]
        self._note_answer()
        return [json.dumps({"kind": kind, **row}, default=str).encode() + b"\n" for row in rejected]

    def _try_to_execute(self, kind: Kind, row: dict[str, Any]) -> bool:
        import sqlalchemy as sa

        try:
            self._execute(kind, [row])
        except (sa.exc.StatementError, ValueError, TypeError) as error:
            if not _blames_row(error):
                raise
            return False
        return True

    def _execute(self, kind: Kind, rows: Sequence[dict[str, Any]]) -> None:
        from sentiment.database.predictions import add_feedback, add_predictions, add_shadow_predictions

        add = {"prediction": add_predictions, "feedback": add_feedback, "shadow": add_shadow_predictions}[kind]
        with self._open_engine().begin() as connection:
            add(connection, rows)

    def _reject(self, lines: Sequence[bytes]) -> None:
        """Keep what the database will never take, beside the spool."""
        if not lines:
            return
        name = f"rejected-{datetime.fromtimestamp(self._clock(), UTC):%Y-%m-%d}.jsonl"
        with os.fdopen(os.open(self._folder / name, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600), "ab") as file:
            file.writelines(lines)
        self._change(rejected=self._status.rejected + len(lines))
        logger.warning("%d entries of the prediction log cannot be stored; they are in %s", len(lines), name)

    def _tidy(self) -> None:
        """Remove rows, and files of rejected ones, that are older than they may become, once an hour."""
        import sqlalchemy as sa

        from sentiment.database.rollup import remove_activity
        from sentiment.database.schema import FEEDBACK, PREDICTIONS, SHADOW_PREDICTIONS

        now = self._clock()
        if 0 <= now - self._tidied < RETENTION_SECONDS:
            return
        kept_seconds = self._retention_days * SECONDS_PER_DAY or now
        limit = datetime.fromtimestamp(max(0.0, now - kept_seconds), UTC)
        with self._open_engine().begin() as connection:
            remove_activity(connection, limit, datetime.fromtimestamp(now, UTC))
        for table in (PREDICTIONS, FEEDBACK, SHADOW_PREDICTIONS) if self._retention_days else ():
            old = sa.select(table.c.id).where(table.c.at < limit).limit(ROWS_PER_DELETION)
            removed = ROWS_PER_DELETION
            while removed == ROWS_PER_DELETION:
                with self._open_engine().begin() as connection:
                    removed = connection.execute(sa.delete(table).where(table.c.id.in_(old))).rowcount
        for file in self._folder.glob(REJECTED_FILES) if self._retention_days else ():
            with hold_file(self._folder / SEGMENTS_LOCK):
                if file.stat().st_mtime < limit.timestamp():
                    file.unlink()
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

    def _change(self, **values: Any) -> None:
        self._status = LogStatus(**{**asdict(self._status), **values})

    def _note_answer(self) -> None:
        self._asked = self._clock()
        self._change(database="ok")

    def _note_status(self) -> None:
        """Write the status down for the other workers; where the disk is full they see an old one."""
        scratch = self._folder / f"{STATUS_FILE}.part"
        with suppress(OSError):
            scratch.write_text(json.dumps({**asdict(self._status), "at": self._clock()}), encoding="utf-8")
            scratch.replace(self._folder / STATUS_FILE)


def read_status(folder: Path, now: float) -> LogStatus:
    """Return what the shipper of a spool last said, and how long entries wait by now (`now` in seconds since 1970)."""
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
    """Return whether what a statement failed of is its rows, and not the database."""
    import sqlalchemy as sa

    return isinstance(error, sa.exc.DataError | sa.exc.IntegrityError) or not isinstance(error, sa.exc.DBAPIError)
