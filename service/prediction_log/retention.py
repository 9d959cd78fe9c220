"""Retention: removes rows, and files of rejected entries, that are older than the log keeps them."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from service.prediction_log.spool import REJECTED_FILES, lock_segments

if TYPE_CHECKING:
    import sqlalchemy as sa

SECONDS_PER_DAY = 86_400
ROWS_PER_DELETION = 5000


def remove_expired(
    engine: "sa.Engine", folder: Path, *, days: int, now: float, rows_per_deletion: int = ROWS_PER_DELETION
) -> None:
    """Remove what is older than so many days at `now`, in seconds since 1970; 0 days keeps rows for ever.

    The counts per hour of the dashboard have a limit of their own, which holds for 0 days, too.
    """
    from sentiment.database.rollup import remove_activity

    limit = datetime.fromtimestamp(max(0.0, now - days * SECONDS_PER_DAY) if days else 0.0, UTC)
    with engine.begin() as connection:
        remove_activity(connection, limit, datetime.fromtimestamp(now, UTC))
    if days:
        _remove_rows(engine, limit, rows_per_deletion)
        for file in folder.glob(REJECTED_FILES):
            with lock_segments(folder):
                if file.stat().st_mtime < limit.timestamp():
                    file.unlink()


def _remove_rows(engine: "sa.Engine", limit: datetime, rows_per_deletion: int) -> None:
    """Remove rows in short transactions, so that no writer waits long."""
    import sqlalchemy as sa

    from sentiment.database.schema import FEEDBACK, PREDICTIONS, SHADOW_PREDICTIONS

    for table in (PREDICTIONS, FEEDBACK, SHADOW_PREDICTIONS):
        old = sa.select(table.c.id).where(table.c.at < limit).limit(rows_per_deletion)
        removed = rows_per_deletion
        while removed == rows_per_deletion:
            with engine.begin() as connection:
                removed = connection.execute(sa.delete(table).where(table.c.id.in_(old))).rowcount
