"""What the service says of itself, and whether it keeps to it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from prometheus_client.parser import text_string_to_metric_families

from service.api.routes import ROUTES, SCOPES
from service.security.keys import make_key, write_key
from tests.support.serving import WORD, Service, make_store, run_service

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
def guarded(tmp_path_factory) -> Iterator[tuple[Service, dict[str, str]]]:
    """A service that wants keys, and a key of each scope."""
    folder = tmp_path_factory.mktemp("guarded")
    made = {scope: make_key(scope, [scope]) for scope in SCOPES}
    (folder / "keys.txt").write_text("".join(f"{write_key(kept)}\n" for _, kept in made.values()), encoding="utf-8")
    store = make_store(tmp_path_factory.mktemp("store"))
    with run_service(store, folder, SENTIMENT_API_KEY_FILE=str(folder / "keys.txt")) as service:
        yield service, {scope: key for scope, (key, _) in made.items()}


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


def run_schemathesis(service: Service, folder: Path, *options: str, key: str = "") -> subprocess.CompletedProcess[str]:
    """Ask the service what its description says it takes, and what it says it does not take."""
    rules, description = folder / "schemathesis.toml", folder / "docs.json"
    rules.write_text(RULES, encoding="utf-8")
    description.write_text(service.get("/docs.json", headers={"x-api-key": key}).text, encoding="utf-8")
    program = str(Path(sys.executable).with_name("schemathesis"))
    command = [
        *(program, "--config-file", str(rules), "run", str(description), "--url", service.url, "--mode", "all"),
        *("--seed", str(SEED), "--generation-database", "none", "--no-color", *options),
    ]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=150, check=False)


def count_answers(service: Service, headers: dict[str, str]) -> dict[tuple[str, str], int]:
    """Return how many requests of each route ended with each status."""
    text = service.get("/metrics", headers=headers).raise_for_status().text
    samples = (one for family in text_string_to_metric_families(text) for one in family.samples)
    found = (one for one in samples if one.name == "sentigate_requests_total")
    return {(one.labels["route"], one.labels["status"]): int(one.value) for one in found}


@pytest.mark.extended
def test_the_service_does_what_it_describes(service, tmp_path):
    """Generated requests, sound and not, get the statuses, content types and bodies that the description promises."""
    done = run_schemathesis(
        service,
        tmp_path,
        *("--header", f"X-API-Key: {service.token}", "--checks", "all"),
        *("--exclude-checks", "ignored_auth"),  # it makes up the other header, which may be for a gateway before us
        *("--phases", "examples,coverage,fuzzing", "--max-examples", str(EXAMPLES)),
    )

    assert done.returncode == 0, done.stdout[-6000:]
    assert "Traceback" not in service.log


@pytest.mark.parametrize("scope", ["", "predict", "feedback", "read", "admin"])
def test_nothing_answers_above_the_scope_of_a_key(guarded, tmp_path, scope):
    """Generated requests without a key, and with a key of each scope, are answered within it and never with 5xx.

    Counters and description are read by this test itself.
    """
    service, keys = guarded
    before = count_answers(service, {"x-api-key": keys["read"]})
    done = run_schemathesis(
        service,
        tmp_path,
        *("--checks", "not_a_server_error", "--phases", "examples,coverage"),
        *(("--header", f"X-API-Key: {keys[scope]}") if scope else ()),
        key=keys["read"],
    )
    after = count_answers(service, {"x-api-key": keys["read"]})

    assert done.returncode == 0, done.stdout[-6000:]
    new = {row: number - before.get(row, 0) for row, number in after.items()}
    answered = {route for (route, status), number in new.items() if status[0] == "2" and number}
    granted = {None, scope, "read"} if scope == "admin" else {None, scope}
    may = {route.label for route in ROUTES if route.is_open or (scope and route.scope in granted)}
    assert answered <= {*may, "/metrics", "/docs.json"}
    assert [status for _, status in after if status[0] == "5"] == []


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
