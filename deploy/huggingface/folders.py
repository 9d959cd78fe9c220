"""What goes to the hub, as folders that can be looked at first."""

import shutil
from pathlib import Path

from deploy.huggingface.card import TEMPLATES, find_measured, render_model_card, render_space_card
from deploy.production import Production
from sentiment.bundle import copy_bundle
from sentiment.errors import DeployError
from sentiment.ledger import read_entries
from sentiment.state import CHECKOUT, locate_state

README = "README.md"
LOCK = "requirements.lock"
SERVICE = Path("service")


def write_model_folder(production: Production, folder: Path, repository: str, licence: str) -> None:
    """Fill an empty folder with the bundle and its model card."""
    measured = find_measured(production.bundle.card, read_entries(locate_state().ledger))
    copy_bundle(production.bundle, folder)
    text = render_model_card(production, measured, repository, licence)
    (folder / README).write_text(text, encoding="utf-8")


def write_space_folder(production: Production, folder: Path, repository: str, licence: str) -> None:
    """Fill an empty folder with a Docker Space: the Bento, its model inside, what it needs by digest, a Dockerfile."""
    lock = find_lock(production)
    bento = folder / "bento"
    shutil.copytree(production.bento_folder, bento, ignore=shutil.ignore_patterns("__pycache__", "docker"))
    model = bento / "models" / production.model.replace(":", "/")
    model.parent.mkdir(parents=True)
    shutil.copytree(production.model_folder, model)
    shutil.copyfile(lock, folder / LOCK)
    shutil.copyfile(TEMPLATES / "Dockerfile", folder / "Dockerfile")
    (folder / README).write_text(render_space_card(production, repository, licence), encoding="utf-8")


def find_lock(production: Production) -> Path:
    """Return the requirements with digests of a Bento: its own, or those of the checkout where it needs the same.

    Raises DeployError where there are none.
    """
    inside = production.bento_folder / "src" / SERVICE
    if (inside / LOCK).is_file():
        return inside / LOCK
    names = "requirements.txt"
    if (inside / names).read_bytes() != (CHECKOUT / SERVICE / names).read_bytes():
        raise DeployError(
            f"{production.bento} was built without {LOCK}, and needs other packages than this checkout; build it again"
            " by promoting a model."
        )
    return CHECKOUT / SERVICE / LOCK
