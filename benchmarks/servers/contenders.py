"""The servers that are compared: how each is started, where it answers, and what it is asked."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

BATCHABLE = "benchmarks.servers.bentoml_batchable:Batchable"
PYTORCH = "benchmarks.servers.fastapi_pytorch:app"
HOST = "127.0.0.1"
SCRIPTS = Path(sys.executable).parent

Ask = Callable[[Sequence[str]], tuple[str, str]]
"""Returns the path and the body of a request with these texts."""


@dataclass(frozen=True)
class Contender:
    """A server; `command` takes the port, `ready` is the path that answers once it is there."""

    name: str
    command: Callable[[int], Sequence[str]]
    ask: Ask
    ready: str
    environment: Mapping[str, str] = field(default_factory=dict)


def list_contenders(mlflow_model: Path) -> list[Contender]:
    """Return all of them, ours first. `mlflow_model` is what `benchmarks.servers.mlflow_bundle` saved."""
    python, uvicorn, mlflow = sys.executable, str(SCRIPTS / "uvicorn"), str(SCRIPTS / "mlflow")

    def ask_list(key: str, path: str) -> Ask:
        return lambda texts: (path, json.dumps({key: texts}))

    def ask_sentigate(texts: Sequence[str]) -> tuple[str, str]:
        if len(texts) == 1:
            return "/predict", json.dumps({"text": texts[0]})
        return "/batch_predict", json.dumps({"texts": texts})

    def serve_bento(target: str) -> Callable[[int], Sequence[str]]:
        return lambda port: [python, "-m", "bentoml", "serve", target, "--host", HOST, "--port", str(port)]

    def serve_pytorch(port: int) -> Sequence[str]:
        return [uvicorn, PYTORCH, "--host", HOST, "--port", str(port), "--log-level", "warning"]

    def serve_mlflow(port: int) -> Sequence[str]:
        options = ["--env-manager", "local", "--workers", "2", "--host", HOST, "--port", str(port)]
        return [mlflow, "models", "serve", "--model-uri", str(mlflow_model), *options]

    return [
        Contender("sentigate", serve_bento("."), ask_sentigate, "/readyz"),
        Contender(
            "sentigate, log off",
            serve_bento("."),
            ask_sentigate,
            "/readyz",
            {"SENTIMENT_LOG_PREDICTIONS": "false"},
        ),
        Contender(
            "LitServe",
            lambda port: [python, "-m", "benchmarks.servers.litserve_bundle", str(port)],
            ask_list("texts", "/predict"),
            "/health",
        ),
        Contender("BentoML, batchable", serve_bento(BATCHABLE), ask_list("texts", "/predict"), "/readyz"),
        Contender("MLflow", serve_mlflow, ask_list("inputs", "/invocations"), "/ping"),
        Contender("FastAPI, PyTorch", serve_pytorch, ask_list("texts", "/predict"), "/ready"),
    ]
