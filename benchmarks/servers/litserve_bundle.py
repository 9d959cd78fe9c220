"""LitServe with our bundle: two workers, batches of what waits."""

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import litserve

from sentiment.bundle.predictor import open_predictor

MAX_BATCH_SIZE = 8
BATCH_TIMEOUT_SECONDS = 0.001
WORKERS = 2


class SentimentAPI(litserve.LitAPI):
    """Answers lists of texts."""

    def setup(self, device: str) -> None:  # noqa: ARG002
        self.predictor = open_predictor(Path(os.environ["BENCHMARK_BUNDLE"]))

    def decode_request(self, request: dict[str, list[str]]) -> list[str]:
        return request["texts"]

    def batch(self, inputs: Sequence[list[str]]) -> list[list[str]]:
        return list(inputs)

    def predict(self, batch: list[list[str]]) -> list[list[dict[str, Any]]]:
        answers = iter(self.predictor.predict([text for texts in batch for text in texts]))
        return [[asdict(next(answers)) for _ in texts] for texts in batch]

    def unbatch(self, output: list[list[dict[str, Any]]]) -> list[list[dict[str, Any]]]:
        return output

    def encode_response(self, output: list[dict[str, Any]]) -> dict[str, Any]:
        return {"predictions": output}


if __name__ == "__main__":
    api = SentimentAPI(max_batch_size=MAX_BATCH_SIZE, batch_timeout=BATCH_TIMEOUT_SECONDS)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=WORKERS)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, num_api_servers=1)
