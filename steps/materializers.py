"""How our own values are kept in ZenML's artefact store: files for bundles and datasets, JSON for records."""

import io
import json
import os
import tempfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from pydantic import TypeAdapter
from zenml.enums import ArtifactType
from zenml.io import fileio
from zenml.materializers.base_materializer import BaseMaterializer

from release.journal import ProductionChange
from sentiment.bundle.bundle import CARD_FILE, Bundle, open_bundle, read_card
from sentiment.data.datasets import Dataset
from sentiment.evaluation.behaviour import BehaviourReport
from sentiment.evaluation.predictions import Predictions
from sentiment.governance.canary_rule import Verdict
from sentiment.governance.gate import Decision


class BundleMaterializer(BaseMaterializer):
    """Keeps the files of a bundle; a bundle in a local store is opened where it lies."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (Bundle,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.MODEL

    def save(self, data: Bundle) -> None:
        """Copy the files to the store."""
        for name in data.card.files:
            fileio.copy(str(data.folder / name), os.path.join(self.uri, name), overwrite=True)

    def load(self, data_type: type[Bundle]) -> Bundle:  # noqa: ARG002
        """Return the checked bundle."""
        if Path(self.uri).is_dir():
            return open_bundle(Path(self.uri))
        folder = Path(tempfile.mkdtemp(prefix="bundle-"))
        fileio.copy(os.path.join(self.uri, CARD_FILE), str(folder / CARD_FILE))
        for name in read_card(folder).digests:
            fileio.copy(os.path.join(self.uri, name), str(folder / name))
        return open_bundle(folder)


class DatasetMaterializer(BaseMaterializer):
    """Keeps a dataset as Parquet beside its name."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (Dataset,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA

    def save(self, data: Dataset) -> None:
        """Write rows and name to the store."""
        with tempfile.TemporaryDirectory() as scratch:
            rows = Path(scratch) / "rows.parquet"
            data.frame.to_parquet(rows)
            fileio.copy(str(rows), os.path.join(self.uri, rows.name))
        with fileio.open(os.path.join(self.uri, "name.json"), "w") as file:
            file.write(json.dumps(data.name))

    def load(self, data_type: type[Dataset]) -> Dataset:  # noqa: ARG002
        """Return the dataset."""
        with fileio.open(os.path.join(self.uri, "name.json"), "r") as file:
            name = json.loads(file.read())
        with fileio.open(os.path.join(self.uri, "rows.parquet"), "rb") as file:
            return Dataset(name, pd.read_parquet(file))


class PredictionsMaterializer(BaseMaterializer):
    """Keeps a model's answers as two arrays beside what they answer."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (Predictions,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA

    def save(self, data: Predictions) -> None:
        """Write arrays and names to the store."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, probabilities=data.probabilities, targets=data.targets)
        with fileio.open(os.path.join(self.uri, "answers.npz"), "wb") as file:
            file.write(buffer.getvalue())
        with fileio.open(os.path.join(self.uri, "names.json"), "w") as file:
            file.write(json.dumps([data.bundle_digest, data.dataset_digest, list(data.labels)]))

    def load(self, data_type: type[Predictions]) -> Predictions:  # noqa: ARG002
        """Return the answers."""
        with fileio.open(os.path.join(self.uri, "names.json"), "r") as file:
            bundle_digest, dataset_digest, labels = json.loads(file.read())
        with fileio.open(os.path.join(self.uri, "answers.npz"), "rb") as file:
            arrays = np.load(io.BytesIO(file.read()))
        return Predictions(bundle_digest, dataset_digest, tuple(labels), arrays["probabilities"], arrays["targets"])


class RecordMaterializer(BaseMaterializer):
    """Keeps a frozen record as JSON."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (BehaviourReport, Decision, ProductionChange, Verdict)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA

    def save(self, data: Any) -> None:
        """Write the record to the store."""
        with fileio.open(os.path.join(self.uri, "record.json"), "wb") as file:
            file.write(TypeAdapter(type(data)).dump_json(data, indent=2))

    def load(self, data_type: type[Any]) -> Any:
        """Return the record."""
        with fileio.open(os.path.join(self.uri, "record.json"), "rb") as file:
            return TypeAdapter(data_type).validate_json(file.read())
