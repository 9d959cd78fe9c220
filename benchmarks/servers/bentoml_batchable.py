"""Plain BentoML with our bundle: `batchable=True`, two workers, nothing else."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import bentoml

from sentiment.bundle.predictor import open_predictor


@bentoml.service(name="batchable", workers=2)
class Batchable:
    """Answers lists of texts, which BentoML merges."""

    def __init__(self) -> None:
        self.predictor = open_predictor(Path(os.environ["BENCHMARK_BUNDLE"]))

    @bentoml.api(batchable=True, max_batch_size=32, max_latency_ms=10_000)
    def predict(self, texts: list[str]) -> list[dict[str, Any]]:
        """Answer each text."""
        return [asdict(prediction) for prediction in self.predictor.predict(texts)]
