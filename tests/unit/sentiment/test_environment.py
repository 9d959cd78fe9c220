"""The variables that keep the libraries in the state folder."""

from sentiment.environment import list_environment
from sentiment.paths import STATE_VARIABLE, StateFolder, locate_state


def test_the_environment_points_every_library_at_the_state(tmp_path):
    """ZenML, MLflow and BentoML keep their files in the state folder."""
    environment = list_environment(StateFolder(tmp_path))
    homes = ("ZENML_CONFIG_PATH", "BENTOML_HOME", "MLFLOW_TRACKING_URI", "_MLFLOW_SERVER_ARTIFACT_ROOT")
    assert all(str(tmp_path) in environment[home] for home in homes)


def test_the_environment_turns_telemetry_off(tmp_path):
    """No library reports home."""
    environment = list_environment(StateFolder(tmp_path))
    assert environment["ZENML_ANALYTICS_OPT_IN"] == "false"
    assert environment["BENTOML_DO_NOT_TRACK"] == "True"
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_a_child_process_finds_the_same_state(monkeypatch, tmp_path):
    """The environment of one state leads back to that state."""
    monkeypatch.setenv(STATE_VARIABLE, list_environment(StateFolder(tmp_path / "mine"))[STATE_VARIABLE])
    assert locate_state() == StateFolder(tmp_path / "mine")


def test_the_environment_is_text_alone(tmp_path):
    """Every variable can be handed to a process as it is."""
    assert {type(value) for value in list_environment(StateFolder(tmp_path)).values()} == {str}


def test_two_checkouts_share_no_path(tmp_path):
    """Two state folders have no value of the environment in common but the switches."""
    one, two = (set(list_environment(StateFolder(tmp_path / name)).values()) for name in ("one", "two"))
    assert one & two == {"false", "True", "true"}


def test_mlflow_still_reads_the_variable_of_its_server(tmp_path):
    """The variable is MLflow's own: where it is called something else, files of runs go astray."""
    from mlflow.server.constants import ARTIFACT_ROOT_ENV_VAR

    assert ARTIFACT_ROOT_ENV_VAR in list_environment(StateFolder(tmp_path)), (
        f"MLflow now reads {ARTIFACT_ROOT_ENV_VAR}: set it in sentiment/environment.py"
    )
