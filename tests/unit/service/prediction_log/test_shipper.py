"""The shipper brings every entry to the database exactly once."""

import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from sentiment.database import connection
from service.api.ids import make_id
from service.prediction_log.entries import write_line
from service.prediction_log.shipper import (
    LOCK_FILE,
    STATUS_FILE,
    LogStatus,
    LogTimings,
    Shipper,
    read_status,
)
from service.prediction_log.spool import REJECTED_FILES, SegmentLimits, Spool, SpoolError, lock_segments
from tests.unit.service.prediction_log.conftest import FEEDBACK, MANY_BYTES, PREDICTION, SHADOW, Bench, make_predictions

GUARD_SECONDS = 10
OFTEN = LogTimings(tick_seconds=0.001)
NOW = datetime(2024, 6, 1, tzinfo=UTC)
GONE = "shipping the prediction log failed (OSError); tried again"
BACK = "shipping the prediction log goes on"
NO_KEEPER = "import fcntl, os, sys\nfcntl.flock(os.open(sys.argv[1], os.O_CREAT | os.O_RDWR), fcntl.LOCK_EX)\n"
NO_STATUS = {
    "nothing": b"",
    "half": b'{"database": "ok", "lag',
    "a list": b"[]",
    "an unknown key": b'{"weather": "fine", "at": 1}',
    "no time": b'{"database": "ok"}',
    "a time in words": b'{"database": "ok", "at": "noon"}',
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

    def __init__(self, bench: Bench, timings: LogTimings) -> None:
        super().__init__(bench.folder, bench.spool, "sqlite://", retention_days=0, timings=timings)
        self.failed = self.went_on = False
        self.ticked = threading.Event()

    def tick(self) -> None:
        if not self.failed:
            self.failed = True
            raise OSError(28, "No space left on device")
        self.ticked.set()


class FakeEngine:
    """A database that counts how often it is asked, and answers unless it is away."""

    dialect = sqlite.dialect()
    scalars = staticmethod(lambda *_: ())

    def __init__(self) -> None:
        self.asked = 0
        self.away = False

    @contextmanager
    def connect(self) -> Iterator["FakeEngine"]:
        if self.away:
            raise OSError("away")
        self.asked += 1
        yield self

    begin = connect

    def execute(self, _: object, rows: Sequence[object] = (), **options: object) -> SimpleNamespace:
        """Take anything."""
        return SimpleNamespace(rowcount=len(rows))

    def dispose(self) -> None:
        """Hold nothing."""


@pytest.fixture
def engine(monkeypatch) -> FakeEngine:
    """The database of every shipper that is made."""
    made = FakeEngine()
    monkeypatch.setattr(connection, "create_engine", lambda url: made)
    monkeypatch.setattr(connection, "migrate", lambda engine: None)
    return made


@pytest.fixture
def hung_database(monkeypatch) -> Iterator[threading.Event]:
    """A database that takes connections and says nothing; the event is set when somebody waits for it."""
    reached, released = threading.Event(), threading.Event()

    def hang(url: str) -> None:
        reached.set()
        released.wait(GUARD_SECONDS)
        raise OSError("timed out")

    monkeypatch.setattr(connection, "create_engine", hang)
    yield reached
    released.set()


def try_tick(shipper: Shipper) -> str:
    """Return the kind of error that keeps a shipper from shipping; empty where none does."""
    try:
        shipper.tick()
    except Exception as error:  # noqa: BLE001 - which kinds there are is the database's business
        return type(error).__name__
    return ""


def name_segment(seconds: float, suffix: str = "sealed") -> str:
    """Return the name of a segment that was begun then."""
    return f"{round(seconds * 10**9):020d}-1-1.{suffix}"


def wait_until(is_so: Callable[[], bool]) -> None:
    """Look again and again until it is so."""
    deadline = time.monotonic() + GUARD_SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def at(days: float) -> float:
    """Return the time that many days before now."""
    return (NOW - timedelta(days=days)).timestamp()


def test_a_prediction_becomes_a_row(bench):
    """Each value of an entry is in the column of its name."""
    bench.store(PREDICTION)
    assert bench.make_shipper().tick() is None

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
    assert bench.read("said", "feedback") == ["positive"]


def test_feedback_may_come_before_its_prediction(bench):
    """Segments of two workers come in any order; what a prediction said is then read from its own row."""
    bench.store(FEEDBACK)
    bench.store(PREDICTION)
    bench.make_shipper().tick()

    assert (bench.read("said", "feedback"), bench.read("label")) == ([None], ["positive"])


def test_a_shadow_answer_becomes_a_row(bench):
    """What a challenger says is in a table of its own, once, beside the prediction; the rollup does not count it."""
    for _ in range(2):
        bench.store(PREDICTION, SHADOW)
        bench.make_shipper().tick()
        bench.close()

    columns = [name for name in asdict(SHADOW) if name not in {"id", "at", "prediction_id", "scores"}]
    assert bench.read(", ".join(columns), "shadow_predictions") == [tuple(getattr(SHADOW, name) for name in columns)]
    assert bench.read("prediction_id", "shadow_predictions") == bench.read("id")
    assert bench.count_activity() == {3600: 1}


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


def test_more_rows_than_a_statement_holds_are_all_shipped(bench):
    """A large segment takes several statements and loses none of its rows."""
    bench.store(*make_predictions(10))
    bench.make_shipper(rows_per_statement=3).tick()

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


def test_the_rollup_counts_each_prediction_once(bench):
    """A segment that is shipped again, and an id that comes twice, add nothing to the rollup."""
    rows = make_predictions(3)
    for entries in (rows, rows, [*rows, rows[0], *make_predictions(1)], [FEEDBACK]):
        bench.store(*entries)
        bench.make_shipper().tick()
        bench.close()

    assert bench.count_activity() == {3600: 4}


def test_the_rollup_holds_what_the_rows_hold(bench):
    """Where a row cannot be stored its neighbours are in the rollup, and it is not."""
    spoilt = [replace(PREDICTION, id=make_id(), latency_ms=value) for value in (float("nan"), "slow")]
    bench.store(*make_predictions(2), *spoilt, *make_predictions(2))
    bench.make_shipper().tick()

    assert bench.count_activity() == {3600: 4}
    assert len(bench.read()) == 4
    assert len(bench.read_rejected().splitlines()) == 2


def test_a_segment_of_which_half_was_shipped_is_completed(bench):
    """A crash between two statements of a segment loses none of its rows and doubles none."""
    entries = make_predictions(4)
    bench.store(*entries[:2])
    shipper = bench.make_shipper(rows_per_statement=2)
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
    assert bench.read_rejected() == b""
    assert list(bench.folder.glob("*.open")) == bench.list_sealed() == []


def test_a_damaged_line_is_put_aside(bench, caplog):
    """A whole line that is no entry is kept for a person, and its neighbours are shipped."""
    first, second = make_predictions(2)
    bench.store_lines(write_line(first), b"\x00\xff damaged\n", write_line(second))
    bench.make_shipper().tick()

    assert sorted(bench.read()) == ["0", "1"]
    assert bench.read_rejected() == b"\x00\xff damaged\n"
    assert (read_status(bench.folder, time.time()).rejected, bench.list_sealed()) == (1, [])
    (file,) = bench.folder.glob(REJECTED_FILES)
    assert caplog.messages == [f"1 entries of the prediction log cannot be stored; they are in {file.name}"]


def test_a_line_that_no_parser_reads_is_put_aside(bench):
    """A line nested thousands deep does not stop the log for ever."""
    bench.store_lines(write_line(PREDICTION), b"[" * 100_000 + b"\n")
    bench.store(FEEDBACK)
    bench.make_shipper().tick()

    assert (bench.read(), bench.read("label", "feedback"), bench.list_sealed()) == (["good"], ["negative"], [])


@pytest.mark.parametrize("values", [{"label": None}, {"characters": None}, {"id": None}, {"id": 7}], ids=str)
def test_an_entry_that_the_schema_refuses_spoils_no_neighbour(bench, values):
    """An entry that the database will never take is put aside alone."""
    first, bad, last = make_predictions(3)
    bench.store(first, replace(bad, **values), last, FEEDBACK)
    bench.make_shipper().tick()

    assert sorted(bench.read()) == ["0", "2"]
    assert bench.read("label", "feedback") == ["negative"]
    (kept,) = bench.read_rejected().decode().splitlines()
    assert (json.loads(kept)["text"], json.loads(kept)["kind"]) == ("1", "prediction")


def test_an_entry_is_put_aside_once(bench):
    """A database that is away does not fill the file of rejected entries."""
    bench.database.mkdir()
    shipper = bench.make_shipper()
    bench.store_lines(write_line(PREDICTION), b"damaged\n")
    assert [try_tick(shipper) for _ in range(3)] == ["OperationalError"] * 3
    before = bench.read_rejected()
    bench.database.rmdir()
    shipper.tick()

    assert (before, bench.read_rejected()) == (b"", b"damaged\n")
    assert (bench.read(), read_status(bench.folder, time.time()).rejected) == (["good"], 1)


@pytest.fixture
def half_database(bench) -> Callable[[str, str], None]:
    """What renames a table of a database that has its tables."""
    bench.store(replace(PREDICTION, id=make_id(), text="first"))
    bench.end(bench.make_shipper())

    def rename(before: str, after: str) -> None:
        other = sqlite3.connect(bench.database)
        other.execute(f"alter table {before} rename to {after}")
        other.close()

    return rename


def test_an_entry_that_the_schema_refuses_is_put_aside_once(bench, half_database):
    """A database that takes half of a segment does not fill the file of rejected entries."""
    shipper = bench.make_shipper()
    bench.store(replace(PREDICTION, label=None), FEEDBACK)
    half_database("feedback", "elsewhere")
    assert [try_tick(shipper) for _ in range(3)] == ["OperationalError"] * 3
    half_database("elsewhere", "feedback")
    shipper.tick()

    assert bench.read("label", "feedback") == ["negative"]
    assert len(bench.read_rejected().decode().splitlines()) == 1


def test_a_status_counts_an_entry_once(bench, half_database):
    """An entry whose segment was tried again is one entry."""
    shipper = bench.make_shipper()
    bench.store(PREDICTION, FEEDBACK)
    half_database("feedback", "elsewhere")
    assert [try_tick(shipper) for _ in range(3)] == ["OperationalError"] * 3
    half_database("elsewhere", "feedback")
    shipper.tick()

    assert sorted(bench.read()) == ["first", "good"]
    assert read_status(bench.folder, time.time()).shipped == 2


def test_only_the_user_of_the_service_reads_what_was_put_aside(bench):
    """What people wrote is not for everybody on the machine, wherever it lies."""
    before = os.umask(0)
    try:
        bench.store(replace(PREDICTION, label=None))
        bench.make_shipper().tick()
    finally:
        os.umask(before)

    assert [stat.S_IMODE(path.stat().st_mode) for path in bench.folder.glob(REJECTED_FILES)] == [0o600]


def test_one_of_two_shippers_ships(bench):
    """While one shipper lives, another leaves the segments to it."""
    first, second = bench.make_shipper(), bench.make_shipper()
    first.tick()
    bench.store(PREDICTION)

    assert (try_tick(second), len(bench.list_sealed())) == ("", 1)
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


def test_entries_wait_for_a_database_that_is_away(bench):
    """Nothing is lost while the database is away, and what keeps an entry waiting is raised at each try."""
    bench.database.mkdir()
    shipper = bench.make_shipper()
    for entry in make_predictions(3):
        bench.store(entry)
        assert try_tick(shipper) == "OperationalError"
    assert (len(bench.list_sealed()), read_status(bench.folder, time.time()).database) == (3, "unreachable")

    bench.database.rmdir()
    assert try_tick(shipper) == ""

    assert (sorted(bench.read()), bench.list_sealed()) == (["0", "1", "2"], [])
    assert read_status(bench.folder, time.time()) == LogStatus("ok", lag_seconds=0.0, shipped=3, rejected=0)


def test_the_status_is_there_before_the_error(bench, monkeypatch):
    """Whoever learns that nothing was shipped can read the same in the status already."""
    bench.database.mkdir()
    bench.store(PREDICTION)
    shipper = bench.make_shipper(clock=lambda: 5.0)

    with pytest.raises(sa.exc.OperationalError, match="unable to open database file"):
        shipper.tick()
    assert json.loads((bench.folder / STATUS_FILE).read_text()) == {
        "database": "unreachable",
        "lag_seconds": 0.0,
        "shipped": 0,
        "rejected": 0,
        "at": 5.0,
    }


def test_a_folder_that_went_away_is_raised(bench):
    """A shipper that cannot even look whether it is the one to ship says so."""
    shipper = bench.make_shipper()
    shutil.rmtree(bench.folder)

    assert try_tick(shipper) == "FileNotFoundError"


def test_an_idle_shipper_asks_the_database_now_and_then(bench, engine):
    """A service without requests notices within five seconds that its database is away, without a question a tick."""
    clock, counts = Clock(), []
    shipper = bench.make_shipper(clock=clock)
    for passed in (0, 4.99, 0.01, 4.99, 0.01):
        clock.seconds += passed
        shipper.tick()
        counts.append(engine.asked)

    assert counts == [2, 2, 3, 3, 4]  # tidying up once is a question, too


def test_a_database_that_just_took_rows_is_not_asked(bench, engine):
    """Rows that were taken are an answer."""
    clock = Clock()
    shipper = bench.make_shipper(clock=clock)
    for _ in range(4):
        bench.store(PREDICTION)
        clock.seconds += 4
        shipper.tick()

    assert engine.asked == 5  # tidying up once is a question, too


def test_an_idle_shipper_follows_its_database(bench, engine):
    """A database that goes away and comes back is said to, though nothing waits for it."""
    clock, seen = Clock(), []
    shipper = bench.make_shipper(clock=clock)
    for away, passed in ((False, 0), (True, 1), (True, 4), (True, 1), (False, 1)):
        engine.away = away
        clock.seconds += passed
        seen.append((try_tick(shipper), read_status(bench.folder, clock()).database))

    assert seen == [("", "ok"), ("", "ok"), ("OSError", "unreachable"), ("OSError", "unreachable"), ("", "ok")]


def test_a_hung_database_does_not_stop_sealing(bench, hung_database):
    """While the database says nothing segments are sealed all the same, so that their age is seen."""
    bench.spool = Spool(bench.folder, max_bytes=MANY_BYTES, segment_limits=SegmentLimits(seconds=0.0))
    shipper = bench.make_shipper(timings=OFTEN)
    shipper.start()
    assert hung_database.wait(GUARD_SECONDS)
    bench.spool.append([write_line(PREDICTION)])

    wait_until(bench.list_sealed)
    shipper.close(0.01)
    assert read_status(bench.folder, time.time() + 11).is_sound is False


def test_a_hung_database_does_not_lift_the_byte_limit(bench, hung_database):
    """While the database says nothing a spool takes what it may and no more."""
    spool = Spool(bench.folder, max_bytes=2000)
    shipper = Shipper(bench.folder, spool, "sqlite://", retention_days=0, timings=OFTEN)
    shipper.start()
    assert hung_database.wait(GUARD_SECONDS)

    def is_full() -> bool:
        with suppress(SpoolError):
            spool.append([b"x" * 99 + b"\n"])
            return False
        return True

    wait_until(is_full)
    shipper.close(0.01)
    assert sum(path.stat().st_size for path in bench.list_sealed()) >= 2000


def test_a_hung_database_does_not_hold_up_the_end(bench, hung_database):
    """A service ends when it should, and leaves in the spool what the database did not take."""
    shipper = bench.make_shipper(timings=OFTEN)
    bench.spool.append([write_line(PREDICTION)])
    shipper.start()
    assert hung_database.wait(GUARD_SECONDS)
    started = time.monotonic()
    shipper.close(0.05)

    assert time.monotonic() - started < 1
    assert [path.read_bytes() for path in bench.list_sealed()] == [write_line(PREDICTION)]


def test_entries_wait_for_a_database_that_is_locked(bench, monkeypatch):
    """A database that somebody else writes to for long gets its rows afterwards."""
    monkeypatch.setattr(connection, "BUSY_TIMEOUT_MS", 1)
    shipper = bench.make_shipper()
    bench.store(PREDICTION)
    shipper.tick()
    other = sqlite3.connect(bench.database, isolation_level=None)
    other.execute("begin immediate")
    bench.store(FEEDBACK)

    assert (try_tick(shipper), len(bench.list_sealed())) == ("OperationalError", 1)
    other.execute("rollback")
    other.close()
    assert (try_tick(shipper), bench.read("label", "feedback"), bench.list_sealed()) == ("", ["negative"], [])


@pytest.mark.parametrize("place", ["file/log.db", "file/deep/log.db"])
def test_a_database_in_a_folder_that_cannot_be_made_is_unreachable(bench, tmp_path, place):
    """A folder that cannot be made is said in the status, as any reason for which no row is taken."""
    (tmp_path / "file").write_bytes(b"")
    shipper = bench.make_shipper(url=f"sqlite:///{tmp_path}/{place}")
    bench.store(PREDICTION)

    assert (try_tick(shipper) != "", len(bench.list_sealed())) == (True, 1)
    assert read_status(bench.folder, time.time()).database == "unreachable"


@pytest.mark.parametrize("url", ["mysql://ann:secret@host/name", "", "postgresql://ann:secret@127.0.0.1:1/name"])
def test_a_database_that_can_never_be_reached_is_unreachable(bench, url, caplog):
    """A wrong URL costs no entry, is said in the status, and its password is not in the log of the service."""
    bench.store(PREDICTION)

    assert try_tick(bench.make_shipper(url=url)) != ""
    assert (len(bench.list_sealed()), read_status(bench.folder, time.time()).database) == (1, "unreachable")
    assert "secret" not in caplog.text


def test_a_warning_holds_no_text(bench, caplog):
    """The log of the service repeats nothing of what people wrote."""
    bench.store(replace(PREDICTION, text="marmalade", label=None))
    bench.store_lines(b'{"text": "marmalade"}\n')
    bench.make_shipper().tick()

    assert len(caplog.messages) == 2
    assert "marmalade" not in caplog.text


def test_the_lag_is_the_age_of_the_oldest_entry_that_waits(bench):
    """How long entries have waited is seen in the spool itself, whether anybody ships or not."""
    for second in (1003, 1001, 1002):
        (bench.folder / name_segment(second)).write_bytes(write_line(PREDICTION))

    assert read_status(bench.folder, 1007.25) == LogStatus("unknown", lag_seconds=6.25)


@pytest.mark.parametrize("suffix", ["open", "new"])
def test_what_is_still_written_to_does_not_lag(bench, suffix):
    """An entry waits for the database from when its segment is sealed."""
    (bench.folder / name_segment(1001, suffix)).write_bytes(write_line(PREDICTION))

    assert read_status(bench.folder, 1007.0).lag_seconds == 0.0


def test_what_was_shipped_does_not_lag(bench):
    """A spool that is empty has no lag, whatever its shipper wrote down."""
    (bench.folder / STATUS_FILE).write_text('{"database": "ok", "lag_seconds": 99.0, "at": 1000.0}')

    assert read_status(bench.folder, 1001.0) == LogStatus("ok", lag_seconds=0.0)


def test_a_clock_that_went_back_makes_no_lag_below_zero(bench):
    """A lag is a length of time."""
    bench.store(PREDICTION)

    assert read_status(bench.folder, 0.0).lag_seconds == 0.0


@pytest.mark.parametrize("name", ["copy-of-1.sealed", "a-b-c.sealed", "notes.sealed"])
def test_a_file_of_somebody_else_does_not_take_the_status_down(bench, name):
    """A file that somebody put beside the segments is no reason not to answer how the log is doing."""
    (bench.folder / name).write_bytes(b"")

    assert read_status(bench.folder, 1001.0) == LogStatus()


@pytest.mark.parametrize(("age", "database"), [(0.0, "ok"), (10.0, "ok"), (10.001, "unknown"), (1e6, "unknown")])
def test_an_old_status_says_nothing_of_the_database(bench, age, database):
    """A shipper that says nothing for ten seconds hangs: nobody knows how its database is."""
    (bench.folder / STATUS_FILE).write_text('{"database": "ok", "shipped": 3, "rejected": 1, "at": 1000.0}')

    assert read_status(bench.folder, 1000.0 + age) == LogStatus(database, shipped=3, rejected=1)


@pytest.mark.parametrize(
    ("database", "lag", "is_sound"),
    [
        ("ok", 0.0, True),
        ("ok", 10.0, True),
        ("ok", 10.001, False),
        ("unknown", 0.0, True),
        ("unknown", 10.0, True),
        ("unknown", 10.001, False),
        ("unreachable", 0.0, False),
        ("unreachable", 10.001, False),
    ],
)
def test_a_log_is_sound_while_entries_reach_the_database_soon(database, lag, is_sound):
    """A log whose database is away, or that lags more than ten seconds, needs a person."""
    assert LogStatus(database, lag_seconds=lag).is_sound is is_sound


def test_a_status_counts_what_was_shipped_and_rejected(bench):
    """The counts are of entries, over all segments since the start."""
    shipper = bench.make_shipper()
    bench.store(*make_predictions(3), FEEDBACK)
    bench.store_lines(b"damaged\n", write_line(replace(PREDICTION, label=None)))
    shipper.tick()
    bench.store(PREDICTION)
    shipper.tick()

    assert read_status(bench.folder, time.time()) == LogStatus("ok", lag_seconds=0.0, shipped=5, rejected=2)


def test_a_status_that_stays_the_same_is_written_every_two_seconds(bench):
    """An idle service does not keep its disk awake, and its status never looks old."""
    clock, seen = Clock(), []
    shipper = bench.make_shipper(clock=clock)
    for passed in (0.0, 1.9, 0.2, 1.9):
        clock.seconds += passed
        shipper.tick()
        seen.append(json.loads((bench.folder / STATUS_FILE).read_text())["at"])

    assert [at - seen[0] for at in seen] == pytest.approx([0.0, 0.0, 2.1, 2.1])


def test_a_database_that_is_away_from_the_start_is_said(bench):
    """A service that has nothing to ship knows all the same that its database is not there."""
    bench.database.mkdir()

    assert try_tick(bench.make_shipper()) == "OperationalError"
    assert read_status(bench.folder, time.time()).database == "unreachable"


def test_a_spool_without_a_status_has_a_first_one(tmp_path):
    """Before the first look at the spool nothing is known, which is no error."""
    assert read_status(tmp_path, 0.0) == LogStatus(database="unknown", lag_seconds=0.0, shipped=0, rejected=0)


@pytest.mark.parametrize("content", NO_STATUS.values(), ids=NO_STATUS)
def test_a_status_that_cannot_be_read_is_a_first_one(tmp_path, content):
    """A damaged status does not take the health page down."""
    (tmp_path / STATUS_FILE).write_bytes(content)

    assert read_status(tmp_path, 1.0) == LogStatus()


def test_entries_that_are_put_aside_lie_in_a_file_of_their_day(bench):
    """Every day has its file, so that old ones can go."""
    clock = Clock()
    shipper = bench.make_shipper(clock=clock)
    for _ in range(2):
        bench.store_lines(b"damaged\n")
        shipper.tick()
        clock.seconds += 86_400

    names = [path.name for path in bench.folder.glob(REJECTED_FILES)]
    assert sorted(names) == ["rejected-2024-06-01.jsonl", "rejected-2024-06-02.jsonl"]


def test_a_segment_waits_while_another_holds_the_spool(bench):
    """Nothing is shipped while `forget` works on the spool, and what it took out of a segment is not shipped later."""
    first, second = make_predictions(2)
    bench.store(first, second)
    (segment,) = bench.list_sealed()
    thread = threading.Thread(target=bench.make_shipper().tick)
    with lock_segments(bench.folder):
        thread.start()
        thread.join(0.3)
        waited = thread.is_alive()
        segment.write_bytes(write_line(second))
    thread.join(GUARD_SECONDS)

    assert (waited, bench.read()) == (True, ["1"])


def test_a_segment_that_another_emptied_is_no_error(bench):
    """A segment that `forget` took away while the shipper waited for it is gone, and the next one is shipped."""
    bench.store(PREDICTION)
    (segment,) = bench.list_sealed()
    shipper = bench.make_shipper()
    thread = threading.Thread(target=shipper.tick)
    with lock_segments(bench.folder):
        thread.start()
        thread.join(0.3)
        segment.unlink()
    thread.join(GUARD_SECONDS)
    bench.store(*make_predictions(1))
    shipper.tick()

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

    assert try_tick(bench.make_shipper(retention_days=1_000_000)) == ""
    assert bench.read() == ["good"]


def test_a_shipper_that_ends_ships_what_is_there(bench):
    """What was written before the end is in the database after it."""
    shipper = bench.make_shipper()
    bench.spool.append([write_line(PREDICTION)])
    bench.end(shipper)

    assert (bench.read(), bench.list_sealed()) == (["good"], [])


def test_of_shippers_that_end_together_the_last_ships_the_rest(bench):
    """The one that ships may have looked before another sealed; that one ships once it may."""
    command = [sys.executable, "-c", NO_KEEPER + "print(1, flush=True)\nsys.stdin.read()", bench.folder / LOCK_FILE]
    shipper = bench.make_shipper()
    bench.spool.append([write_line(PREDICTION)])
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as keeper:
        keeper.stdout.readline()
        ending = threading.Thread(target=bench.end, args=(shipper,))
        ending.start()
        wait_until(lambda: bench.list_sealed() != [])
        time.sleep(0.1)
        keeper.kill()
        ending.join()

    assert (bench.read(), bench.list_sealed()) == (["good"], [])


def test_a_shipper_that_ended_holds_nothing_open(bench):
    """The lock and the database are given back at the end."""
    shipper = bench.make_shipper()
    bench.store(PREDICTION)
    shipper.tick()
    bench.end(shipper)

    held = [str(path.resolve()) for path in Path("/proc/self/fd").iterdir()]
    assert not [path for path in held if path.startswith(str(bench.folder.parent))]


def test_a_thread_goes_on_after_an_error(bench, caplog):
    """An error that nobody thought of is said, and the next look at the spool is made all the same."""
    shipper = StubbornShipper(bench, OFTEN)
    shipper.start()

    assert shipper.ticked.wait(GUARD_SECONDS)
    shipper.close()
    assert caplog.messages[0] == GONE
    assert set(caplog.messages[1:]) <= {BACK}


def test_a_database_that_is_away_is_said_once_and_once_more_when_it_is_back(bench, engine, caplog):
    """The operator reads when the database went away and when it was back, and not one line a try."""
    engine.away = True
    clock = Clock()
    shipper = bench.make_shipper(clock=clock, timings=replace(OFTEN, longest_pause_seconds=0.001))
    shipper.start()
    wait_until(lambda: read_status(bench.folder, clock()).database == "unreachable")
    time.sleep(0.02)
    engine.away = False
    wait_until(lambda: len(caplog.messages) == 2)
    shipper.close()

    assert caplog.messages == [GONE, BACK]


def test_a_shipper_that_never_started_can_end(bench):
    """An end without a start ships what is there."""
    bench.spool.append([write_line(PREDICTION)])
    bench.make_shipper().close()

    assert bench.read() == ["good"]
