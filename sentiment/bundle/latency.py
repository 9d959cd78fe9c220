"""How long a predictor takes for one text on this machine."""

import time
from collections.abc import Sequence

import numpy as np

from sentiment.bundle.predictor import Predictor

SAMPLE = 100


def measure_latency(predictor: Predictor, texts: Sequence[str]) -> dict[str, float]:
    """Return the median and the 95th percentile in milliseconds over up to 100 texts, one at a time."""
    seconds = []
    for text in texts[:SAMPLE]:
        started = time.perf_counter()
        predictor.predict([text])
        seconds.append(time.perf_counter() - started)
    p50, p95 = np.percentile(seconds, (50, 95)) * 1000
    return {"p50": round(float(p50), 2), "p95": round(float(p95), 2)}
