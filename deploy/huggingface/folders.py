"""What goes to the hub, as folders that can be looked at first."""

import shutil
from pathlib import Path

import bentoml

from deploy.huggingface.card import TEMPLATES, find_measured_score, render_model_card, render_space_card
from deploy.production import Production
from sentiment.bundle.bundle import copy_bundle
from sentiment.errors import DeployError
from sentiment.governance.ledger import read_entries
from sentiment.paths import locate_state

README = "README.md"
LOCK = "requirements.lock"


def write_model_folder(production: Production, folder: Path, repository: str, licence: str) -> None:
    """Fill an empty folder with the bundle and its model card."""
    measured = find_measured_score(production.bundle.card, read_entries(locate_state().ledger))
    copy_bundle(production.bundle, folder)
    text = render_model_card(production, measured, repository, licence)
    (folder / README).write_text(text, encoding="utf-8")


def write_space_folder(production: Production, folder: Path, repository: str, licence: str) -> None:
    """Fill an empty folder with a Docker Space: the Bento, its model inside, what it needs by digest, a Dockerfile."""
    lock = find_lock(production)
    bento = folder / "bento"
    bentoml.export_bento(production.bento, str(bento), output_format="folder")  # its model inside
    for unused in (bento / "env" / "docker", *bento.rglob("__pycache__")):
        shutil.rmtree(unused)
    shutil.copyfile(lock, folder / LOCK)
    shutil.copyfile(TEMPLATES / "Dockerfile", folder / "Dockerfile")
    (folder / README).write_text(render_space_card(production, repository, licence), encoding="utf-8")


def find_lock(production: Production) -> Path:
    """Return what a Bento needs, each package by its digests. Raises DeployError when it was built without that."""
    lock = production.bento_folder / "src" / "service" / LOCK
    if lock.is_file():
        return lock
    tag, version = production.bento, production.version
    raise DeployError(
        f"{tag} was built before Bentos had a {LOCK}; remove it with `bentoml delete {tag}`, and build it again with"
        f" `SENTIMENT_MODEL_TAG={production.model} bentoml build --version {version}`."
    )
