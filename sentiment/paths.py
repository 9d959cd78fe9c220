"""The paths of a checkout and of its state folder: one ignored folder, so that two clones never meet."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
STATE_VARIABLE = "SENTIMENT_STATE_DIR"
DEFAULT_FOLDER = ".sentigate"


@dataclass(frozen=True)
class StateFolder:
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
    def journal(self) -> Path:
        """What a promotion or rollback is about to write down; gone when it has."""
        return self.folder / "move.json"

    @property
    def journal_lock(self) -> Path:
        return self.folder / "move.lock"

    @property
    def run_lock(self) -> Path:
        return self.folder / "run.lock"

    @property
    def spool(self) -> Path:
        """Where entries of the prediction log wait for the database."""
        return self.folder / "spool"

    @property
    def hash_key(self) -> Path:
        """The key of digests in the prediction log, where no other file is named."""
        return self.folder / "hash.key"

    @property
    def serving(self) -> Path:
        """What running services serve after a reload: a folder per server."""
        return self.folder / "serving"

    @property
    def admin_token(self) -> Path:
        return self.folder / "admin_token"

    @property
    def production(self) -> Path:
        """The pointer that a service started in this checkout reads: the tag of the model in production."""
        return self.folder / "production.json"


def locate_state() -> StateFolder:
    """Return the state folder: `SENTIMENT_STATE_DIR` where it is set, else `.sentigate` in the checkout."""
    return StateFolder(Path(os.environ.get(STATE_VARIABLE) or CHECKOUT / DEFAULT_FOLDER).expanduser().resolve())


def make_private_folder(folder: Path) -> None:
    """Make a folder and those above it, where they are missing, for their owner alone."""
    for missing in reversed([path for path in (folder, *folder.parents) if not path.is_dir()]):
        missing.mkdir(mode=0o700, exist_ok=True)


def protect_state() -> StateFolder:
    """Return the state folder, made where it is missing, for its owner alone; that of another user stays as it is."""
    state = locate_state()
    make_private_folder(state.folder)
    if state.folder.stat().st_uid == os.getuid():
        state.folder.chmod(0o700)
    return state


def make_scratch_folder() -> Path:
    """Return a new, empty folder that lasts as long as the run."""
    scratch = locate_state().scratch
    scratch.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(dir=scratch))
