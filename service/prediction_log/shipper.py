"""The shipper: moves sealed segments of the spool to the database, each entry exactly once.

Every worker has one, and the one that holds the lock of the spool works; when its process dies another takes over.
A segment is removed after its rows are committed. One that is shipped again after a crash adds nothing: the
identity of an entry is the key of its row.
"""

import fcntl
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.prediction_log.entries import Kind, read_line
from service.prediction_log.spool import Spool, list_segments

if TYPE_CHECKING:
    import sqlalchemy as sa

TICK_SECONDS = 0.5
ROWS_PER_STATEMENT = 500
RETENTION_SECONDS = 3600.0
ROWS_PER_DELETION = 5000
LONGEST_PAUSE_SECONDS = 5.0
NS_PER_SECOND = 1e9
LOCK_FILE, STATUS_FILE, REJECTED_FILE = "shipper.lock", "shipper.json", "rejected.jsonl"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LogStatus:
    """How the log is doing: whether the database took the last rows, and how old the oldest entry is that waits."""

    database: str = "not asked yet"
    lag_seconds: float = 0.0
    shipped: int = 0
    rejected: int = 0


class Shipper:
    """A thread that seals the spool of its worker and, where it is the one to do so, ships all segments.

    `retention_days` 0 keeps rows for ever; `clock` is in seconds since 1970.
    """

    def __init__(
        self, folder: Path, spool: Spool, url: str, *, retention_days: int, clock: Callable[[], float] = time.time
    ) -> None:
        self._folder = folder
        self._spool = spool
        self._url = url
        self._retention_days = retention_days
        self._clock = clock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="shipper", daemon=True)
        self._lock = -1
        self._engine: sa.Engine | None = None
        self._status = LogStatus()
        self._tidied = 0.0

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self, seconds: float = 5.0) -> None:
        """Ship what is there and stop; what takes longer than `seconds` stays in the spool."""
        self._stop.set()
        self._thread.join(seconds)

    def _run(self) -> None:
        pause = TICK_SECONDS
        while not self._stop.wait(pause):
            pause = TICK_SECONDS if self._try_tick() else min(2 * pause, LONGEST_PAUSE_SECONDS)
        self._spool.close()
        self._try_tick()
        if self._engine is not None:
            self._engine.dispose()
        if self._lock >= 0:
            os.close(self._lock)

    def _try_tick(self) -> bool:
        try:
            return self.tick()
        except Exception as error:  # noqa: BLE001 - a thread that ends would ship nothing ever after
            logger.warning("the spool cannot be shipped (%s); tried again", type(error).__name__)
            return False

    def tick(self) -> bool:
        """Seal, ship and tidy up once; return whether the database could be reached where it was asked."""
        self._spool.seal_if_due()
        if not self._lead():
            return True
        reached = self._ship_all()
        self._note_status()
        return reached

    def _lead(self) -> bool:
        """Return whether this is the one shipper of the spool."""
        if self._lock < 0:
            descriptor = os.open(self._folder / LOCK_FILE, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                return False
            self._lock = descriptor
        return True

    def _ship_all(self) -> bool:
        import sqlalchemy as sa

        from sentiment.errors import SentimentError

        try:
            for segment in list_segments(self._folder):
                self._ship(segment)
            self._tidy()
        except (sa.exc.SQLAlchemyError, SentimentError) as error:
            if self._status.database != "unreachable":
                # Not the error itself: it may hold the values of a row.
                logger.warning("the database takes no predictions (%s); they wait in the spool", type(error).__name__)
            self._change(database="unreachable")
            self._drop_engine()
            return False
        if self._status.database == "unreachable":
            logger.warning("the database takes predictions again")
        self._change(database="ok")
        return True

    def _ship(self, segment: Path) -> None:
        rows: dict[Kind, list[dict[str, Any]]] = {"prediction": [], "feedback": []}
        for line in segment.read_bytes().splitlines(keepends=True):
            try:
                kind, row = read_line(line)
            except ValueError:
                # A line without its end was never acknowledged: its writer died over it.
                if line.endswith(b"\n"):
                    self._reject([line])
                continue
            rows[kind].append(row)
        for kind, found in rows.items():
            for start in range(0, len(found), ROWS_PER_STATEMENT):
                self._insert(kind, found[start : start + ROWS_PER_STATEMENT])
        segment.unlink()

    def _insert(self, kind: Kind, rows: Sequence[dict[str, Any]]) -> None:
        import sqlalchemy as sa
        from sqlalchemy.dialects import postgresql, sqlite

        from sentiment.database.schema import FEEDBACK, PREDICTIONS

        engine = self._open_engine()
        insert = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert
        table = {"prediction": PREDICTIONS, "feedback": FEEDBACK}[kind]
        statement = insert(table).on_conflict_do_nothing(index_elements=["id"])
        try:
            with engine.begin() as connection:
                connection.execute(statement, rows)
        except (sa.exc.DataError, sa.exc.IntegrityError, sa.exc.StatementError) as error:
            blamed = isinstance(error, sa.exc.DataError | sa.exc.IntegrityError)
            if isinstance(error, sa.exc.DBAPIError) and not blamed:
                raise
            if len(rows) == 1:
                self._reject([json.dumps({"kind": kind, **rows[0]}, default=str).encode() + b"\n"])
                return
            for row in rows:
                self._insert(kind, [row])
            return
        self._change(shipped=self._status.shipped + len(rows))

    def _reject(self, lines: Sequence[bytes]) -> None:
        """Keep what the database will never take, beside the spool."""
        with (self._folder / REJECTED_FILE).open("ab") as file:
            file.writelines(lines)
        self._change(rejected=self._status.rejected + len(lines))
        logger.warning("%d entries of the prediction log cannot be stored; they are in %s", len(lines), REJECTED_FILE)

    def _tidy(self) -> None:
        """Remove rows that are older than they may become, once an hour."""
        import sqlalchemy as sa

        from sentiment.database.schema import FEEDBACK, PREDICTIONS

        now = self._clock()
        if not self._retention_days or now - self._tidied < RETENTION_SECONDS:
            return
        limit = datetime.fromtimestamp(now, UTC) - timedelta(days=self._retention_days)
        for table in (PREDICTIONS, FEEDBACK):
            old = sa.select(table.c.id).where(table.c.at < limit).limit(ROWS_PER_DELETION)
            removed = ROWS_PER_DELETION
            while removed == ROWS_PER_DELETION:
                with self._open_engine().begin() as connection:
                    removed = connection.execute(sa.delete(table).where(table.c.id.in_(old))).rowcount
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

    def _note_status(self) -> None:
        oldest = next(list_segments(self._folder), None)
        lag = 0.0 if oldest is None else max(0.0, self._clock() - int(oldest.name.split("-")[0]) / NS_PER_SECOND)
        self._change(lag_seconds=round(lag, 3))
        scratch = self._folder / f"{STATUS_FILE}.part"
        scratch.write_text(json.dumps(asdict(self._status)), encoding="utf-8")
        scratch.replace(self._folder / STATUS_FILE)


def read_status(folder: Path) -> LogStatus:
    """Return what the shipper of a spool last said."""
    try:
        return LogStatus(**json.loads((folder / STATUS_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return LogStatus()
