"""The service that a canary is tried on: what it says of it, and what it is asked to do."""

from typing import Any

import pytest

from release.running_services import FAILURES, CanaryService
from sentiment.errors import ServiceError
from tests.unit.client.server import problem, serve

ON = {"model_version": "7-new", "share": 0.1, "status": "on", "reason": "", "seconds_left": 60}
LOG = {"database": "ok", "lag_seconds": 0, "shipped": 1, "rejected": 0, "takes_entries": True}
METRICS = f"""# TYPE {FAILURES.removesuffix("_total")} counter
{FAILURES}{{worker="1",role="canary"}} 2
{FAILURES}{{worker="2",role="canary"}} 3
{FAILURES}{{worker="2",role="champion"}} 4
""".encode()


def say(canary: Any, log: Any = LOG) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Return a health with this canary."""
    workers = {"living": 1, "current": 1}
    known = {"status": "ok", "model_version": "5-old", "workers": workers, "shadow": "off"}
    return 200, {}, {**known, "prediction_log": log, "canary": canary}


def test_the_champion_is_named_where_nothing_is_in_the_way():
    """A canary that has ended is none."""
    with serve([say({**ON, "status": "ended"})]) as server:
        assert CanaryService(server.url, "").require_ready() == "5-old"


@pytest.mark.parametrize(
    ("health", "said"),
    [(say("off", log="off"), "keeps no prediction log"), (say(ON), "tries 7-new already")],
)
def test_what_is_in_the_way_of_a_canary_is_told(health, said):
    """Without a log there are no figures, and two canaries share no service."""
    with serve([health]) as server, pytest.raises(ServiceError, match=said):
        CanaryService(server.url, "").require_ready()


@pytest.mark.parametrize(
    ("canary", "end"),
    [
        (ON, ""),
        ("off", "the service was started again"),
        ({**ON, "status": "ended", "reason": "it failed"}, "it failed"),
        ({**ON, "model_version": "8"}, "8 is tried instead of it"),
    ],
)
def test_the_end_of_a_canary_has_its_reason(canary, end):
    """Whoever watches learns why there is nothing to watch any more."""
    with serve([say(canary)]) as server:
        assert CanaryService(server.url, "").find_end("7-new") == end


@pytest.mark.parametrize(("version", "stops"), [("7-new", True), (None, True), ("8", False)])
def test_the_canary_of_another_is_left_alone(version, stops):
    """A watch that ends late ends no other's canary."""
    ended = (200, {}, {"model_version": "5-old", "workers": 1, "request_id": "r"})
    with serve([say({**ON, "model_version": version}), ended]) as server:
        CanaryService(server.url, "").stop("7-new")
    assert ([asked.method for asked in server.seen] == ["GET", "DELETE"]) is stops


def test_counters_are_summed_over_workers():
    """Labels choose what is counted."""
    with serve([(200, {}, METRICS)]) as server:
        service = CanaryService(server.url, "")
        assert (service.count(FAILURES), service.count(FAILURES, role="canary"), service.count("other")) == (9, 5, 0)


def test_a_refusal_names_what_was_asked_and_the_way_out():
    """The sentence of the service, and what the operator can do."""
    answer = problem(401, "token_wanted", "this wants the token.")
    with serve([answer]) as server, pytest.raises(ServiceError) as raised:
        CanaryService(server.url, "").start("7-new", 0.1, 30)
    assert str(raised.value) == (
        f"POST {server.url}/canary was refused: this wants the token; name the file of a key with the scope admin:"
        " KEY_FILE=...."
    )


def test_a_page_in_place_of_an_answer_is_told():
    """Another program at the address is not taken for a service."""
    with serve([(200, {}, b"<html>")]) as server, pytest.raises(ServiceError, match="it is no answer of the service"):
        CanaryService(server.url, "").find_end("7-new")


def test_a_service_that_is_not_there_is_told():
    """The way out is to start one, or to name another."""
    with pytest.raises(ServiceError, match=r"^http://127\.0\.0\.1:9 cannot be reached \(\[Errno 111\].*`make serve`"):
        CanaryService("http://127.0.0.1:9", "").require_ready()
