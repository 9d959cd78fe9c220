"""The metrics that dashboards and alerts are written against."""

import subprocess
import sys

from prometheus_client.parser import text_string_to_metric_families

from sentiment.paths import CHECKOUT

RENDER = """
import sys
from pathlib import Path
from sentiment.bundle.predictor import Prediction
from service.api.routes import RouteTable
from service.observability.metrics import Metrics, NamedModel, ServiceState
from service.prediction_log.shipper import LogStatus
from service.observability.evaluation_scores import EvaluationScores
from tests.conftest import make_card
metrics = Metrics(Path(sys.argv[1]))
metrics.note_request(RouteTable().find("/predict", None)["POST"], 422, 0.01, "empty_text")
metrics.note_prediction(Prediction("positive", 0.75, {"positive": 0.75, "negative": 0.25}, True, 5, True))
metrics.note_call([0.001])
metrics.note_shadow(True)
metrics.note_shadow(None)
metrics.note_role("champion", 1, 0.01)
metrics.note_canary_failure(1)
model = NamedModel("3-abc", make_card())
state = ServiceState(model, model, model, [EvaluationScores("youtube", 0.75, 0.5, 0.25)], LogStatus("ok", 1.5, 7, 2), 2)
print(metrics.render(state).decode())
"""


def test_the_metrics_stay(tmp_path, snapshot):
    """Each metric keeps its name, its type and its labels; what it counts is held by tests of its own."""
    command = [sys.executable, "-c", RENDER, str(tmp_path / "metrics")]
    page = subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True, text=True).stdout

    lines = []
    for family in text_string_to_metric_families(page):
        labels = sorted({label for sample in family.samples for label in sample.labels} - {"le"})
        lines.append(f"{family.name} {family.type} {{{', '.join(labels)}}}")
    assert "\n".join(sorted(lines)) == snapshot
