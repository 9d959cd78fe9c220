"""What Prometheus reads: sums over workers, bounded labels, the state of model and log."""

import subprocess
import sys
from pathlib import Path

import pytest

from sentiment.paths import CHECKOUT

COUNT = """
import sys
from pathlib import Path
from sentiment.bundle.predictor import Prediction
from service.api.routes import RouteTable
from service.observability.metrics import Metrics
table = RouteTable()
metrics = Metrics(Path(sys.argv[1]))
for path in ("/predict", "/predict", "/x" + sys.argv[2], "/reload/../" + sys.argv[2]):
    metrics.note_request(next(iter(table.find(path, None).values()), None), 200, 0.01, None)
metrics.note_request(table.find("/predict", None)["POST"], 422, 0.01, "empty_text")
metrics.note_prediction(Prediction("positive", 0.75, {"positive": 0.75, "negative": 0.25}, True, 5, False))
for agrees in (True, False, False, None):
    metrics.note_shadow(agrees)
metrics.note_call([0.001, 0.002])
metrics.note_role("champion", 9, 0.01)
metrics.note_role("canary", 1, 0.01)
metrics.note_canary_failure(2)
"""
RENDER = """
import sys
from pathlib import Path
from service.observability.metrics import Metrics, NamedModel, ServiceState
from service.prediction_log.shipper import LogStatus
from service.observability.evaluation_scores import EvaluationScores
from tests.conftest import make_card
status = LogStatus("ok", 1.5, 7, 2)
champion, canary, challenger = (NamedModel(name, make_card()) for name in ("3-abc", "5-fed", "4-def"))
state = ServiceState(champion, canary, challenger, [EvaluationScores("youtube", 0.75, 0.5, 0.25)], status, 2)
print(Metrics(Path(sys.argv[1])).render(state).decode())
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The page after two workers counted the same, and ended."""
    folder = str(tmp_path_factory.mktemp("metrics"))
    for worker in ("1", "2"):
        subprocess.run([sys.executable, "-c", COUNT, folder, worker], cwd=CHECKOUT, check=True)
    done = subprocess.run(
        [sys.executable, "-c", RENDER, folder], cwd=CHECKOUT, check=True, capture_output=True, text=True
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    "line",
    [
        'sentigate_requests_total{route="/predict",status="200"} 4.0',
        'sentigate_requests_total{route="other",status="200"} 4.0',
        'sentigate_problems_total{code="empty_text"} 2.0',
        'sentigate_predictions_total{label="positive"} 2.0',
        "sentigate_uncertain_total 2.0",
        'sentigate_canary_answers_total{role="champion"} 18.0',
        'sentigate_canary_answers_total{role="canary"} 2.0',
        'sentigate_canary_seconds_count{role="canary"} 2.0',
        "sentigate_canary_failures_total 4.0",
        "sentigate_truncated_total 0.0",
        "sentigate_tokens_sum 10.0",
        "sentigate_queue_seconds_count 4.0",
        "sentigate_texts_per_call_sum 4.0",
        "sentigate_workers 2.0",
        'sentigate_shadow_answers_total{agrees="true"} 2.0',
        'sentigate_shadow_answers_total{agrees="false"} 4.0',
        "sentigate_shadow_dropped_total 2.0",
        'sentigate_evaluation_score{dataset="youtube",score="macro_f1"} 0.75',
        'sentigate_evaluation_score{dataset="youtube",score="calibration_error"} 0.25',
        "sentigate_log_lag_seconds 1.5",
        "sentigate_log_sound 1.0",
        "sentigate_log_rejected 2.0",
    ],
)
def test_the_page_sums_over_workers(page: list[str], line: str):
    """What two workers counted is one number, and stays when they have ended."""
    assert line in page


def test_no_label_is_what_a_caller_made_up(page: list[str]):
    """Paths that are not routes share one label."""
    assert not [line for line in page if "/x" in line or ".." in line]


def test_the_models_that_answer_are_named(page: list[str]):
    """Version, digest, candidate and dataset of each model that is open stand on one gauge, by its role."""
    lines = [line for line in page if line.startswith("sentigate_model_info{")]
    named = ('role="champion",version="3-abc"', 'role="canary",version="5-fed"', 'role="challenger",version="4-def"')
    assert [name in line for name, line in zip(named, lines, strict=True)] == [True] * 3
    assert {line.rpartition(" ")[2] for line in lines} == {"1.0"}


def test_counting_needs_no_folder_that_is_there(tmp_path: Path):
    """The folder is made, with those above it."""
    subprocess.run([sys.executable, "-c", COUNT, str(tmp_path / "deep" / "down"), "1"], cwd=CHECKOUT, check=True)
    assert list((tmp_path / "deep" / "down").glob("*.db"))
