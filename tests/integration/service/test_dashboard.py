"""What the dashboard reads, from a database that comes and goes."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.postgres import Postgres, run_postgres
from tests.support.serving import Service, make_store, run_service, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.postgres]

PATHS = ("activity", "latencies", "feedback", "agreement", "predictions", "evaluations")
SECONDS_AT_MOST = 10


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with run_postgres() as server:
        yield server


@pytest.fixture(scope="module")
def service(postgres, tmp_path_factory) -> Iterator[Service]:
    store = make_store(tmp_path_factory.mktemp("store"))
    with run_service(store, tmp_path_factory.mktemp("dashboard"), DATABASE_URL=postgres.create_database()) as service:
        yield service


def ask_all(service: Service) -> list[int]:
    with ThreadPoolExecutor(len(PATHS)) as callers:
        return list(callers.map(lambda path: service.get(f"/dashboard/{path}").status_code, PATHS))


def test_everything_is_read_from_postgresql(service):
    """What was predicted and said of it is on the dashboard a moment later."""
    prediction = service.predict("quite good")
    service.post("/feedback", {"prediction_id": prediction, "label": "neutral"}).raise_for_status()

    (row,) = wait_until(lambda: service.get("/dashboard/predictions", params={"id": prediction}).json()["rows"])
    assert (row["text"], row["id"]) == ("quite good", prediction)
    (counted,) = wait_until(lambda: service.get("/dashboard/feedback").json()["rows"])
    assert (counted["should_be"], counted["count"]) == ("neutral", 1)
    assert sum(row["predictions"] for row in service.get("/dashboard/activity").json()["rows"]) == 1
    assert ask_all(service) == [200] * len(PATHS)


def test_a_database_that_hangs_costs_no_prediction(service, postgres):
    """The dashboard is told in seconds that the database does not answer, and predictions never wait for it."""
    postgres.pause()
    try:
        with ThreadPoolExecutor(1) as dashboard:
            started = time.monotonic()
            asked = dashboard.submit(ask_all, service)
            waits = []
            while not asked.done():
                before = time.monotonic()
                service.predict("good")
                waits.append(time.monotonic() - before)
            assert asked.result() == [503] * len(PATHS)
            assert time.monotonic() - started < SECONDS_AT_MOST
            assert max(waits) < 1
    finally:
        postgres.resume()
    wait_until(lambda: ask_all(service) == [200] * len(PATHS))
