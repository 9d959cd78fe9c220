"""The alerts of a cluster: those of one machine, right for pods and namespaces."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.compose.project import FILE
from deploy.kubernetes.cli import MANIFESTS

RULES = MANIFESTS / "components" / "monitoring" / "rules.yaml"
ALERTS = FILE.with_name("prometheus") / "alerts.yml"
CASES = Path(__file__).with_name("alerts_of_a_cluster.yml")
OWN = {
    "SentigateDown": {"expr", "action"},  # pods come and go; one that does not answer is Kubernetes' to see
    "SentigateFails": {"action"},
    "SentigateRejected": {"action"},
    "SentigateCanaryFails": {"expr", "summary", "action"},  # no champion answers for a canary of pods of its own
}
DURATION = re.compile(r"[1-9]\d*(ms|s|m|h|d|w|y)")

needs_promtool = pytest.mark.skipif(not shutil.which("promtool"), reason="no promtool; Debian's prometheus has it")


@pytest.fixture
def described() -> dict[str, Any]:
    return yaml.safe_load(RULES.read_text(encoding="utf-8"))


@pytest.fixture
def folder(described, tmp_path) -> Path:
    """A folder with the rules as Prometheus gets them from the operator, and their cases."""
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(described["spec"]), encoding="utf-8")
    shutil.copy(CASES, tmp_path)
    return tmp_path


def list_rules(content: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the rules by name, what they say beside what they do."""
    (group,) = content["groups"]
    assert group["name"] == "sentigate"
    return {
        rule.get("alert") or rule["record"]: {**rule, **rule.get("annotations", {}), "annotations": None}
        for rule in group["rules"]
    }


def promtool(*arguments: str, folder: Path) -> None:
    done = subprocess.run(["promtool", *arguments], check=False, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_cluster_has_the_rules_of_one_machine(described):
    """In their order, and but for what is named here they are the same to the letter."""
    here, there = list_rules(yaml.safe_load(ALERTS.read_text(encoding="utf-8"))), list_rules(described["spec"])
    assert list(there) == list(here)
    differ = {
        name: {key for key in rule.keys() | there[name].keys() if rule.get(key) != there[name].get(key)}
        for name, rule in here.items()
    }
    assert {name: keys for name, keys in differ.items() if keys} == OWN


def test_no_rule_of_a_cluster_speaks_of_one_machine():
    assert not re.search("docker|podman|compose|/health|DELETE", RULES.read_text(encoding="utf-8"))


def test_the_operator_knows_every_field(described):
    """What its schema has of a PrometheusRule, as far as it is used; promtool refuses other fields of a rule."""
    assert (described["apiVersion"], described["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
    assert set(described) == {"apiVersion", "kind", "metadata", "spec"}
    assert set(described["spec"]) == {"groups"}
    for group in described["spec"]["groups"]:
        assert set(group) == {"name", "rules"}
        for rule in group["rules"]:
            assert set(rule) in ({"record", "expr"}, {"alert", "expr", "for", "labels", "annotations"})
            assert isinstance(rule["expr"], str)
            assert DURATION.fullmatch(rule.get("for", "1m"))
            said = [*rule.get("labels", {}).values(), *rule.get("annotations", {}).values()]
            assert all(isinstance(value, str) for value in said)


@needs_promtool
def test_prometheus_takes_the_rules_of_a_cluster(folder):
    promtool("check", "rules", "--lint=all", "--lint-fatal", "rules.yml", folder=folder)


@needs_promtool
def test_alerts_of_a_cluster_fire_when_they_should_and_name_their_namespace(folder):
    promtool("test", "rules", CASES.name, folder=folder)
