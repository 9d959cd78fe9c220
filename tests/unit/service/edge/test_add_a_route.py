"""A route is one row and one handler, as `docs/how-to/add_a_route.md` says."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sentiment.paths import CHECKOUT

HOW_TO = CHECKOUT / "docs" / "how-to" / "add_a_route.md"
IMPORTS = "from service.api.schemas import PredictRequest, WordCount\n\n\n"
ASK = """
import json, sys
from functools import partial
from pathlib import Path
from pydantic import SecretStr
from starlette.testclient import TestClient
from service.api.openapi import describe_api
from service.api.routes import RouteTable
from service.edge.endpoints import HANDLERS
from service.edge.middleware import Edge
from service.observability.metrics import Metrics
from service.security.access import open_access
from service.security.keys import make_key, write_key
from service.settings import ServiceSettings

folder = Path(sys.argv[1])
keys = {scope: make_key(scope, [scope]) for scope in ("predict", "feedback")}
lines = ";".join(write_key(kept) for _, kept in keys.values())
settings = ServiceSettings(api_keys=SecretStr(lines), rate_limit="3/hour")
metrics = Metrics(folder / "metrics")
access = partial(open_access, settings, folder / "rates")
edge = Edge(None, settings, RouteTable(), HANDLERS, lambda: None, access, lambda: metrics)
client = TestClient(edge, raise_server_exceptions=False)

def ask(scope, body):
    headers = {"x-api-key": keys[scope][0], "x-request-id": "r-1"} if scope else {}
    reply = client.post("/count_words", json=body, headers=headers)
    return [reply.status_code, reply.json()]

asked = [(None, {}), ("feedback", {}), ("predict", {"text": "what a day"}), ("predict", {"text": " "})]
asked += [("predict", {"text": 1}), ("predict", {"text": "a"})]
import prometheus_client
from prometheus_client.multiprocess import MultiProcessCollector
replies = [ask(*one) for one in asked]
registry = prometheus_client.CollectorRegistry()
MultiProcessCollector(registry, path=str(folder / "metrics"))
counted = prometheus_client.generate_latest(registry).decode()
described = describe_api(settings)["paths"]["/count_words"]
print(json.dumps({"replies": replies, "described": described, "counted": counted}))
"""


def read_blocks() -> dict[str, str]:
    """Return the code of the how-to by the file that it goes into."""
    blocks = re.findall(r"```python\n# ([^\n]*)\n(.*?)```", HOW_TO.read_text(encoding="utf-8"), re.DOTALL)
    return dict(blocks)


@pytest.fixture(scope="module")
def changed(tmp_path_factory) -> Path:
    """A copy of the service with the row and the handler of the how-to in it."""
    folder = tmp_path_factory.mktemp("checkout")
    for room in ("service", "sentiment"):
        shutil.copytree(CHECKOUT / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
    blocks = read_blocks()
    api, edge = folder / "service" / "api", folder / "service" / "edge"
    with (api / "schemas.py").open("a", encoding="utf-8") as file:
        file.write(f"\n\n{blocks['service/api/schemas.py']}")
    insert(api / "routes.py", "ROUTES = (\n", blocks["service/api/routes.py"])
    insert(
        edge / "endpoints.py", "HANDLERS: Mapping[str, Handler] = {\n", blocks["service/edge/endpoints.py, HANDLERS"]
    )
    text = (edge / "endpoints.py").read_text(encoding="utf-8")
    start = text.index("HANDLERS: Mapping")
    handler = blocks["service/edge/endpoints.py"]
    (edge / "endpoints.py").write_text(f"{text[:start]}{IMPORTS}{handler}\n\n{text[start:]}", encoding="utf-8")
    insert(api / "routes.py", "from pydantic import BaseModel\n", IMPORTS)
    return folder


def insert(path: Path, place: str, added: str) -> None:
    """Write lines behind a line of a file."""
    text = path.read_text(encoding="utf-8")
    assert text.count(place) == 1
    path.write_text(text.replace(place, f"{place}{added}"), encoding="utf-8")


def test_a_row_and_a_handler_make_a_route(changed, tmp_path):
    """The new route is answered, guarded by its scope, limited, checked, counted and described."""
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(tmp_path)], cwd=changed, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)

    statuses = [status for status, _ in found["replies"]]
    assert statuses == [401, 403, 200, 422, 422, 429]
    assert [body.get("code") for _, body in found["replies"]] == [
        *("key_missing", "scope", None, "empty_text", "wrong_type", "too_many_requests")
    ]
    assert found["replies"][2][1] == {"words": 3, "request_id": "r-1"}
    assert 'sentigate_requests_total{route="/count_words",status="200"} 1.0' in found["counted"]
    described = found["described"]["post"]
    assert (described["operationId"], described["summary"]) == ("count_words", "The number of words in one text")
    assert described["responses"]["200"]["content"]["application/json"]["example"]["words"] == 3
    assert "X-Subject" in {parameter["name"] for parameter in described["parameters"]}
