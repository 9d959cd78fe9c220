"""Parts of libraries that are not in their documentation: each test says what to change when one is another."""

import asyncio
import logging
import subprocess
import sys

from bentoml import Tag
from bentoml._internal.bento.bento import BentoModelInfo, BentoServiceInfo
from bentoml._internal.server.http.access import AccessLogMiddleware
from bentoml._internal.utils.cattr import bentoml_cattr

from sentiment.paths import CHECKOUT
from service.observability.log_filters import ACCESS_LOGGER

COUNT = """
import sys
from pathlib import Path
from service.observability.metrics import Metrics
Metrics(Path(sys.argv[1])).note_problem("too_large")
"""


def test_bentoml_describes_the_models_of_a_service_as_we_read_them():
    """`service/models/sources.py` reads `services[0].models[0].tag` of a Bento's `bento.yaml`."""
    info = BentoServiceInfo("sentigate", "", [BentoModelInfo(Tag("sentiment", "3-7dfa72db3c90"))])
    found = bentoml_cattr.unstructure(info)

    assert found["models"][0]["tag"] == "sentiment:3-7dfa72db3c90", (
        "BentoML describes the models of a service in another way; read them so in service/models/sources.py"
    )


def test_bentoml_logs_a_path_as_an_argument_of_its_logger(caplog):
    """`service/observability/log_filters.py` escapes the arguments of lines of `bentoml.access`."""

    async def answer(scope, receive, send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def send(message) -> None:
        pass

    scope = {"type": "http", "scheme": "http", "method": "GET", "path": "/a\nb", "client": ("::1", 1), "headers": []}
    caplog.set_level(logging.INFO, logger=ACCESS_LOGGER)
    asyncio.run(AccessLogMiddleware(answer)(scope, None, send))
    arguments = [record.args for record in caplog.records if record.name == ACCESS_LOGGER]

    assert arguments, "BentoML's access log has another logger; name it in service/observability/log_filters.py"
    assert any("/a\nb" in str(argument) for argument in arguments[0]), (
        "BentoML puts the path of a request elsewhere in a line of its log; escape it there in log_filters.py"
    )


def test_prometheus_shares_counters_in_the_folder_that_we_name(tmp_path):
    """`service/observability/metrics.py` names a folder in PROMETHEUS_MULTIPROC_DIR before the library is imported."""
    subprocess.run([sys.executable, "-c", COUNT, str(tmp_path)], cwd=CHECKOUT, check=True, timeout=60)

    assert list(tmp_path.glob("counter_*.db")), (
        "prometheus_client no longer reads PROMETHEUS_MULTIPROC_DIR at its import; name the folder as it wants it"
        " in service/observability/metrics.py"
    )
