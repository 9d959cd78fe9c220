import os
import re
import statistics
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import bentoml
import httpx
import psutil
import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from sentiment.database.connection import MIGRATION_LOCK, create_engine, open_database
from sentiment.database.schema import ACTIVITY, FEEDBACK, METADATA, PREDICTIONS
from sentiment.paths import CHECKOUT
from service.api.ids import make_id
from service.prediction_log.entries import PredictionEntry, write_line
from service.prediction_log.pseudonyms import digest_text, read_key
from service.prediction_log.retention import ROWS_PER_DELETION
from service.prediction_log.shipper import LOCK_FILE, Shipper, read_status
from service.prediction_log.spool import Spool, SpoolError, measure_bytes
from tests.support import serving
from tests.support.postgres import PASSWORD, Postgres, run_postgres
from tests.support.serving import WORD, Service, make_store, wait_until

pytestmark = pytest.mark.slow

UNLOGGED = {
    "code": "unlogged",
    "message": "the answer cannot be kept in the prediction log, so there is none; the operator finds why in the log.",
}
HOSTILE = [
    "nul \0 within",
    "four bytes \N{GRINNING FACE}\N{PILE OF POO}",
    "\N{RIGHT-TO-LEFT OVERRIDE}שלום مرحبا",
    "a line\u2028a paragraph\u2029a next\u0085end",
    "a\nline\r\nand\ta\vtab\x1b[31m",
    "'; DROP TABLE predictions; --",
    '"}\n{"kind": "feedback"}',
    "%s %(id)s :id {id} $1 \\copy \\x00 \\u0000",
    "<script>alert(1)</script>&amp;",
    "e\N{COMBINING ACUTE ACCENT}" * 50,
    "\uffff \ufffe \ufeff \U0010ffff",
]
MIGRATE = """
import sys
from sentiment.database.connection import open_database
with open_database(sys.argv[1]):
    pass
"""


@dataclass
class LoggingService(Service):
    """A service whose prediction log the tests read."""

    @property
    def database(self) -> str:
        return self.environment.get("DATABASE_URL", f"sqlite:///{self.state}/sentigate.db")

    @property
    def spool(self) -> Path:
        return Path(self.environment.get("SENTIMENT_SPOOL_FOLDER", self.state / "spool"))

    def find_shipper(self) -> int | None:
        """Return the id of the process that holds the lock of the spool, or None; nobody may have made it yet."""
        if not (lock := self.spool / LOCK_FILE).exists():
            return None
        wanted = f":{lock.stat().st_ino} "
        locks = Path("/proc/locks").read_text(encoding="utf-8").splitlines()
        held = [int(line.split()[4]) for line in locks if wanted in line and "->" not in line]
        assert len(held) <= 1
        return held[0] if held else None

    def read_health(self) -> str:
        return self.get("/health").raise_for_status().json()["status"]

    def read_rows(self, table: sa.Table = PREDICTIONS) -> dict[str, dict[str, Any]]:
        return read_rows(self.database, table)

    def wait_for_row(self, wanted: str, table: sa.Table = PREDICTIONS) -> dict[str, Any]:
        return wait_until(lambda: self.read_rows(table).get(wanted))

    def wait_for_health(self, wanted: str) -> None:
        wait_until(lambda: self.read_health() == wanted, lambda: f"/health says {self.read_health()}", seconds=20)

    def check_log_of(self, load: "Load", forgotten: int = 0) -> None:
        """Wait until what was acknowledged is there, and see that it is there once and nothing is there in part."""
        wait_until(lambda: not self.find_missing(load), lambda: f"{len(self.find_missing(load))} rows are missing")
        rows = self.read_rows().values()
        logged: dict[str, list[str]] = {number: [] for number in load.asked}
        for row in rows:
            logged.get(row["request_id"], []).append(row["id"])
        assert {number: sorted(logged[number]) for number in load.acknowledged} == load.acknowledged
        assert {len(logged[number]) for number in load.asked} <= {0, 1, Load.BATCH}
        assert load.acknowledged
        self.check_rollup(forgotten)

    def check_rollup(self, forgotten: int) -> None:
        """See that each row of the log, and each that was forgotten, is in the rollup by hour and by minute, once."""
        sums = (
            sa.select(sa.func.sum(ACTIVITY.c.predictions)).where(ACTIVITY.c.period_seconds == period).scalar_subquery()
            for period in (60, 3600)
        )
        rows = (sa.select(sa.func.count()).select_from(PREDICTIONS).scalar_subquery() + forgotten).label("rows")
        engine = create_engine(self.database)
        with engine.connect() as connection:
            assert len(set(connection.execute(sa.select(rows, *sums)).one())) == 1
        engine.dispose()

    def find_missing(self, load: "Load") -> set[str]:
        return {one for ids in load.acknowledged.values() for one in ids} - set(self.read_rows())


class Load:
    """Clients that ask for single texts and batches until the block ends, and what they were told."""

    BATCH = 5

    def __init__(self, service: LoggingService, clients: int = 4, *, keep_alive: bool = True) -> None:
        self._service = service
        self._limits = httpx.Limits(max_keepalive_connections=None if keep_alive else 0)
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]
        self.asked: list[str] = []
        self.acknowledged: dict[str, list[str]] = {}
        self.failures: list[int | str] = []
        self.times: list[tuple[float, float]] = []

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        self.wait_for_more()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for_more(self, answers: int = 100) -> None:
        """Return when so many more requests were acknowledged."""
        wanted = len(self.acknowledged) + answers
        wait_until(lambda: len(self.acknowledged) >= wanted)

    def find_median(self, start: float, end: float) -> float:
        """Return the median time of an answer to a request that was sent between two moments."""
        return statistics.median(took for sent, took in self.times if start <= sent < end)

    def _ask(self) -> None:
        with httpx.Client(base_url=self._service.url, timeout=30, trust_env=False, limits=self._limits) as client:
            while not self._stop.wait(0.01):
                number, sent = uuid.uuid4().hex, time.monotonic()
                self.asked.append(number)
                try:
                    self._send(client, number, many=len(self.asked) % 3 == 0)
                    self.times.append((sent, time.monotonic() - sent))
                except httpx.HTTPStatusError as error:
                    self.failures.append(error.response.status_code)
                except httpx.TransportError as error:
                    self.failures.append(type(error).__name__)

    def _send(self, client: httpx.Client, number: str, *, many: bool) -> None:
        texts = [f"I like {WORD} {number}"] * self.BATCH
        path, body = ("/batch_predict", {"texts": texts}) if many else ("/predict", {"text": texts[0]})
        answer = client.post(path, json=body, headers={"x-request-id": number}).raise_for_status().json()
        self.acknowledged[number] = sorted(
            one["prediction_id"] for one in (answer["predictions"] if many else [answer])
        )


def read_rows(url: str, table: sa.Table = PREDICTIONS) -> dict[str, dict[str, Any]]:
    """Return the rows of a table by their id; none where it is not there yet, or in part, as SQLite shows it."""
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            inspector = sa.inspect(connection)
            if not inspector.has_table(table.name):
                return {}
            if len(inspector.get_columns(table.name)) < len(table.columns):
                return {}
            rows = connection.execute(sa.select(table)).mappings().all()
    finally:
        engine.dispose()
    assert len({row["id"] for row in rows}) == len(rows)
    return {row["id"]: dict(row) for row in rows}


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return make_store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with run_postgres() as server:
        yield server


@pytest.fixture
def database(postgres) -> Iterator[str]:
    """The URL of an empty database on a server that runs, again after the test."""
    yield postgres.create_database()
    postgres.start()


run_service = partial(serving.run_service, kind=LoggingService)


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def service(request, store, tmp_path_factory) -> Iterator[LoggingService]:
    """The service with all texts in its log, once for each kind of database."""
    variables = {"SENTIMENT_LOG_TEXT": "full"}
    if request.param == "postgres":
        variables["DATABASE_URL"] = request.getfixturevalue("postgres").create_database()
    with run_service(store, tmp_path_factory.mktemp("service"), **variables) as service:
        yield service


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """The folder of a file system of its own that is quickly full."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root can mount the small file system that this test fills")
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no small file system can be mounted: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill_disk(folder: Path) -> Path:
    """Return the file that takes the last byte."""
    filler = folder / "filler"
    with suppress(OSError), filler.open("ab", buffering=0) as file:
        while True:
            file.write(b"x" * 512)
    return filler


def fill_until(service: LoggingService, check: Callable[[], Any]) -> Path:
    """Fill the disk of the spool again and again, for shipping makes room, until a check is true."""
    wait_until(lambda: fill_disk(service.spool) and check())
    return service.spool / "filler"


@pytest.mark.parametrize("service", ["sqlite"], indirect=True)  # the next test kills with either database
def test_a_killed_worker_loses_no_acknowledged_prediction(service):
    """Each prediction that was acknowledged before `kill -9` of the worker is in the log, once."""
    with Load(service) as load:
        (worker,) = service.find_workers()
        worker.kill()
        load.wait_for_more()

    assert worker not in service.find_workers()
    assert all(isinstance(failure, str) for failure in load.failures)
    service.check_log_of(load)


def test_a_killed_service_has_all_after_its_next_start(service):
    """What was acknowledged before every process was killed at once is in the log after the next start."""
    with Load(service) as load:
        service.kill()
    service.start()

    service.check_log_of(load)


def test_a_terminated_service_ships_what_it_has(service):
    """SIGTERM under load fails no request that was taken, and what was acknowledged is in the database at the end."""
    with Load(service) as load:
        code = service.terminate()
    missing = service.find_missing(load)
    service.start()

    assert (code, missing) == (0, set())
    assert all(isinstance(failure, str) for failure in load.failures)
    service.check_log_of(load)


def test_hostile_texts_arrive_whole(service):
    """No sign of a text costs a row; NUL, which PostgreSQL does not take, becomes the replacement character."""
    answer = service.post("/batch_predict", {"texts": HOSTILE}).raise_for_status().json()

    ids = [one["prediction_id"] for one in answer["predictions"]]
    rows = wait_until(lambda: (rows := service.read_rows()).keys() >= set(ids) and rows)
    assert [rows[one]["text"] for one in ids] == [text.replace("\0", "\N{REPLACEMENT CHARACTER}") for text in HOSTILE]
    assert [rows[one]["characters"] for one in ids] == [len(text) for text in HOSTILE]
    assert not list(service.spool.glob("rejected*"))


@pytest.mark.parametrize("text", [r"lone \ud800 high", r"lone \udc00 low", r"\ude00\ud83d turned"])
def test_half_a_surrogate_is_refused(service, text):
    """JSON that escapes half a sign is not text, and is answered as malformed."""
    answer = service.post("/predict", f'{{"text": "{text}"}}'.encode())

    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")


def test_an_answer_and_its_row_are_the_same(service):
    """The row of a prediction says what its caller was told, and when."""
    answer = service.post("/predict", {"text": "what a good day"}).raise_for_status().json()

    row = service.wait_for_row(answer["prediction_id"])
    told = {name: value for name, value in answer.items() if name != "prediction_id"}
    assert {name: row[name] for name in told} == told
    assert (row["text"], row["characters"], row["text_digest"]) == ("what a good day", 15, None)
    assert abs(row["at"].replace(tzinfo=row["at"].tzinfo or UTC) - datetime.now(UTC)) < timedelta(minutes=1)
    assert 0 < row["latency_ms"] < 30_000


def test_feedback_lands_beside_its_prediction(service):
    """Feedback is a row of its own that names the prediction, its label and its request."""
    prediction = service.predict("good")
    answer = service.post("/feedback", {"prediction_id": prediction, "label": "negative"}).raise_for_status().json()

    row = service.wait_for_row(answer["feedback_id"], FEEDBACK)
    assert (row["prediction_id"], row["label"], row["request_id"]) == (prediction, "negative", answer["request_id"])
    assert service.wait_for_row(prediction)["id"] == prediction


def test_the_client_of_bentoml_is_logged(service):
    """BentoML's own client predicts, predicts batches and gives feedback, and all of it is in the log."""
    with bentoml.SyncHTTPClient(service.url) as client:
        alone = client.predict(text="one")
        batch = client.batch_predict(texts=["one", "one two"])["predictions"]
        feedback = client.feedback(prediction_id=alone["prediction_id"], label="positive")

    texts = [service.wait_for_row(one["prediction_id"])["text"] for one in [alone, *batch]]
    assert texts == ["one", "one", "one two"]
    assert service.wait_for_row(feedback["feedback_id"], FEEDBACK)["prediction_id"] == alone["prediction_id"]


def test_a_request_keeps_the_id_that_it_came_with(service):
    """A plain `x-request-id` is in the answer's header and body and in the row; another is replaced."""
    asked = f"caller.{uuid.uuid4()}"
    kept, replaced = (
        service.post("/predict", {"text": "good"}, headers={"x-request-id": sent}) for sent in (asked, f"{asked}; DROP")
    )

    assert (kept.headers["x-request-id"], kept.json()["request_id"]) == (asked, asked)
    assert service.wait_for_row(kept.json()["prediction_id"])["request_id"] == asked
    assert uuid.UUID(replaced.headers["x-request-id"]).version == 7
    assert replaced.json()["request_id"] == replaced.headers["x-request-id"]


def test_no_text_of_a_caller_is_in_the_log_of_the_service(service):
    """Whatever the tests before did to the service and its database, no text was written to its own log."""
    assert "Traceback" not in service.log
    assert WORD not in service.log


@pytest.mark.parametrize(
    ("setting", "text", "digest"),
    [
        ("none", None, None),
        ("hash", None, digest_text),
        ("redacted", "Mail [email] or [handle]", None),
    ],
    ids=["none", "hash", "redacted"],
)
def test_of_a_text_there_is_what_the_settings_keep(store, tmp_path, setting, text, digest):
    """With `none`, `hash` and `redacted` the text itself is in no row and in no file of the service."""
    with run_service(store, tmp_path, SENTIMENT_LOG_TEXT=setting) as service:
        wanted = service.predict("Mail me@example.org or @me")
        service.terminate()

    row = service.read_rows()[wanted]
    wanted_digest = digest and digest("mail me@example.org or @me", read_key(tmp_path / "state" / "hash.key"))
    assert (row["text"], row["text_digest"], row["characters"]) == (text, wanted_digest, 26)
    files = [path for path in (tmp_path / "state").rglob("*") if path.is_file()]
    assert not [path for path in [*files, tmp_path / "serve.log"] if b"me@example.org" in path.read_bytes()]


@pytest.fixture(scope="module")
def outage_service(store, postgres, tmp_path_factory) -> Iterator[LoggingService]:
    """A service whose database the tests take away and give back."""
    with run_service(store, tmp_path_factory.mktemp("outage"), DATABASE_URL=postgres.create_database()) as service:
        service.wait_for_row(service.predict("good"))
        yield service


@contextmanager
def take_away(postgres: Postgres, how: str) -> Iterator[None]:
    """Stop or pause the server for as long as the block lasts."""
    if how == "stopped":
        postgres.stop()
    else:
        postgres.pause()
    try:
        yield
    finally:
        if how == "stopped":
            postgres.start()
        else:
            postgres.resume()


@pytest.mark.postgres
@pytest.mark.parametrize("how", ["stopped", "paused"])
def test_an_outage_of_the_database_costs_no_request(outage_service, postgres, how, record_property):
    """While the database is away each request is answered, as fast as before, and its rows come afterwards."""
    with Load(outage_service) as load:
        before = time.monotonic()
        load.wait_for_more(200)
        with take_away(postgres, how):
            during = time.monotonic()
            wait_until(lambda: time.monotonic() > during + 2)
            after = time.monotonic()

    ratio = load.find_median(during, after) / load.find_median(before, during)
    record_property("median latency during over before", round(ratio, 2))
    assert load.failures == []
    outage_service.check_log_of(load)
    assert ratio < 3


@pytest.mark.postgres
@pytest.mark.parametrize("how", ["stopped", "paused"])
def test_health_says_that_the_database_is_away(outage_service, postgres, how):
    """`GET /health` says `degraded` while rows wait for a database that is stopped or hangs, then `ok` again."""
    outage_service.wait_for_health("ok")
    with take_away(postgres, how):
        wanted = outage_service.predict("good")
        outage_service.wait_for_health("degraded")
    outage_service.wait_for_row(wanted)
    outage_service.wait_for_health("ok")


@pytest.mark.postgres
def test_a_database_that_comes_later_gets_the_rows(store, database, postgres, tmp_path):
    """A service whose database is not there starts and answers, says so without the password, and ships later."""
    postgres.stop()
    with run_service(store, tmp_path, DATABASE_URL=database) as service:
        wanted = service.predict(WORD)
        service.wait_for_health("degraded")
        postgres.start()

        assert service.wait_for_row(wanted)["text"] == WORD
        service.wait_for_health("ok")
        assert re.findall(r"shipping the prediction log .*", service.log) == [
            "shipping the prediction log failed (OperationalError); tried again",
            "shipping the prediction log goes on",
        ]
        assert_quiet(service)


@pytest.mark.postgres
@pytest.mark.parametrize("wrong", ["password", "port"])
def test_a_password_is_never_said(store, postgres, tmp_path, wrong):
    """A `DATABASE_URL` that cannot work makes the service degraded, and its password is in no log."""
    url = postgres.create_database()
    url = url.replace(quote(PASSWORD, safe=""), f"{quote(PASSWORD, safe='')}x")
    if wrong == "port":
        url = url.replace(f":{postgres.port}/", ":http/")
    with run_service(store, tmp_path, DATABASE_URL=url) as service:
        service.predict(WORD)
        wait_until(lambda: "shipping the prediction log failed" in service.log)
        assert_quiet(service)
        service.wait_for_health("degraded")


def assert_quiet(service: LoggingService) -> None:
    """See that the service's log holds no password, no text and no traceback."""
    said = service.log
    assert [one for one in (PASSWORD, quote(PASSWORD), quote(PASSWORD, safe=""), "tangerine") if one in said] == []
    assert WORD not in said
    assert "Traceback" not in said


def test_a_full_disk_refuses_what_cannot_be_logged(store, small_disk, tmp_path):
    """With no room in the spool answers and feedback are refused with 507 and `/health` says so, till there is room."""
    with run_service(store, tmp_path, SENTIMENT_SPOOL_FOLDER=str(small_disk), SENTIMENT_LOG_TEXT="full") as service:
        before = service.predict(WORD)
        feedback = ("/feedback", {"prediction_id": before, "label": "positive"})
        bodies = [feedback, ("/predict", {"text": WORD}), ("/batch_predict", {"texts": [WORD] * 20})]
        fill_until(service, lambda: service.post(*feedback).status_code == 507)
        refused: list[httpx.Response] = []

        def refuse_all() -> bool:
            refused[:] = [service.post(*body) for body in bodies]
            return [one.status_code for one in refused] == [507] * 3

        filler = fill_until(service, refuse_all)
        service.wait_for_health("degraded")
        filler.unlink()
        after = wait_until(lambda: service.post("/predict", {"text": WORD}).json().get("prediction_id"))
        service.wait_for_health("ok")

        assert [one.json() for one in refused] == [UNLOGGED] * 3
        assert service.wait_for_row(after)["text"] == service.wait_for_row(before)["text"] == WORD
        logged = {row["request_id"] for row in service.read_rows().values()}
        assert logged.isdisjoint(one.headers["x-request-id"] for one in refused)
        warnings = re.findall(r"the spool in .* so far", service.log)
        assert warnings == [
            f"the spool in {small_disk} cannot be written (No space left on device); 1 entries were refused so far"
        ]
        assert_quiet(service)


def test_a_full_disk_keeps_no_answer_back_where_the_log_is_not_required(store, small_disk, tmp_path):
    """With `SENTIMENT_LOG_REQUIRED=false` a full disk costs rows, not answers, and the service's log says so."""
    variables = {"SENTIMENT_SPOOL_FOLDER": str(small_disk), "SENTIMENT_LOG_REQUIRED": "false"}
    with run_service(store, tmp_path, **variables) as service:
        warning = f"the spool in {small_disk} cannot be written (No space left on device); "
        warning += "1 entries are not in the log so far"
        statuses: set[int] = set()

        def ask() -> bool:
            statuses.add(service.post("/predict", {"text": WORD}).status_code)
            return warning in service.log

        filler = fill_until(service, ask)
        filler.unlink()

        assert statuses == {200}
        assert service.wait_for_row(service.predict("good"))
        assert_quiet(service)


def test_what_is_refused_is_not_counted_as_an_answer(store, tmp_path):
    """The metrics count the answers that went out, and none that the log did not take."""
    with run_service(store, tmp_path, SENTIMENT_SPOOL_MAX_BYTES="1") as service:
        statuses = [service.post("/predict", {"text": "good"}).status_code for _ in range(400)]
        counted = re.findall(r"^sentigate_predictions_total\{.*\} (\S+)$", service.get("/metrics").text, re.MULTILINE)

    assert set(statuses) == {200, 507}
    assert sum(map(float, counted)) == statuses.count(200)


def test_one_of_several_workers_ships(store, tmp_path, record_property):
    """Of two workers that write to one spool one ships; when it is killed another does, and no row is lost."""
    with run_service(store, tmp_path, SENTIMENT_WORKERS="2") as service:
        service.wait_for_workers(2)
        with Load(service, keep_alive=False) as load:
            writers: set[str] = set()
            wait_until(lambda: len(writers.update(list_writers(service.spool)) or writers) == 2)
            first = wait_until(service.find_shipper)
            psutil.Process(first).kill()
            killed = time.monotonic()
            second = wait_until(lambda: (found := service.find_shipper()) != first and found)
            record_property("seconds until another ships", round(time.monotonic() - killed, 2))
            load.wait_for_more()

        workers = {one.pid for one in service.find_workers()}
        assert (second in workers, first in workers) == (True, False)
        assert all(isinstance(failure, str) for failure in load.failures)
        service.check_log_of(load)


def list_writers(spool: Path) -> set[str]:
    """Return the process ids in the names of the segments."""
    return {path.name.split("-")[1] for path in spool.glob("*-*-*")}


@pytest.mark.postgres
def test_the_migrations_make_the_tables_in_postgresql(database):
    """After the migrations the schema is the one in the code, types and all."""
    with open_database(database) as engine, engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []


@pytest.mark.postgres
def test_two_processes_migrate_one_after_the_other(database):
    """Two processes that find an empty PostgreSQL database at once both end well."""
    with psycopg.connect(database, autocommit=True) as gate:
        gate.execute("SELECT pg_advisory_lock(%s)", [MIGRATION_LOCK])
        command = [sys.executable, "-c", MIGRATE, database]
        processes = [subprocess.Popen(command, cwd=CHECKOUT, stderr=subprocess.PIPE) for _ in range(2)]
        try:
            waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            wait_until(lambda: gate.execute(waiting).fetchone() == (2,))
            gate.execute("SELECT pg_advisory_unlock(%s)", [MIGRATION_LOCK])
            ended = [process.communicate(timeout=30)[1] for process in processes]
        finally:
            for process in processes:
                process.kill()
                process.wait()

    assert [process.returncode for process in processes] == [0, 0], ended
    assert read_rows(database) == {}


@pytest.mark.postgres
def test_old_rows_leave_postgresql(database, tmp_path):
    """Rows older than the retention go, however many; younger ones stay."""
    now = datetime.now(UTC)
    old = [make_row(now - timedelta(days=31)) for _ in range(ROWS_PER_DELETION + 1)]
    young = make_row(now - timedelta(days=29))
    with open_database(database) as engine, engine.begin() as connection:
        connection.execute(sa.insert(PREDICTIONS), [*old, young])
    spool = Spool(tmp_path, max_bytes=1_000_000)

    shipper = Shipper(tmp_path, spool, database, retention_days=30)
    shipper.start()
    try:
        wait_until(lambda: list(read_rows(database)) == [young["id"]])
    finally:
        shipper.close()


@pytest.mark.postgres
@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_one_text_does_not_hold_up_the_others(postgres, tmp_path, encoding):
    """In a PostgreSQL database that is not in UTF-8 a text is stored or set aside; the entries around it arrive."""
    spool = Spool(tmp_path, max_bytes=1_000_000)
    spool.append([write_line(make_entry(text)) for text in ("plain", "caf\xe9 \N{GRINNING FACE}", "plain")])
    shipper = Shipper(tmp_path, spool, postgres.create_database(encoding), retention_days=0)
    shipper.start()
    try:
        wait_until(lambda: count_done(tmp_path) == 3, lambda: f"{count_done(tmp_path)} are done", seconds=10)
        assert read_status(tmp_path, time.time()).shipped >= 2
    finally:
        shipper.close()


@pytest.mark.postgres
def test_a_hung_database_does_not_overfill_the_spool(postgres, database, tmp_path):
    """While the database hangs the spool takes what it may hold and a little more, then refuses."""
    spool, line = Spool(tmp_path, max_bytes=20_000), write_line(make_entry("good"))
    shipper = Shipper(tmp_path, spool, database, retention_days=0)
    spool.append([line])
    shipper.start()
    try:
        wait_until(lambda: read_status(tmp_path, time.time()).shipped == 1)
        postgres.pause()
        spool.append([line])
        wait_until(lambda: any(tmp_path.glob("*.sealed")))  # and now the shipper waits for an answer

        def is_full() -> bool:
            with suppress(SpoolError):
                spool.append([line] * 10)
                return False
            return True

        wait_until(is_full, lambda: f"the spool holds {measure_bytes(tmp_path):,} bytes", seconds=20)
    finally:
        postgres.resume()
        shipper.close()


def count_done(folder: Path) -> int:
    """Return how many entries are in the database or set aside."""
    status = read_status(folder, time.time())
    return status.shipped + status.rejected


def make_entry(text: str) -> PredictionEntry:
    """Return what the log keeps of an answer to a text, in full."""
    row = make_row(datetime.now(UTC))
    return PredictionEntry(**{**row, "at": row["at"].timestamp(), "text": text, "text_digest": None})


def make_row(at: datetime) -> dict[str, Any]:
    """Return a row of a prediction from some time."""
    words = {"label": "positive", "model_version": "tiny", "model_digest": "d" * 64, "request_id": "r"}
    numbers = {"characters": 4, "tokens": 3, "confidence": 0.5, "latency_ms": 1.0}
    return {**words, **numbers, "id": make_id(), "at": at, "scores": {}, "uncertain": False, "truncated": False}
