"""`python -m benchmarks.predictors`: bundles side by side on the holdout of a dataset, in quality and texts per second.

The rounds alternate between the bundles, so that a noisy machine is noisy for all of them; look at the ratio to
the first. For a cascade, the share of the holdout that its first stage answers.
"""

import json
import statistics
import time
from pathlib import Path

import click
import numpy as np
import onnxruntime

from benchmarks.splits import split_named
from release.mlflow_registry import find_bundle
from sentiment.bundle.onnx_session import TextGraph
from sentiment.bundle.predictor import Predictor
from sentiment.evaluation.predictions import predict_rows, score_predictions

STAGE = "first_stage"


def measure_share(model: Path, tokenizer: Path, max_tokens: int, texts: list[str]) -> float | None:
    """Return the share of texts that the first stage answers; None for a graph of one stage."""
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    if STAGE not in {output.name for output in session.get_outputs()}:
        return None
    reader = TextGraph(model, tokenizer, max_tokens=max_tokens, texts_per_call=1)
    answered = []
    for ids in reader.tokenise(texts):
        row = np.array([ids], dtype=np.int64)
        (first,) = session.run([STAGE], {"input_ids": row, "attention_mask": np.ones_like(row)})
        answered.append(bool(first))
    return float(np.mean(answered))


@click.command()
@click.option("--models", required=True, help="Versions, aliases or folders, by commas; the first is the measure.")
@click.option("--dataset", default="youtube", show_default=True)
@click.option("--texts", default=1000, show_default=True, help="Texts of a round.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--threads", default=1, show_default=True, help="Calls side by side.")
def main(models: str, dataset: str, texts: int, rounds: int, threads: int) -> None:
    """Print a JSON line per bundle: holdout scores, median texts per second, ratio to the first."""
    holdout = split_named(dataset).holdout
    asked = list(holdout.frame["text"])[:texts]
    names = [name.strip() for name in models.split(",")]
    predictors = {name: Predictor(find_bundle(name)[0], threads=threads) for name in names}
    speeds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for name, predictor in predictors.items():
            started = time.perf_counter()
            predictor.predict_probabilities(asked)
            speeds[name].append(len(asked) / (time.perf_counter() - started))
    for name, predictor in predictors.items():
        bundle = predictor.bundle
        evaluation = score_predictions(predict_rows(Predictor(bundle, threads=2), holdout))
        ratios = [own / first for own, first in zip(speeds[name], speeds[names[0]], strict=True)]
        line = {
            "model": name,
            "candidate": bundle.card.candidate,
            "precision": bundle.card.precision,
            "holdout_macro_f1": round(evaluation.macro_f1, 4),
            "holdout_accuracy": round(evaluation.accuracy, 4),
            "calibration_error": round(evaluation.calibration_error, 4),
            "texts_per_second": round(statistics.median(speeds[name]), 1),
            "ratio": round(statistics.median(ratios), 3),
            "first_stage_share": measure_share(
                bundle.model, bundle.tokenizer, bundle.card.max_tokens, list(holdout.frame["text"])
            ),
            "size_mb": round(bundle.card.size_bytes / 1e6, 1),
        }
        click.echo(json.dumps(line))


if __name__ == "__main__":
    main()
