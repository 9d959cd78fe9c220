"""Metrics for Prometheus: counters of all workers of a server, and the state of its models and its prediction log.

The values of labels are bounded: routes, status codes, labels of the model, codes of problems. None of them comes from
a caller.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sentiment.bundle.bundle import Card
from sentiment.bundle.predictor import Prediction
from service.api.routes import Route
from service.observability.evaluation_scores import EvaluationScores
from service.prediction_log.shipper import LogStatus

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

DIRECTORY_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
OTHER = "other"
SECONDS = (0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1, 2, 4, 8, 16)
TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
TOKENS = (4, 8, 16, 32, 64, 128, 256, 512)
EVALUATED = ("macro_f1", "accuracy", "calibration_error")
Role = Literal["champion", "canary"]
CONFIDENCES = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)


@dataclass(frozen=True)
class NamedModel:
    """A model by its version."""

    version: str
    card: Card


@dataclass(frozen=True)
class ServiceState:
    """What is read at each request: the models, the newest scores of the champion, the log and the living workers."""

    champion: NamedModel
    canary: NamedModel | None
    shadow_model: NamedModel | None
    scores: Sequence[EvaluationScores]
    log: LogStatus | None
    workers: int


class Metrics:
    """The counters of one worker, in files that all workers of the server share in `folder`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # The library reads it at its import and for each new metric. BentoML's own folder does not do: a second server
        # of the same BENTOML_HOME empties it.
        # https://github.com/prometheus/client_python/blob/v0.26.0/prometheus_client/values.py#L152
        os.environ[DIRECTORY_VARIABLE] = str(folder)
        import prometheus_client

        self._folder = folder
        registry = prometheus_client.CollectorRegistry()

        def counter(name: str, what: str, *labels: str) -> Any:
            return prometheus_client.Counter(f"sentigate_{name}", what, labels, registry=registry)

        def histogram(name: str, what: str, buckets: Sequence[float], *labels: str) -> Any:
            return prometheus_client.Histogram(f"sentigate_{name}", what, labels, buckets=buckets, registry=registry)

        self._requests = counter("requests", "Requests that were answered.", "route", "status")
        self._request_seconds = histogram("request_seconds", "From the request to its answer.", SECONDS, "route")
        self._problems = counter("problems", "Requests and texts of a batch that ended with a problem.", "code")
        self._predictions = counter("predictions", "Texts that were answered.", "label")
        self._uncertain = counter("uncertain", "Answers below the threshold of the card.")
        self._truncated = counter("truncated", "Texts that were cut.")
        self._confidence = histogram("confidence", "Confidence of answers.", CONFIDENCES)
        self._tokens = histogram("tokens", "Tokens of a text.", TOKENS)
        self._queue_seconds = histogram("queue_seconds", "How long a text waited for the model.", SECONDS)
        self._shadow_answers = counter("shadow_answers", "Texts that the shadow model answered, too.", "agrees")
        self._shadow_dropped = counter("shadow_dropped", "Sampled texts without an answer of the shadow model.")
        self._canary_answers = counter("canary_answers", "Texts answered while there is a canary.", "role")
        self._canary_failures = counter("canary_failures", "Texts that the champion answered for the canary.")
        self._canary_seconds = histogram("canary_seconds", "To the answer, while there is a canary.", SECONDS, "role")
        self._texts_per_call = histogram("texts_per_call", "Texts that shared a call of the model.", TEXTS)

    def note_request(self, route: Route | None, status: int, seconds: float, problem: str | None) -> None:
        """Count a request and the code of its problem; `route` is None if no route of the table matches."""
        label = route.label if route else OTHER
        self._requests.labels(label, str(status)).inc()
        self._request_seconds.labels(label).observe(seconds)
        if problem is not None:
            self.note_problem(problem)

    def note_problem(self, code: str) -> None:
        """Count a problem."""
        self._problems.labels(code).inc()

    def note_prediction(self, prediction: Prediction) -> None:
        """Count an answer."""
        self._predictions.labels(prediction.label).inc()
        self._confidence.observe(prediction.confidence)
        self._tokens.observe(prediction.tokens)
        if prediction.uncertain:
            self._uncertain.inc()
        if prediction.truncated:
            self._truncated.inc()

    def note_call(self, waits: Sequence[float]) -> None:
        """Count a call of the model, and the seconds that each of its texts waited."""
        self._texts_per_call.observe(len(waits))
        for seconds in waits:
            self._queue_seconds.observe(seconds)

    def note_shadow(self, agrees: bool | None) -> None:
        """Count an answer of the shadow model: whether it agrees with the champion's, or None if it is missing."""
        if agrees is None:
            self._shadow_dropped.inc()
        else:
            self._shadow_answers.labels(str(agrees).lower()).inc()

    def note_role(self, role: Role, texts: int, seconds: float) -> None:
        """Count texts that the champion or the canary answered after `seconds`, while there is a canary."""
        self._canary_answers.labels(role).inc(texts)
        self._canary_seconds.labels(role).observe(seconds)

    def note_canary_failure(self, texts: int) -> None:
        """Count texts that the champion answered because the canary failed."""
        self._canary_failures.inc(texts)

    def render(self, state: ServiceState) -> bytes:
        """Return the counters of all workers and the state of models, scores and log, in Prometheus' text format."""
        import prometheus_client
        from prometheus_client.multiprocess import MultiProcessCollector

        registry = prometheus_client.CollectorRegistry()
        MultiProcessCollector(registry, path=str(self._folder))  # type: ignore[no-untyped-call]
        registry.register(_StateCollector(state))
        return prometheus_client.generate_latest(registry)


class _StateCollector:
    """Makes gauges of the state."""

    def __init__(self, state: ServiceState) -> None:
        self._state = state

    def collect(self) -> "Iterator[Metric]":
        """Yield the gauges."""
        from prometheus_client.core import GaugeMetricFamily

        state = self._state
        model = GaugeMetricFamily(
            "sentigate_model_info",
            "The model that answers, its canary and its shadow model.",
            labels=("role", "version", "digest", "candidate", "dataset"),
        )
        roles = (("champion", state.champion), ("canary", state.canary), ("challenger", state.shadow_model))
        for role, served in roles:
            if served is not None:
                card = served.card
                model.add_metric((role, served.version, card.digest, card.candidate, card.dataset), 1)
        yield model
        scores = GaugeMetricFamily("sentigate_model_score", "Measured before it was promoted.", labels=("score",))
        for name, value in state.champion.card.metrics.items():
            scores.add_metric((name,), value)
        yield scores
        evaluated = GaugeMetricFamily(
            "sentigate_evaluation_score", "Measured by its newest evaluation.", labels=("dataset", "score")
        )
        for found in state.scores:
            for name in EVALUATED:
                evaluated.add_metric((found.dataset, name), getattr(found, name))
        yield evaluated
        yield GaugeMetricFamily("sentigate_workers", "Workers that live.", value=state.workers)
        if state.log is not None:
            yield GaugeMetricFamily(
                "sentigate_log_lag_seconds", "Age of the oldest entry.", value=state.log.lag_seconds
            )
            yield GaugeMetricFamily("sentigate_log_sound", "Entries arrive soon.", value=float(state.log.is_sound))
            yield GaugeMetricFamily("sentigate_log_rejected", "Entries put aside.", value=state.log.rejected)
