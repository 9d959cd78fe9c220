"""The environment variables that point ZenML, MLflow and BentoML at the state folder."""

from sentiment.paths import STATE_VARIABLE, StateFolder

MODEL_TAG_VARIABLE = "SENTIMENT_MODEL_TAG"


def list_environment(state: StateFolder) -> dict[str, str]:
    """Return the variables that point ZenML, MLflow and BentoML at the state folder, telemetry off."""
    return {
        STATE_VARIABLE: str(state.folder),
        "ZENML_CONFIG_PATH": str(state.zenml),
        "ZENML_ANALYTICS_OPT_IN": "false",
        "BENTOML_HOME": str(state.bentoml),
        "BENTOML_DO_NOT_TRACK": "True",
        "MLFLOW_TRACKING_URI": state.tracking_uri,
        "MLFLOW_BACKEND_STORE_URI": state.tracking_uri,  # what `mlflow ui` reads
        # Without it MLflow puts the files of a new experiment into ./mlruns of the current folder. No public variable
        # does this, and an experiment that is made beforehand helps only those that our own pipelines name:
        # https://github.com/mlflow/mlflow/blob/v3.17.2/mlflow/tracking/_tracking_service/utils.py
        "_MLFLOW_SERVER_ARTIFACT_ROOT": str(state.mlflow_artifacts),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SKIP_PIP_REQUIREMENTS_CHECK": "true",
    }
