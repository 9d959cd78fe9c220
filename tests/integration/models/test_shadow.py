"""The real service with a challenger in its shadow, which its callers never notice."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from sentiment.database.evaluations import append_evaluations
from sentiment.database.schema import SHADOW_PREDICTIONS
from service.models.shadow import is_sampled
from tests.conftest import make_tiny_bundle
from tests.integration.prediction_log.test_prediction_log import Load, LoggingService, run_service
from tests.support.serving import WORD, make_store, wait_until
from tests.unit.sentiment.database.test_evaluations import RECORD

pytestmark = pytest.mark.slow

SHARE = 0.5
TWO_WORKERS = "services.sentigate.workers=2"


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return make_store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def contrary(tmp_path_factory) -> Path:
    """A bundle that always says the opposite of the champion."""
    return make_tiny_bundle(tmp_path_factory.mktemp("bundles") / "contrary", slope=-0.1).folder


@pytest.fixture(scope="module")
def service(store, contrary, tmp_path_factory) -> Iterator[LoggingService]:
    """Two workers with a challenger that answers half of the texts."""
    variables = {"SENTIMENT_SHADOW_MODEL": str(contrary), "SENTIMENT_SHADOW_SHARE": str(SHARE)}
    folder = tmp_path_factory.mktemp("service")
    with run_service(store, folder, BENTOML_CONFIG_OPTIONS=TWO_WORKERS, **variables) as service:
        service.wait_for_workers(2)
        wait_until(lambda: {read_shadow(service)["status"] for _ in range(20)} == {"ok"})
        yield service


def read_shadow(service: LoggingService) -> dict:
    return service.get("/health").json()["shadow"]


def read_counter(service: LoggingService, name: str) -> float:
    lines = service.get("/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def test_every_sampled_answer_is_compared_once(service):
    """Under load each acknowledged, sampled answer has one of the challenger beside it, and no other has."""
    with Load(service, keep_alive=False) as load:
        load.wait_for_more(300)
    service.check_log_of(load)

    predictions = service.read_rows()
    wanted = {one for one in predictions if is_sampled(one, SHARE)}
    assert 0.3 < len(wanted) / len(predictions) < 0.7
    wait_until(lambda: len(service.read_rows(SHADOW_PREDICTIONS)) >= len(wanted))
    rows = service.read_rows(SHADOW_PREDICTIONS).values()
    assert Counter(row["prediction_id"] for row in rows) == Counter(wanted)
    assert {(row["champion_label"], row["label"]) for row in rows} == {("positive", "negative")}
    assert all(predictions[row["prediction_id"]]["label"] == row["champion_label"] for row in rows)


def test_a_caller_sees_the_champion_alone(service):
    """Every answer is the champion's, sampled or not; health and counters tell of the challenger."""
    answers = [service.post("/predict", {"text": f"{WORD} {number}"}).json() for number in range(20)]

    assert {(one["label"], one["model_version"]) for one in answers} == {("positive", "tiny")}
    assert service.read_health() == "ok"
    shadow = read_shadow(service)
    assert (shadow["share"], shadow["status"], shadow["reason"]) == (SHARE, "ok", "")
    shadows = len(service.read_rows(SHADOW_PREDICTIONS))
    assert read_counter(service, 'sentigate_shadow_answers_total{agrees="false"}') >= shadows > 0
    assert read_counter(service, "sentigate_shadow_dropped_total") == 0
    roles = [line for line in service.get("/metrics").text.splitlines() if line.startswith("sentigate_model_info{")]
    assert [f'role="{role}"' in line for role, line in zip(("champion", "challenger"), roles, strict=True)] == [
        True
    ] * 2


def test_after_a_reload_the_comparison_goes_on(service, contrary):
    """The challenger is compared with the new champion, which it agrees with."""
    before = set(service.read_rows(SHADOW_PREDICTIONS))
    service.post("/reload", {"folder": str(contrary)}).raise_for_status()
    service.post("/batch_predict", {"texts": [WORD] * 40}).raise_for_status()

    def read_new() -> list[tuple[str, str]]:
        rows = service.read_rows(SHADOW_PREDICTIONS)
        found = [rows[one] for one in rows.keys() - before]
        return [(row["champion_label"], row["label"]) for row in found if row["champion_label"] == "negative"]

    assert set(wait_until(read_new)) == {("negative", "negative")}
    assert WORD not in service.log


def test_a_challenger_that_is_broken_changes_nothing_but_the_health(store, contrary, tmp_path):
    """A damaged bundle is said once, in one sentence; the champion answers as if there were none."""
    damaged = make_tiny_bundle(tmp_path / "damaged")
    damaged.model.write_bytes(damaged.model.read_bytes()[:-1] + b"?")
    with run_service(store, tmp_path, SENTIMENT_SHADOW_MODEL=str(damaged.folder)) as service:
        wait_until(lambda: read_shadow(service)["status"] == "unavailable")
        assert service.wait_for_row(service.predict("good"))["label"] == "positive"
        assert service.read_health() == "ok"
        assert service.log.count("the champion answers on") == 1
        assert "Traceback" not in service.log
        assert read_counter(service, "sentigate_model_info") == 1


def test_the_newest_evaluation_of_the_model_is_shown_to_prometheus(store, tmp_path):
    """Scores of the served bundle stand in the counters, as long as the database answers."""
    with run_service(store, tmp_path) as service:
        assert service.get("/health").json()["shadow"] == "off"
        digest = service.post("/predict", {"text": "good"}).json()["model_digest"]
        service.wait_for_row(service.predict("good"))
        append_evaluations(service.database, [type(RECORD)(**{**vars(RECORD), "bundle_digest": digest})])

        lines = service.get("/metrics").text.splitlines()
        assert 'sentigate_evaluation_score{dataset="bundled",score="macro_f1"} 0.75' in lines
