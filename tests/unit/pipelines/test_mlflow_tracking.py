"""Which MLflow a run writes to."""

import pytest

from pipelines.mlflow_tracking import CREDENTIALS, VARIABLE, describe_tracking
from sentiment.paths import locate_state


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch):
    for name in (VARIABLE, *(f"MLFLOW_{name.upper()}" for name in CREDENTIALS)):
        monkeypatch.delenv(name, raising=False)


def test_without_a_server_runs_stay_in_the_checkout():
    assert describe_tracking() == {"tracking_uri": locate_state().tracking_uri}


def test_a_server_that_asks_for_nothing_is_given_a_token_that_means_nothing(monkeypatch):
    """ZenML refuses a remote server without one."""
    monkeypatch.setenv(VARIABLE, "http://localhost:5000")
    assert describe_tracking() == {"tracking_uri": "http://localhost:5000", "tracking_token": "none"}


def test_a_server_is_given_the_name_and_password_of_the_environment(monkeypatch):
    monkeypatch.setenv(VARIABLE, "https://mlflow.example.org")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "lovelace")
    assert describe_tracking() == {
        "tracking_uri": "https://mlflow.example.org",
        "tracking_username": "ada",
        "tracking_password": "lovelace",
    }
