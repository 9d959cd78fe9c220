"""Where a checkout keeps what it makes: one ignored folder, so that two clones never meet."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from sentiment.errors import ConfigError

CHECKOUT = Path(__file__).resolve().parents[1]
STATE_VARIABLE = "SENTIMENT_STATE_DIR"
MODEL_TAG_VARIABLE = "SENTIMENT_MODEL_TAG"
DATABASE_VARIABLE = "DATABASE_URL"
DATABASE_FILE_VARIABLE = "DATABASE_URL_FILE"
DEFAULT_FOLDER = ".sentigate"


@dataclass(frozen=True)
class State:
    """The paths inside the state folder of one checkout."""

    folder: Path

    @property
    def zenml(self) -> Path:
        return self.folder / "zenml"

    @property
    def bentoml(self) -> Path:
        return self.folder / "bentoml"

    @property
    def mlflow_artifacts(self) -> Path:
        return self.folder / "mlflow" / "artifacts"

    @property
    def tracking_uri(self) -> str:
        """Absolute SQLite URI of the MLflow tracking store and model registry."""
        return f"sqlite:///{self.folder}/mlflow/mlflow.db"

    @property
    def database_uri(self) -> str:
        """Absolute SQLite URI of our own records, where `DATABASE_URL` names no other database."""
        return f"sqlite:///{self.folder}/sentigate.db"

    @property
    def encoders(self) -> Path:
        return self.folder / "encoders"

    @property
    def embeddings(self) -> Path:
        return self.folder / "embeddings"

    @property
    def finetuned(self) -> Path:
        """Fine-tuned weights by the digest of what made them, and the checkpoints of what is under way."""
        return self.folder / "finetuned"

    @property
    def scratch(self) -> Path:
        """Where bundles are made before ZenML's store has them; removed when a run ends."""
        return self.folder / "scratch"

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger.jsonl"

    @property
    def signing(self) -> Path:
        """The key that signs decisions, those that are trusted, and where the ledger ends."""
        return self.folder / "signing"

    @property
    def move(self) -> Path:
        """What a promotion or rollback is about to write down; gone when it has."""
        return self.folder / "move.json"

    @property
    def move_lock(self) -> Path:
        return self.folder / "move.lock"

    @property
    def run_lock(self) -> Path:
        return self.folder / "run.lock"

    @property
    def spool(self) -> Path:
        """Where entries of the prediction log wait for the database."""
        return self.folder / "spool"

    @property
    def serving(self) -> Path:
        """What running services serve after a reload: a folder per server."""
        return self.folder / "serving"

    @property
    def production(self) -> Path:
        """The pointer that a service started in this checkout reads: the tag of the model in production."""
        return self.folder / "production.json"


def locate_state() -> State:
    """Return the state folder: `SENTIMENT_STATE_DIR` where it is set, else `.sentigate` in the checkout."""
    return State(Path(os.environ.get(STATE_VARIABLE) or CHECKOUT / DEFAULT_FOLDER).expanduser().resolve())


def locate_database() -> str:
    """Return the SQLAlchemy URL of our own records: `DATABASE_URL`, else SQLite in the state folder.

    `DATABASE_URL_FILE` names a file that holds the URL, as secrets are mounted. Raises ConfigError when it cannot be
    read, or when both are set.
    """
    url, file = os.environ.get(DATABASE_VARIABLE), os.environ.get(DATABASE_FILE_VARIABLE)
    if url and file:
        raise ConfigError(f"{DATABASE_VARIABLE} and {DATABASE_FILE_VARIABLE} are both set; wanted one of them.")
    if file:
        return _read_database_url(Path(file))
    return url or locate_state().database_uri


def _read_database_url(file: Path) -> str:
    try:
        url = file.expanduser().read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise ConfigError(
            f"{DATABASE_FILE_VARIABLE} names {str(file)!r}, which cannot be read ({reason});"
            " wanted a file that holds the URL of a database."
        ) from error
    if not url:
        raise ConfigError(
            f"{DATABASE_FILE_VARIABLE} names {str(file)!r}, which is empty; wanted the URL of a database in it."
        )
    return url


def make_scratch_folder() -> Path:
    """Return a new, empty folder that lasts as long as the run."""
    scratch = locate_state().scratch
    scratch.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(dir=scratch))


def list_environment(state: State) -> dict[str, str]:
    """Return the variables that point ZenML, MLflow and BentoML at the state folder, telemetry off."""
    return {
        STATE_VARIABLE: str(state.folder),
        "ZENML_CONFIG_PATH": str(state.zenml),
        "ZENML_ANALYTICS_OPT_IN": "false",
        "BENTOML_HOME": str(state.bentoml),
        "BENTOML_DO_NOT_TRACK": "True",
        "MLFLOW_TRACKING_URI": state.tracking_uri,
        "MLFLOW_BACKEND_STORE_URI": state.tracking_uri,  # what `mlflow ui` reads
        # Without it MLflow puts the files of a new experiment into ./mlruns of the current folder.
        "_MLFLOW_SERVER_ARTIFACT_ROOT": str(state.mlflow_artifacts),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SKIP_PIP_REQUIREMENTS_CHECK": "true",
    }
