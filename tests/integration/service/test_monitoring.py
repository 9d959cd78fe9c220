"""The alerts and the dashboards against Prometheus itself, which scrapes the real service."""

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import yaml

from deploy.compose.project import FILE
from release.smoke_test import find_free_port
from sentiment.bundle.bundle import seal_bundle
from sentiment.database.evaluations import append_evaluations
from sentiment.paths import CHECKOUT
from tests.conftest import make_tiny_bundle
from tests.support.serving import WORD, make_store, run_service, wait_until
from tests.unit.sentiment.database.test_evaluations import RECORD

pytestmark = pytest.mark.slow

PROMETHEUS = FILE.with_name("prometheus")
DASHBOARDS = sorted(FILE.parent.glob("grafana/dashboards/*.json"))
SCRAPE_SECONDS = 1
RANGES = {"$__rate_interval": "10s"}


def need(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not on PATH; Debian's package prometheus has it")
    return found


def list_queries(dashboard: Path) -> list[str]:
    """Return the queries of a dashboard, its annotations too."""
    described = json.loads(dashboard.read_text(encoding="utf-8"))
    panels = [target["expr"] for panel in described["panels"] for target in panel.get("targets", [])]
    return [*panels, *(one["target"]["expr"] for one in described["annotations"]["list"])]


def make_keys(folder: Path) -> tuple[Path, Path]:
    """Return a key file and a file with its key, as Prometheus reads it."""
    keys, key = folder / "keys.txt", folder / "metrics_key"
    command = [sys.executable, "-m", "sentigate", "keys", "add", "prometheus", "--file", str(keys)]
    command += ["--scope", "predict", "--scope", "admin"]
    key.write_text(subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout.strip())
    return keys, key


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory) -> Iterator[httpx.Client]:
    """Prometheus with our configuration, at a service that was asked, failed, and has a canary and a challenger."""
    program, folder = need("prometheus"), tmp_path_factory.mktemp("monitoring")
    (folder / "service").mkdir()
    keys, key = make_keys(folder)
    store = make_store(folder / "store")
    database = f"sqlite:///{folder}/sentigate.db"
    bundle = make_tiny_bundle(folder / "measured")
    canary = make_tiny_bundle(folder / "canary")
    seal_bundle(canary.folder, replace(canary.card, max_tokens=8))
    measured = seal_bundle(bundle.folder, replace(bundle.card, metrics={"macro_f1": 0.75}))
    append_evaluations(database, [replace(RECORD, bundle_digest=measured.card.digest)])
    variables = {
        "SENTIMENT_API_KEY_FILE": str(keys),
        "SENTIMENT_SHADOW_MODEL": str(make_tiny_bundle(folder / "shadow").folder),
        "SENTIMENT_SHADOW_SHARE": "1",
        "DATABASE_URL": database,
    }
    with run_service(store, folder / "service", **variables) as service:
        port, ask = find_free_port(), {"authorization": f"Bearer {key.read_text()}"}
        configuration = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8"))
        configuration["global"] = {"scrape_interval": f"{SCRAPE_SECONDS}s", "evaluation_interval": "1s"}
        configuration["rule_files"] = [str(PROMETHEUS / "alerts.yml")]
        ours, itself = configuration["scrape_configs"]
        ours["authorization"]["credentials_file"] = str(key)
        ours["static_configs"] = [{"targets": [f"127.0.0.1:{service.port}"]}]
        itself["static_configs"] = [{"targets": [f"127.0.0.1:{port}"]}]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration), encoding="utf-8")
        command = [program, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb"]
        with (folder / "prometheus.log").open("w") as said:
            process = subprocess.Popen(
                [*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=said, stderr=said, cwd=folder
            )
        try:
            service.post("/reload", {"folder": str(measured.folder)}, headers=ask).raise_for_status()
            tried = {"folder": str(canary.folder), "share": 0.5, "minutes": 30}
            service.post("/canary", tried, headers=ask).raise_for_status()
            for _ in range(8 * SCRAPE_SECONDS):
                service.post("/predict", {"text": WORD}, headers=ask).raise_for_status()
                service.post("/batch_predict", {"texts": [WORD, ""]}, headers=ask).raise_for_status()
                time.sleep(1)
            with httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=30, trust_env=False) as client:
                yield client
        finally:
            process.terminate()
            process.wait(timeout=30)


def ask_for(prometheus: httpx.Client, query: str) -> list[dict]:
    for name, value in RANGES.items():
        query = query.replace(name, value)
    answer = prometheus.get("/query", params={"query": query}).json()
    assert answer["status"] == "success", f"{query}: {answer.get('error')}"
    return answer["data"]["result"]


def test_prometheus_is_let_in_by_its_key(prometheus):
    """With keys set the service is scraped, and is up."""
    up = wait_until(lambda: ask_for(prometheus, 'up{job="sentigate"}'))
    assert [one["value"][1] for one in up] == ["1"]


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda path: path.stem)
def test_every_panel_of_a_dashboard_finds_what_it_asks_for(prometheus, dashboard):
    """No query names a metric or a label that the service does not have: each has an answer."""
    queries = list_queries(dashboard)
    assert len(queries) > 10

    def find_empty() -> list[str]:
        return [query for query in queries if not ask_for(prometheus, query) and " unless " not in query]

    wait_until(lambda: not find_empty(), lambda: f"no answer to {find_empty()}")


def test_without_a_canary_its_panels_show_nothing_wrong(tmp_path):
    """One that was there before left counters that stand still."""
    queries = {
        panel["title"]: panel["targets"][0]["expr"].replace("$__rate_interval", "1m")
        for dashboard in DASHBOARDS
        for panel in json.loads(dashboard.read_text(encoding="utf-8"))["panels"]
        if "canary" in json.dumps(panel.get("targets", []))
    }
    stands = [{"labels": f'{{role="{role}"}}', "value": 0} for role in ("canary", "champion")]
    shown = {
        "Version": [],
        "Texts it failed": [{"labels": "{}", "value": 0}],
        "Share of the answers": [],
        "Answers a second": stands,
        "95th percentile of each": [],
    }
    series = ['sentigate_model_info{role="champion",version="5"}', "sentigate_canary_failures_total"]
    series += [f'sentigate_canary_answers_total{{role="{role}"}}' for role in ("canary", "champion")]
    assert set(queries) == set(shown)
    case = {
        "interval": "15s",
        "input_series": [{"series": one, "values": "1x200"} for one in series],
        "promql_expr_test": [
            {"expr": query, "eval_time": "30m", "exp_samples": shown[title]} for title, query in queries.items()
        ],
    }
    (tmp_path / "case.yml").write_text(yaml.safe_dump({"tests": [case]}), encoding="utf-8")
    done = subprocess.run(
        [need("promtool"), "test", "rules", "case.yml"], check=False, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_alert_names_a_metric_that_is_not_there(prometheus):
    """Each metric of the rules is one that the service has, or one that the rules record."""
    rules = (PROMETHEUS / "alerts.yml").read_text(encoding="utf-8")
    known = set(prometheus.get("/label/__name__/values").json()["data"])
    assert set(re.findall(r"\bsentigate[_:][a-z_:0-9]+", rules)) - {"sentigate:uncertain_share:1h"} <= known


def test_what_is_well_alarms_nobody(prometheus):
    assert [alert["labels"] for alert in prometheus.get("/alerts").json()["data"]["alerts"]] == []


def test_each_alert_fires_when_it_should_and_not_before():
    """As the cases beside the rules say."""
    done = subprocess.run(
        [need("promtool"), "test", "rules", "alerts_test.yml"],
        check=False,
        cwd=PROMETHEUS,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_has_a_case_in_which_it_fires():
    rules = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text(encoding="utf-8"))["groups"][0]["rules"]
    cases = yaml.safe_load((PROMETHEUS / "alerts_test.yml").read_text(encoding="utf-8"))["tests"]
    fired = {one["alertname"] for case in cases for one in case["alert_rule_test"] if one.get("exp_alerts")}
    assert fired == {rule["alert"] for rule in rules if "alert" in rule}
