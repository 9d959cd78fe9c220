"""The static scanner, ruff with bandit's rules: on for all of the product, and each exception says why."""

import re
import tomllib

import pytest

from sentiment.paths import CHECKOUT

PRODUCT = ("sentiment", "service", "steps", "release", "sentigate_client", "pipelines", "deploy")
FILES = sorted(file for folder in PRODUCT for file in (CHECKOUT / folder).rglob("*.py"))
EXCEPTION = re.compile(r"# noqa:[^-\n]*\bS\d{3}(?P<reason>.*)")


@pytest.fixture(scope="module")
def settings() -> dict:
    return tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]["lint"]


def test_each_exception_says_why():
    found = [(file.name, m[0]) for file in FILES for m in EXCEPTION.finditer(file.read_text(encoding="utf-8"))]
    assert len(found) >= 8
    assert [place for place in found if not re.search(r"S\d{3} - \w+", place[1])] == []


def test_no_rule_of_the_scanner_is_off_for_all(settings):
    assert "S" in settings["select"]
    assert [rule for rule in settings["ignore"] if rule.startswith("S") and not rule.startswith("SIM")] == []


def test_what_strangers_talk_to_has_no_exception_of_its_own(settings):
    """Files of `service` and `sentiment` are looked at by every rule; elsewhere commands may be started."""
    allowed = {
        pattern: [rule for rule in rules if rule.startswith("S")]
        for pattern, rules in settings["per-file-ignores"].items()
    }
    assert {pattern: rules for pattern, rules in allowed.items() if rules} == {
        "tests/**": ["S"],
        "benchmarks/**": ["S"],
        "{deploy,pipelines,release,steps}/**": ["S603"],
        "deploy/aws/instance/sync.py": ["S603", "S607"],
    }
