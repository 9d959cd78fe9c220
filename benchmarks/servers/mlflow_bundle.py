"""Our bundle as an MLflow model, for `mlflow models serve`."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import mlflow.pyfunc

from sentiment.bundle.predictor import open_predictor


class SentimentModel(mlflow.pyfunc.PythonModel):  # type: ignore[name-defined]
    """Answers lists of texts."""

    def load_context(self, context: Any) -> None:
        """Open the bundle."""
        self.predictor = open_predictor(Path(context.artifacts["bundle"]))

    def predict(self, context: Any, model_input: list[str], params: Any = None) -> list[dict[str, Any]]:  # noqa: ARG002
        """Answer each text."""
        return [asdict(prediction) for prediction in self.predictor.predict(list(model_input))]


if __name__ == "__main__":
    bundle, folder = sys.argv[1:]
    mlflow.pyfunc.save_model(
        folder,
        python_model=SentimentModel(),
        artifacts={"bundle": bundle},
        pip_requirements=[],
    )
