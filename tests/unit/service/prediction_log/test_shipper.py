"""The shipper brings every entry to the database exactly once."""

import json
import sqlite3
import subprocess
import sys
import threading
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sentiment.database import connection
from service.prediction_log import shipper as module
from service.prediction_log.entries import make_id, write_line
from service.prediction_log.shipper import LOCK_FILE, REJECTED_FILE, STATUS_FILE, LogStatus, Shipper, read_status
from tests.unit.service.prediction_log.conftest import FEEDBACK, PREDICTION, Bench, make_predictions

GUARD_SECONDS = 10
NOW = datetime(2024, 6, 1, tzinfo=UTC)
GONE = "the database takes no predictions (OperationalError); they wait in the spool"
BACK = "the database takes predictions again"
NO_KEEPER = "import fcntl, os, sys\nfcntl.flock(os.open(sys.argv[1], os.O_CREAT | os.O_RDWR), fcntl.LOCK_EX)\n"
NO_STATUS = {
    "nothing": b"",
    "half": b'{"database": "ok", "lag',
    "a list": b"[]",
    "an unknown key": b'{"weather": "fine"}',
    "no UTF-8": b"\xff",
}


class Clock:
    """Shows the time that it was set to."""

    def __init__(self) -> None:
        self.seconds = NOW.timestamp()

    def __call__(self) -> float:
        return self.seconds


class StubbornShipper(Shipper):
    """Fails at its first tick, and says when it ticks again."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench.folder, bench.spool, "sqlite://", retention_days=0)
        self.failed = self.went_on = False
        self.ticked = threading.Event()

    def tick(self) -> bool:
        if not self.failed:
            self.failed = True
            raise OSError(28, "No space left on device")
        self.ticked.set()
        return True


def at(days: float) -> float:
    """Return the time that many days before now."""
    return (NOW - timedelta(days=days)).timestamp()


def test_a_prediction_becomes_a_row(bench):
    """Each value of an entry is in the column of its name."""
    bench.store(PREDICTION)
    assert bench.make_shipper().tick() is True

    columns = [name for name in asdict(PREDICTION) if name not in {"id", "at", "scores"}]
    assert bench.read(", ".join(columns)) == [tuple(getattr(PREDICTION, name) for name in columns)]
    assert bench.read("id, at") == [(PREDICTION.id.replace("-", ""), "2023-11-14 22:13:20.250000")]
    assert [json.loads(scores) for scores in bench.read("scores")] == [PREDICTION.scores]


def test_feedback_becomes_a_row(bench):
    """Feedback names its prediction as the row of the prediction is named."""
    bench.store(PREDICTION, FEEDBACK)
    bench.make_shipper().tick()

    assert bench.read("label, request_id", "feedback") == [("negative", "r-2")]
    assert bench.read("prediction_id", "feedback") == bench.read("id")


def test_what_was_shipped_leaves_the_spool(bench):
    """A segment is gone when its rows are there."""
    bench.store(*make_predictions(3))
    bench.store(*make_predictions(2))
    bench.make_shipper().tick()

    assert (len(bench.read()), bench.list_sealed()) == (5, [])


def test_an_entry_that_was_only_just_written_is_not_lost(bench):
    """A segment that is still written to is shipped once it is sealed."""
    shipper = bench.make_shipper()
    bench.spool.append([write_line(PREDICTION)])
    shipper.tick()
    bench.spool.close()
    shipper.tick()

    assert bench.read() == ["good"]


def test_more_rows_than_a_statement_holds_are_all_shipped(bench, monkeypatch):
    """A large segment takes several statements and loses none of its rows."""
    monkeypatch.setattr(module, "ROWS_PER_STATEMENT", 3)
    bench.store(*make_predictions(10))
    bench.make_shipper().tick()

    assert sorted(map(int, bench.read())) == list(range(10))


def test_a_segment_that_is_shipped_again_adds_nothing(bench):
    """A crash between the commit and the removal of a segment doubles no row."""
    bench.store(*make_predictions(3), FEEDBACK)
    (segment,) = bench.list_sealed()
    content = segment.read_bytes()
    bench.end(bench.make_shipper())
    segment.write_bytes(content)
    bench.make_shipper().tick()

    assert (len(bench.read()), bench.read("label", "feedback")) == (3, ["negative"])
    assert bench.list_sealed() == []


def test_a_segment_of_which_half_was_shipped_is_completed(bench, monkeypatch):
    """A crash between two statements of a segment loses none of its rows and doubles none."""
    monkeypatch.setattr(module, "ROWS_PER_STATEMENT", 2)
    entries = make_predictions(4)
    bench.store(*entries[:2])
    shipper = bench.make_shipper()
    shipper.tick()
    bench.store(*entries, FEEDBACK)
    shipper.tick()

    assert sorted(bench.read()) == ["0", "1", "2", "3"]
    assert bench.read("label", "feedback") == ["negative"]


def test_the_first_of_two_entries_with_one_id_stays(bench):
    """A row that is there is not written over."""
    bench.store(PREDICTION, replace(PREDICTION, text="other"))
    bench.make_shipper().tick()

    assert bench.read() == ["good"]


def test_what_a_dead_worker_left_is_shipped(bench):
    """A line whose end was torn off by a death was never acknowledged; those before it are shipped."""
    whole, torn = write_line(PREDICTION), write_line(FEEDBACK)[:-9]
    (bench.folder / f"{1:020d}-1-1.open").write_bytes(whole + torn)
    shipper = bench.make_shipper()
    shipper.tick()

    assert (bench.read(), bench.read("id", "feedback")) == (["good"], [])
    assert not (bench.folder / REJECTED_FILE).exists()
    assert list(bench.folder.glob("*.open")) == bench.list_sealed() == []


def test_a_damaged_line_is_put_aside(bench, caplog):
    """A whole line that is no entry is kept for a person, and its neighbours are shipped."""
    first, second = make_predictions(2)
    bench.store_lines(write_line(first), b"\x00\xff damaged\n", write_line(second))
    bench.make_shipper().tick()

    assert sorted(bench.read()) == ["0", "1"]
    assert (bench.folder / REJECTED_FILE).read_bytes() == b"\x00\xff damaged\n"
    assert (read_status(bench.folder).rejected, bench.list_sealed()) == (1, [])
    assert caplog.messages == ["1 entries of the prediction log cannot be stored; they are in rejected.jsonl"]


def test_a_line_that_no_parser_reads_is_put_aside(bench):
    """A line nested thousands deep does not stop the log for ever."""
    bench.store_lines(write_line(PREDICTION), b"[" * 100_000 + b"\n")
    bench.store(FEEDBACK)
    bench.make_shipper()._try_tick()

    assert (bench.read(), bench.read("label", "feedback"), bench.list_sealed()) == (["good"], ["negative"], [])


@pytest.mark.parametrize("values", [{"label": None}, {"characters": None}, {"id": None}, {"id": 7}], ids=str)
def test_an_entry_that_the_schema_refuses_spoils_no_neighbour(bench, values):
    """An entry that the database will never take is put aside alone."""
    first, bad, last = make_predictions(3)
    bench.store(first, replace(bad, **values), last, FEEDBACK)
    bench.make_shipper().tick()

    assert sorted(bench.read()) == ["0", "2"]
    assert bench.read("label", "feedback") == ["negative"]
    (kept,) = (bench.folder / REJECTED_FILE).read_text().splitlines()
    assert (json.loads(kept)["text"], json.loads(kept)["kind"]) == ("1", "prediction")


def test_an_entry_is_put_aside_once(bench):
    """A database that is away does not fill the file of rejected entries."""
    bench.database.mkdir()
    shipper = bench.make_shipper()
    bench.store_lines(write_line(PREDICTION), b"damaged\n")
    for _ in range(3):
        shipper.tick()
    bench.database.rmdir()
    shipper.tick()

    assert (bench.folder / REJECTED_FILE).read_bytes() == b"damaged\n"
    assert (bench.read(), read_status(bench.folder).rejected) == (["good"], 1)


def test_only_the_user_of_the_service_reads_what_was_put_aside(bench):
    """What people wrote is not for everybody on the machine, wherever it lies."""
    bench.store(replace(PREDICTION, label=None))
    bench.make_shipper().tick()

    assert (bench.folder / REJECTED_FILE).stat().st_mode & 0o077 == 0


def test_one_of_two_shippers_ships(bench):
    """While one shipper lives, another leaves the segments to it."""
    first, second = bench.make_shipper(), bench.make_shipper()
    first.tick()
    bench.store(PREDICTION)

    assert (second.tick(), len(bench.list_sealed())) == (True, 1)
    first.tick()
    assert (bench.read(), bench.list_sealed()) == (["good"], [])


def test_another_shipper_takes_over(bench):
    """When the shipper that worked has ended, the next one ships."""
    first, second = bench.make_shipper(), bench.make_shipper()
    first.tick()
    second.tick()
    bench.end(first)
    bench.store(PREDICTION)
    second.tick()

    assert bench.read() == ["good"]


def test_a_killed_shipper_is_followed_by_another(bench):
    """The lock of a process that was killed keeps nobody out."""
    command = [sys.executable, "-c", NO_KEEPER + "print(1, flush=True)\nsys.stdin.read()", bench.folder / LOCK_FILE]
    shipper = bench.make_shipper()
    bench.store(PREDICTION)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as keeper:
        keeper.stdout.readline()
        shipper.tick()
        waiting = len(bench.list_sealed())
        keeper.kill()
    shipper.tick()

    assert (waiting, bench.read()) == (1, ["good"])


def test_entries_wait_for_a_database_that_is_away(bench, caplog):
    """Nothing is lost while the database is away, which is said once, and once more when it is back."""
    bench.database.mkdir()
    shipper = bench.make_shipper()
    for entry in make_predictions(3):
        bench.store(entry)
        assert shipper.tick() is False
    assert (len(bench.list_sealed()), read_status(bench.folder).database) == (3, "unreachable")

    bench.database.rmdir()
    assert shipper.tick() is True

    assert (sorted(bench.read()), bench.list_sealed()) == (["0", "1", "2"], [])
    assert read_status(bench.folder) == LogStatus("ok", lag_seconds=0.0, shipped=3, rejected=0)
    assert caplog.messages == [GONE, BACK]


def test_entries_wait_for_a_database_that_is_locked(bench, monkeypatch):
    """A database that somebody else writes to for long gets its rows afterwards."""
    monkeypatch.setattr(connection, "BUSY_TIMEOUT_MS", 1)
    shipper = bench.make_shipper()
    bench.store(PREDICTION)
    shipper.tick()
    other = sqlite3.connect(bench.database, isolation_level=None)
    other.execute("begin immediate")
    bench.store(FEEDBACK)

    assert (shipper.tick(), len(bench.list_sealed())) == (False, 1)
    other.execute("rollback")
    other.close()
    assert (shipper.tick(), bench.read("label", "feedback"), bench.list_sealed()) == (True, ["negative"], [])


@pytest.mark.parametrize("place", ["file/log.db", "file/deep/log.db"])
def test_a_database_in_a_folder_that_cannot_be_made_is_unreachable(bench, tmp_path, place):
    """A folder that cannot be made is said in the status, as any reason for which no row is taken."""
    (tmp_path / "file").write_bytes(b"")
    shipper = bench.make_shipper(url=f"sqlite:///{tmp_path}/{place}")
    bench.store(PREDICTION)

    assert (shipper._try_tick(), len(bench.list_sealed())) == (False, 1)
    assert read_status(bench.folder).database == "unreachable"


@pytest.mark.parametrize("url", ["mysql://ann:secret@host/name", "", "postgresql://ann:secret@127.0.0.1:1/name"])
def test_a_database_that_can_never_be_reached_is_unreachable(bench, url, caplog):
    """A wrong URL costs no entry, is said in the status, and its password is not in the log of the service."""
    bench.store(PREDICTION)

    assert bench.make_shipper(url=url)._try_tick() is False
    assert (len(bench.list_sealed()), read_status(bench.folder).database) == (1, "unreachable")
    assert "secret" not in caplog.text


def test_a_warning_holds_no_text(bench, caplog):
    """The log of the service repeats nothing of what people wrote."""
    bench.store(replace(PREDICTION, text="marmalade", label=None))
    bench.store_lines(b'{"text": "marmalade"}\n')
    bench.make_shipper().tick()

    assert len(caplog.messages) == 2
    assert "marmalade" not in caplog.text


def test_the_lag_is_the_age_of_the_oldest_entry_that_waits(bench):
    """A database that is away is said with the time for which entries have waited."""
    bench.database.mkdir()
    for second in (1003, 1001, 1002):
        (bench.folder / f"{second * 10**9:020d}-1-1.sealed").write_bytes(write_line(PREDICTION))
    bench.make_shipper(clock=lambda: 1007.25).tick()

    assert read_status(bench.folder).lag_seconds == 6.25


def test_a_clock_that_went_back_makes_no_lag_below_zero(bench):
    """A lag is a length of time."""
    bench.database.mkdir()
    bench.store(PREDICTION)
    bench.make_shipper(clock=lambda: 0.0).tick()

    assert read_status(bench.folder).lag_seconds == 0.0


def test_a_status_counts_what_was_shipped_and_rejected(bench):
    """The counts are of entries, over all segments since the start."""
    shipper = bench.make_shipper()
    bench.store(*make_predictions(3), FEEDBACK)
    bench.store_lines(b"damaged\n", write_line(replace(PREDICTION, label=None)))
    shipper.tick()
    bench.store(PREDICTION)
    shipper.tick()

    assert read_status(bench.folder) == LogStatus("ok", lag_seconds=0.0, shipped=5, rejected=2)


def test_a_database_that_was_not_asked_is_not_said_to_work(bench):
    """A service that has nothing to ship does not know whether its database is there."""
    bench.database.mkdir()
    bench.make_shipper().tick()

    assert read_status(bench.folder).database == "not asked yet"


def test_a_spool_without_a_status_has_a_first_one(tmp_path):
    """Before the first look at the spool nothing is known, which is no error."""
    assert read_status(tmp_path) == LogStatus(database="not asked yet", lag_seconds=0.0, shipped=0, rejected=0)


@pytest.mark.parametrize("content", NO_STATUS.values(), ids=NO_STATUS)
def test_a_status_that_cannot_be_read_is_a_first_one(tmp_path, content):
    """A damaged status does not take the health page down."""
    (tmp_path / STATUS_FILE).write_bytes(content)

    assert read_status(tmp_path) == LogStatus()


def test_rows_that_are_too_old_are_removed(bench):
    """What is older than it may become goes from both tables, and nothing else does."""
    old, young = make_predictions(2)
    bench.store(replace(old, at=at(90.01)), replace(young, at=at(89.99)))
    bench.store(replace(FEEDBACK, at=at(91), label="old"), replace(FEEDBACK, id=make_id(), at=at(1), label="young"))
    bench.make_shipper(retention_days=90, clock=NOW.timestamp).tick()

    assert (bench.read(), bench.read("label", "feedback")) == (["1"], ["young"])


def test_rows_are_kept_for_ever_where_that_is_wanted(bench):
    """Zero days of retention remove nothing."""
    bench.store(replace(PREDICTION, at=at(40_000)), replace(FEEDBACK, at=0.0))
    bench.make_shipper(retention_days=0, clock=NOW.timestamp).tick()

    assert (bench.read(), bench.read("label", "feedback")) == (["good"], ["negative"])


def test_more_old_rows_than_a_statement_removes_are_all_removed(bench, monkeypatch):
    """A table that was never tidied up is tidied up at once."""
    monkeypatch.setattr(module, "ROWS_PER_DELETION", 2)
    bench.store(*make_predictions(5, at=at(100)), *make_predictions(1, at=at(1)))
    bench.make_shipper(retention_days=90, clock=NOW.timestamp).tick()

    assert bench.read() == ["0"]


def test_old_rows_are_looked_for_once_an_hour(bench):
    """A row that became too old goes within the hour, without a look at each tick."""
    clock, counts = Clock(), []
    shipper = bench.make_shipper(retention_days=90, clock=clock)
    shipper.tick()
    bench.store(replace(PREDICTION, at=at(100)))
    for passed in (1, 3598, 1):
        clock.seconds += passed
        shipper.tick()
        counts.append(len(bench.read()))

    assert counts == [1, 1, 0]


def test_a_retention_of_ages_is_one(bench):
    """More days than there were since the year one keep every row, and stop nothing."""
    bench.store(PREDICTION)

    assert bench.make_shipper(retention_days=1_000_000).tick() is True
    assert bench.read() == ["good"]


def test_a_shipper_that_ends_ships_what_is_there(bench):
    """What was written before the end is in the database after it."""
    shipper = bench.make_shipper()
    bench.spool.append([write_line(PREDICTION)])
    bench.end(shipper)

    assert (bench.read(), bench.list_sealed()) == (["good"], [])


def test_a_shipper_that_ended_holds_nothing_open(bench):
    """The lock and the database are given back at the end."""
    shipper = bench.make_shipper()
    bench.store(PREDICTION)
    shipper.tick()
    bench.end(shipper)

    held = [str(path.resolve()) for path in Path("/proc/self/fd").iterdir()]
    assert not [path for path in held if path.startswith(str(bench.folder.parent))]


def test_a_thread_goes_on_after_an_error(bench, monkeypatch, caplog):
    """An error that nobody thought of is said, and the next look at the spool is made all the same."""
    monkeypatch.setattr(module, "TICK_SECONDS", 0.001)
    shipper = StubbornShipper(bench)
    shipper.start()

    assert shipper.ticked.wait(GUARD_SECONDS)
    shipper.close()
    assert caplog.messages == ["the spool cannot be shipped (OSError); tried again"]
