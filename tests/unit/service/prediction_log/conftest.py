"""What tests of the prediction log share: entries that are right, and a spool with its database."""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from service.api.ids import make_id
from service.prediction_log.entries import Entry, FeedbackEntry, PredictionEntry, ShadowEntry, write_line
from service.prediction_log.shipper import Shipper
from service.prediction_log.spool import REJECTED_FILES, Spool

MANY_BYTES = 1_000_000_000
PREDICTION = PredictionEntry(
    id="01890a5d-ac96-774b-bcce-b302099a8057",
    at=1_700_000_000.25,
    request_id="r-1",
    text="good",
    text_digest=None,
    characters=4,
    tokens=3,
    label="positive",
    confidence=0.75,
    scores={"negative": 0.25, "positive": 0.75},
    uncertain=False,
    truncated=True,
    model_version="7",
    model_digest="d" * 64,
    latency_ms=12.5,
)
FEEDBACK = FeedbackEntry(
    id="01890a5d-ac96-774b-bcce-b302099a8058",
    at=1_700_000_001.5,
    prediction_id=PREDICTION.id,
    label="negative",
    request_id="r-2",
)
SHADOW = ShadowEntry(
    id="01890a5d-ac96-774b-bcce-b302099a8059",
    at=1_700_000_000.5,
    prediction_id=PREDICTION.id,
    champion_label="positive",
    label="negative",
    confidence=0.75,
    scores={"negative": 0.75, "positive": 0.25},
    model_version="8",
    model_digest="e" * 64,
    latency_ms=3.5,
)


def make_predictions(count: int, **values: Any) -> list[PredictionEntry]:
    """Return predictions with ids of their own, whose texts are their numbers."""
    return [replace(PREDICTION, id=make_id(), **{"text": str(number), **values}) for number in range(count)]


class Bench:
    """A spool and the SQLite database that it is shipped to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "spool"
        self.database = folder / "log.db"
        self.spool = Spool(self.folder, max_bytes=MANY_BYTES)
        self._shippers: list[Shipper] = []

    def make_shipper(self, **options: Any) -> Shipper:
        """Return a shipper that has not started; its end is seen to."""
        given = {"url": f"sqlite:///{self.database}", "retention_days": 0, **options}
        shipper = Shipper(self.folder, self.spool, given.pop("url"), **given)
        self._shippers.append(shipper)
        return shipper

    def store(self, *entries: Entry) -> None:
        """Write a sealed segment of entries."""
        self.store_lines(*map(write_line, entries))

    def store_lines(self, *lines: bytes) -> None:
        """Write a sealed segment of lines."""
        self.spool.append(lines)
        self.spool.close()

    def list_sealed(self) -> list[Path]:
        return sorted(self.folder.glob("*.sealed"))

    def read(self, columns: str = "text", table: str = "predictions") -> list[Any]:
        """Return what is in columns of a table, in the order of ids; for one column without its tuple."""
        connection = sqlite3.connect(self.database)
        rows = connection.execute(f"select {columns} from {table} order by id").fetchall()
        connection.close()
        return rows if "," in columns else [value for (value,) in rows]

    def read_rejected(self) -> bytes:
        """Return what was put aside, of all days."""
        return b"".join(path.read_bytes() for path in sorted(self.folder.glob(REJECTED_FILES)))

    def count_activity(self) -> dict[int, int]:
        """Return the predictions in the rollup by its period in seconds."""
        connection = sqlite3.connect(self.database)
        rows = connection.execute("select period_seconds, sum(predictions) from activity group by 1").fetchall()
        connection.close()
        return dict(rows)

    def end(self, shipper: Shipper) -> None:
        """End a shipper: its lock and its connections are given back."""
        self._shippers.remove(shipper)
        shipper.close()

    def close(self) -> None:
        for shipper in list(self._shippers):
            self.end(shipper)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A spool with nothing in it."""
    made = Bench(tmp_path)
    yield made
    made.close()
