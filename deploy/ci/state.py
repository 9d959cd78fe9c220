"""`python -m deploy.ci.state`: keep the registry and ledger of a checkout in a container registry between CI runs.

A runner starts with nothing, and the gate needs the champion, its holdout's count of decisions and the ledger. They go
into an image without a system, one layer that is a tar of those files, because whoever deploys images has a registry.
"""

import gzip
import io
import json
import re
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import click
from filelock import FileLock, Timeout

from deploy.cli_errors import SentenceGroup
from deploy.images.attestations import MAKERS_OF_STATES, require_attestation
from deploy.images.registry import copy, find_digest
from sentiment.errors import BusyError, DeployError
from sentiment.governance.ledger import HEAD_FILE, SIGNING, read_entries
from sentiment.governance.signatures import load_public_keys
from sentiment.paths import STATE_VARIABLE, StateFolder, locate_state

# Embeddings, encoders, fine-tuned weights and ZenML's store are made again; they hold gigabytes and rows of data.
# The end of the ledger goes along; the keys never do: whoever may write this state could change both.
KEPT = ("mlflow", "bentoml/models", "bentoml/bentos", "ledger.jsonl", f"{SIGNING}/{HEAD_FILE}", "production.json")
DATABASE = "mlflow/mlflow.db"
FOLDER_LABEL = "sentigate.state.folder"
LEDGER_LABEL = "sentigate.state.ledger-lines"
OCI = "application/vnd.oci.image"
PLACE_OF_TAG = re.compile(r"(:[\w.-]+)?(@sha256:[0-9a-f]{64})?$")


def save_state(state: StateFolder, name: str, expected: str) -> str:
    """Keep the state under a name in a registry; return its digest there.

    `expected` is the digest that was restored, empty where there was none. Raises DeployError when another state was
    saved meanwhile, so that no decision is lost.
    """
    if not (state.folder / DATABASE).is_file():
        raise DeployError(f"{state.folder} has no registry to save; `make train` makes one.")
    read_entries(state.ledger)
    found = find_digest(name) or ""
    if found != expected:
        raise DeployError(
            f"{name} was not saved: it is {found or 'gone'} by now, and this state was made from"
            f" {expected or 'nothing'}; restore it again and repeat what was done, so that no decision is lost."
        )
    with hold_lock(state), tempfile.TemporaryDirectory() as scratch:
        layout = Path(scratch) / "layout"
        write_layout(state, layout)
        return copy(f"oci:{layout}", f"docker://{name}")


def restore_state(state: StateFolder, name: str, *, first: bool, attested_by: str = "") -> str:
    """Bring the state that a registry keeps into an empty folder; return its digest.

    `first` says that there may be none yet: then the digest is empty. `attested_by` names the repository whose
    workflows must have made it. Raises DeployError for anything else, since a state that is missed by mistake, or
    another's, would let any model pass the gate, and LedgerError for a ledger that no trusted key signed to its end.
    """
    if state.ledger.exists() or (state.folder / DATABASE).exists():
        raise DeployError(
            f"{state.folder} has a registry of its own, which is not written over; name an empty folder by"
            f" {STATE_VARIABLE}."
        )
    digest = find_digest(name)
    if digest is None and first:
        return ""
    if digest is None:
        raise DeployError(f"there is no {name}; where there was none yet, say so with --first.")
    if first:
        raise DeployError(f"there is {name} already, so that this is not the first; leave out --first.")
    exact = f"{PLACE_OF_TAG.sub('', name)}@{digest}"  # the tag may move meanwhile
    if attested_by:
        require_attestation(exact, attested_by, MAKERS_OF_STATES)
    with hold_lock(state), tempfile.TemporaryDirectory(dir=state.folder) as scratch:
        layout = Path(scratch) / "layout"
        copy(f"docker://{exact}", f"oci:{layout}")
        unpacked = Path(scratch) / "state"
        unpack_layout(layout, unpacked, state.folder)
        read_entries(unpacked / state.ledger.name, load_public_keys(state.signing))
        for kept in KEPT:
            if (unpacked / kept).exists():
                (state.folder / kept).parent.mkdir(parents=True, exist_ok=True)
                shutil.rmtree(state.folder / kept, ignore_errors=True)
                (unpacked / kept).rename(state.folder / kept)
    return digest


@contextmanager
def hold_lock(state: StateFolder) -> Iterator[None]:
    """Hold the lock of this checkout. Raises BusyError when a run has it."""
    state.folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(state.run_lock, timeout=0):
            yield
    except Timeout as error:
        raise BusyError(
            f"a run is at work in this checkout (it holds {state.run_lock}); wait until it ends."
        ) from error


def write_layout(state: StateFolder, layout: Path) -> None:
    """Write an OCI layout with one layer that holds what is kept."""
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    packed = blobs / "layer"
    with tempfile.TemporaryDirectory() as scratch:
        plain = Path(scratch) / "layer.tar"
        with tarfile.open(plain, "w") as tar:
            for kept in KEPT:
                if (state.folder / kept).exists():
                    tar.add(state.folder / kept, kept, filter=_leave_database)
            copied = Path(scratch) / "mlflow.db"
            with closing(sqlite3.connect(state.folder / DATABASE)) as live, closing(sqlite3.connect(copied)) as copy_:
                live.backup(copy_)
            tar.add(copied, DATABASE)
        unpacked_digest = _digest(plain)
        with plain.open("rb") as read, gzip.GzipFile(packed, "wb", compresslevel=1, mtime=0) as write:
            shutil.copyfileobj(read, write, 1 << 20)
    layer = {"mediaType": f"{OCI}.layer.v1.tar+gzip", **_name(packed)}
    labels = {FOLDER_LABEL: str(state.folder), LEDGER_LABEL: str(_count_lines(state.ledger))}
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Labels": labels},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{unpacked_digest}"]},
    }
    described = {"mediaType": f"{OCI}.config.v1+json", **_write_blob(blobs, config)}
    kind = {"mediaType": f"{OCI}.manifest.v1+json"}
    manifest = {"schemaVersion": 2, **kind, "config": described, "layers": [layer]}
    index = {"schemaVersion": 2, "manifests": [{**kind, **_write_blob(blobs, manifest)}]}
    (layout / "index.json").write_text(json.dumps(index))
    (layout / "oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}))


def unpack_layout(layout: Path, target: Path, folder: Path) -> None:
    """Unpack the layer of a layout. Raises DeployError when it is no state, or one of another folder."""
    blobs = layout / "blobs" / "sha256"
    try:
        (described,) = json.loads((layout / "index.json").read_text())["manifests"]
        manifest = _read_blob(blobs, described)
        labels = _read_blob(blobs, manifest["config"])["config"]["Labels"]
        made_in = labels[FOLDER_LABEL]
        (layer,) = manifest["layers"]
    except (KeyError, TypeError, ValueError) as error:
        raise DeployError("what the registry keeps there is an image, and no state that was saved.") from error
    if made_in != str(folder):
        raise DeployError(
            f"this state was made in {made_in}, and its registry names files there; restore it there, with"
            f" {STATE_VARIABLE}={made_in}, not in {folder}."
        )
    with tarfile.open(blobs / layer["digest"].partition(":")[2]) as tar:
        tar.extractall(target, filter="data")


def _leave_database(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Leave out the database and what SQLite keeps beside it; a copy of one moment takes its place."""
    return None if entry.name.startswith(DATABASE) else entry


def _count_lines(ledger: Path) -> int:
    return len(ledger.read_bytes().splitlines()) if ledger.exists() else 0


def _write_blob(blobs: Path, content: object) -> dict[str, str | int]:
    file = blobs / "blob"
    file.write_text(json.dumps(content))
    return _name(file)


def _read_blob(blobs: Path, described: dict[str, str]) -> Any:
    return json.loads((blobs / described["digest"].partition(":")[2]).read_text())


def _name(file: Path) -> dict[str, str | int]:
    """Name a blob by its digest, as a layout has it."""
    digest = _digest(file)
    file.rename(file.with_name(digest))
    return {"digest": f"sha256:{digest}", "size": file.with_name(digest).stat().st_size}


def _digest(file: Path) -> str:
    digest = sha256()
    with file.open("rb") as read:
        while chunk := read.read(io.DEFAULT_BUFFER_SIZE * 64):
            digest.update(chunk)
    return digest.hexdigest()


@click.group(cls=SentenceGroup)
def main() -> None:
    """Keep the registry and the ledger in a container registry."""


@main.command()
@click.argument("name")
@click.option("--expected", default="", help="Digest that was restored; nothing where there was none.")
def save(name: str, expected: str) -> None:
    """Save the state of this checkout as NAME, such as ghcr.io/owner/sentigate/state:main; print its digest."""
    click.echo(save_state(locate_state(), name, expected))


@main.command()
@click.argument("name")
@click.option("--first", is_flag=True, help="There is none yet.")
@click.option("--attested-by", default="", help="OWNER/NAME on GitHub, whose workflows must have saved it.")
def restore(name: str, first: bool, attested_by: str) -> None:
    """Restore NAME into the empty state folder of this checkout; print its digest."""
    click.echo(restore_state(locate_state(), name, first=first, attested_by=attested_by))


if __name__ == "__main__":
    main()
