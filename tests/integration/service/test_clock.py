"""The wall clock jumps under a service that runs."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from service.api.ids import make_id
from tests.integration.prediction_log.test_prediction_log import Load, LoggingService
from tests.support.postgres import run_postgres
from tests.support.serving import Service, make_store, run_service

pytestmark = [pytest.mark.slow, pytest.mark.alone]

HOUR = 3600
RATE_SECONDS = 5  # in which a busy machine answers eleven requests


@dataclass
class Clock:
    """The wall clock of a service, as far from the real one as was set."""

    file: Path
    library: Path

    def set(self, seconds: int) -> None:
        scratch = self.file.with_suffix(".part")
        scratch.write_text(f"{seconds:+d}\n", encoding="utf-8")
        scratch.replace(self.file)

    @property
    def variables(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(self.library),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }


def find_library() -> Path:
    """Return the library that sets the clock of a process, or skip."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        pytest.skip("libfaketime is not there, which sets the clock of a process; Debian has it as `faketime`")
    return found[0]


@pytest.fixture
def clock(tmp_path) -> Clock:
    made = Clock(tmp_path / "clock", find_library())
    made.set(0)
    return made


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return make_store(tmp_path_factory.mktemp("store"))


@pytest.fixture
def service(store, clock, tmp_path) -> Iterator[LoggingService]:
    """Two workers under the clock."""
    variables = {**clock.variables, "BENTOML_CONFIG_OPTIONS": "services.sentigate.workers=2"}
    with run_service(store, tmp_path, kind=LoggingService, **variables) as service:
        service.wait_for_workers(2)
        yield service


@pytest.mark.parametrize("jumps", [(HOUR, 0), (-HOUR, 0), (HOUR, -HOUR, 0)], ids=str)
def test_a_jump_of_the_clock_costs_nothing(service, clock, jumps):
    """No request fails, nothing is lost or logged twice, no time is negative, and the health recovers."""
    with Load(service) as load:
        for seconds in jumps:
            clock.set(seconds)
            load.wait_for_more(200)
            service.wait_for_health("ok")

    assert load.failures == []
    service.check_log_of(load)
    assert all(0 <= row["latency_ms"] < 10_000 for row in service.read_rows().values())
    assert max(took for _, took in load.times) < 5
    assert read_lag(service) < 10
    assert "Traceback" not in service.log


def test_the_clock_of_the_service_is_set(service, clock):
    """What these tests rely on: an answer under another clock is dated by it."""
    clock.set(HOUR)
    made = service.predict("good")

    ahead = (int(made.replace("-", "")[:12], 16) - int(make_id().replace("-", "")[:12], 16)) / 1000
    assert HOUR - 60 < ahead < HOUR + 60


@pytest.mark.parametrize("seconds", [HOUR, -HOUR])
def test_a_jump_of_the_clock_locks_nobody_out(store, clock, tmp_path, seconds):
    """A rate that was used up is there again after its time, whatever the clock says by then."""
    variables = {**clock.variables, "SENTIMENT_RATE_LIMIT": f"5/{RATE_SECONDS} second"}
    with run_service(store, tmp_path, kind=Service, **variables) as service:
        statuses = [service.post("/predict", {"text": "good"}).status_code for _ in range(10)]
        clock.set(seconds)
        refused = service.post("/predict", {"text": "good"})
        time.sleep(RATE_SECONDS + 1)
        after = service.post("/predict", {"text": "good"})

    assert httpx.codes.TOO_MANY_REQUESTS in statuses
    assert (refused.status_code, int(refused.headers["retry-after"]) <= RATE_SECONDS + 1) == (429, True)
    assert after.status_code == 200


@pytest.mark.postgres
def test_an_outage_is_noticed_after_a_jump_back(store, clock, tmp_path):
    """A database that goes away while nobody asks is noticed as soon under a clock that was set back."""
    with run_postgres() as postgres:
        variables = {**clock.variables, "DATABASE_URL": postgres.create_database()}
        with run_service(store, tmp_path, kind=LoggingService, **variables) as service:
            service.wait_for_row(service.predict("good"))
            clock.set(-HOUR)
            postgres.stop()
            service.wait_for_health("degraded")


def read_lag(service: Service) -> float:
    (line,) = [line for line in service.get("/metrics").text.splitlines() if line.startswith("sentigate_log_lag")]
    return float(line.split()[-1])
