"""What the service says of itself, and whether it keeps to it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.integration.serving import WORD, Service, make_store, run_service

pytestmark = pytest.mark.slow

SEED, EXAMPLES = 1, 150
RULES = """
[checks]
negative_data_rejection.expected-statuses = ["400", "413", "422"]

# A schema cannot know which labels, predictions and models there are.
[[operations]]
include-path = ["/feedback", "/reload", "/canary"]
checks.positive_data_acceptance.expected-statuses = ["200", "422"]
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory) -> Iterator[Service]:
    store = make_store(tmp_path_factory.mktemp("store"))
    with run_service(store, tmp_path_factory.mktemp("service"), SENTIMENT_MAX_BATCH_TEXTS="7") as service:
        yield service


@pytest.fixture(scope="module")
def described(service) -> dict[str, Any]:
    return service.get("/docs.json").raise_for_status().json()


def list_operations(described: dict[str, Any]) -> list[dict[str, Any]]:
    return [operation for item in described["paths"].values() for operation in item.values()]


def find_nodes(node: Any) -> Iterator[dict[str, Any]]:
    """Yield every object within a description."""
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else []:
        yield from find_nodes(child)


def check(described: dict[str, Any], schema: dict[str, Any], found: object) -> None:
    """Fail where something is not as a schema of the description says."""
    Draft202012Validator({"components": described["components"], **schema}).validate(found)


def test_the_service_does_what_it_describes(service, tmp_path):
    """Generated requests, sound and not, get the statuses, content types and bodies that the description promises."""
    rules = tmp_path / "schemathesis.toml"
    rules.write_text(RULES, encoding="utf-8")
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(rules)),
        *(
            "run",
            f"{service.url}/docs.json",
            "--checks",
            "all",
            "--mode",
            "all",
            "--phases",
            "examples,coverage,fuzzing",
        ),
        *("--seed", str(SEED), "--max-examples", str(EXAMPLES), "--generation-database", "none", "--no-color"),
    ]

    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=150, check=False)

    assert done.returncode == 0, done.stdout[-6000:]
    assert "Traceback" not in service.log


def test_every_schema_is_one(described):
    """Each schema is sound by the rules of JSON Schema, which OpenAPI 3.1 takes over, and each is used."""
    assert described["openapi"].startswith("3.1.")
    for schema in described["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    references = {node["$ref"] for node in find_nodes(described) if "$ref" in node}
    known = {f"#/components/schemas/{name}" for name in described["components"]["schemas"]}
    assert references == known


def test_every_example_fits_its_schema(described):
    """What the description shows is what it describes."""
    shown = [node for node in find_nodes(described["paths"]) if "example" in node and "schema" in node]

    for node in shown:
        check(described, node["schema"], node["example"])
    assert len(shown) == 13


def test_every_operation_has_a_name_of_its_own(described):
    """Clients that are generated from the description get one method for each operation."""
    names = [operation["operationId"] for operation in list_operations(described)]

    assert len(set(names)) == len(names)
    assert all(name.isidentifier() for name in names)


def test_the_limits_are_those_of_the_settings(described):
    """A caller reads from the description how much it may send at once."""
    schemas = described["components"]["schemas"]

    assert schemas["BatchPredictRequest"]["properties"]["texts"]["maxItems"] == 7
    assert schemas["PredictRequest"]["properties"]["text"]["maxLength"] == 10_000


@pytest.mark.parametrize("text", ["", " \t", "\u200b\u2060", "\x1c", "\x85", "\ufeff", f" {WORD}", "\u3000é", "\u00ad"])
def test_the_pattern_of_a_text_is_what_the_service_takes(service, described, text):
    """A text that the description calls sound is answered, another is refused."""
    schema = described["components"]["schemas"]["PredictRequest"]
    sound = Draft202012Validator(schema).is_valid({"text": text})

    assert service.post("/predict", {"text": text}).status_code == (200 if sound else 422)


@pytest.mark.parametrize("path", ["/model", "/health", "/livez", "/readyz", "/metrics", "/docs.json"])
def test_what_is_read_is_described(service, described, path):
    """Every answer to a GET has the content type and the shape that the description says."""
    answer = service.get(path).raise_for_status()
    kind = answer.headers["content-type"].split(";")[0]
    schema = described["paths"][path]["get"]["responses"]["200"]["content"][kind]["schema"]

    body = answer.text if kind == "text/plain" else json.loads(answer.text)
    check(described, schema, body)
