"""The evaluation pipeline: several models on several datasets, measured alike and compared."""

from pathlib import Path

from pipelines.base import GuardedPipeline
from sentiment.config.reader import read_evaluation_config
from sentiment.config.schema import DatasetSection, SplitSection
from steps.data import find_source
from steps.model_comparison import answer_dataset, fetch_model, load_rows, report_models


def evaluate_models(
    models: list[str], datasets: list[DatasetSection], split: SplitSection, rows: str, sample: int, seed: int
) -> None:
    """Measure every model on every dataset; a report, a run in MLflow and a row in the table for each."""
    fetched = [fetch_model(model, id=f"fetch_model_{place}") for place, model in enumerate(models)]
    for number, dataset in enumerate(datasets):
        chosen, _ = load_rows(dataset, split, rows, sample, seed, id=f"load_rows_{number}")
        answers, behaviours = [], []
        for place, (bundle, _) in enumerate(fetched):
            answered, behaviour = answer_dataset(bundle, chosen, id=f"answer_{number}_{place}")
            answers.append(answered)
            behaviours.append(behaviour)
        report_models(
            models,
            [version for _, version in fetched],
            [bundle for bundle, _ in fetched],
            answers,
            behaviours,
            chosen,
            rows,
            seed,
            id=f"report_{number}",
        )


def check_config(path: Path) -> None:
    """Raise ConfigError or DatasetError when the file would not make a run."""
    for dataset in read_evaluation_config(path).datasets:
        find_source(dataset)


evaluation_pipeline = GuardedPipeline("evaluation_pipeline", evaluate_models, check_config)
