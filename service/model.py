"""Which model this service answers from, and where its bundle lies."""

import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import bentoml
import yaml
from bentoml.exceptions import BentoMLException

from sentiment.admission import admit_bundle
from sentiment.bundle import BUNDLE_FILES, CARD_FILE, SIGNATURE_FILE, Bundle, open_bundle, read_card
from sentiment.errors import BundleError, SentimentError
from sentiment.signatures import load_public_keys, verify_signature
from sentiment.state import MODEL_TAG_VARIABLE, locate_state
from service.schemas import ReloadRequest

MAX_BUNDLE_BYTES = 2_000_000_000
CHUNK_BYTES = 1_000_000
VERSION_LENGTH = 12
REGISTERED = "sentiment"

PROJECT = Path(__file__).resolve().parents[1]


def find_model_tag() -> str:
    """Return the exact tag of the model in BentoML's store.

    A built Bento names the one it was built with; a checkout serves what is in production there;
    `SENTIMENT_MODEL_TAG` goes before both. Raises BentoMLException when nothing is in production.
    """
    return _find_named() or read_production_tag()


def find_admitted_tag(*, signed: bool = False) -> str:
    """Return the tag of the model to serve; of what is in production in a checkout, once its files were admitted.

    Where it is to be `signed`, a trusted key signed it. Raises BentoMLException when nothing is in production, or its
    files may not be served.
    """
    tag = find_model_tag()
    if not _find_named():
        _check_stored(tag, admit_bundle)
    if signed:
        _check_stored(tag, lambda folder: check_signed(open_bundle(folder)))
    return tag


def check_signed(bundle: Bundle) -> None:
    """Raise SignatureError when no trusted key signed that these files passed the gate, or were forced."""
    verify_signature(bundle.folder, bundle.card.digest, load_public_keys())


def _check_stored(tag: str, check: Callable[[Path], object]) -> None:
    folder = Path(bentoml.models.get(tag).path)
    try:
        check(folder)
    except SentimentError as error:
        raise BentoMLException(f"{tag} is not served: {error}") from error


def _find_named() -> str:
    if named := os.environ.get(MODEL_TAG_VARIABLE):
        return named
    bento = PROJECT.parent / "bento.yaml"
    if bento.is_file():
        (service,) = yaml.safe_load(bento.read_text(encoding="utf-8"))["services"]
        return str(service["models"][0]["tag"])
    return ""


def read_production_tag() -> str:
    """Return the tag that the state folder points to. Raises BentoMLException when nothing is in production."""
    pointer = locate_state().production
    if not pointer.is_file():
        raise BentoMLException(
            "no model is in production in this checkout; train one with `make train`,"
            f" or name one from `bentoml models list` in {MODEL_TAG_VARIABLE}."
        )
    try:
        return str(json.loads(pointer.read_text(encoding="utf-8"))["tag"])
    except (ValueError, KeyError, TypeError) as error:
        raise BentoMLException(
            f"the pointer to the model in production, {pointer}, cannot be read; train again with `make train`,"
            f" or name a model from `bentoml models list` in {MODEL_TAG_VARIABLE}."
        ) from error


def fetch_model(wanted: ReloadRequest, folder: Path) -> tuple[Path, str]:
    """Return the folder of the bundle to serve, copied into `folder` unless BentoML's store keeps it, and its version.

    Raises BundleError when there is none.
    """
    if wanted.folder is None and wanted.uri is None:
        try:
            tag = read_production_tag() if wanted.version is None else find_version_tag(wanted.version)
            version = tag.partition(":")[2]
            if not version:
                raise BundleError(f"{tag!r} names no version; train again with `make train`.")
            if wanted.version is None:
                _check_stored(tag, admit_bundle)
            return Path(bentoml.models.get(tag).path), version
        except BentoMLException as error:
            raise BundleError(str(error)) from error
    folder.mkdir(parents=True, exist_ok=True)
    fetch = _copy_from(Path(wanted.folder)) if wanted.folder is not None else _download_from(str(wanted.uri))
    try:
        fetch(CARD_FILE, folder / CARD_FILE)
        for name in read_card(folder).digests:
            fetch(name, folder / name)
        with suppress(BundleError):  # there may be none
            fetch(SIGNATURE_FILE, folder / SIGNATURE_FILE)
        return folder, open_bundle(folder).card.digest[:VERSION_LENGTH]
    except BundleError:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def find_version_tag(version: str) -> str:
    """Return the tag in BentoML's store of a version: 3, or with its digest, 3-7dfa72db3c90."""
    stored = [str(model.tag) for model in bentoml.models.list(REGISTERED)]
    found = [tag for tag in stored if tag.split(":")[1] == version or tag.split(":")[1].startswith(f"{version}-")]
    if len(found) != 1:
        raise BundleError(
            f"this machine has {len(found)} models of version {version[:40]!r}; wanted one of those that"
            f" `bentoml models list {REGISTERED}` names."
        )
    return found[0]


def _copy_from(origin: Path) -> Callable[[str, Path], object]:
    def copy(name: str, destination: Path) -> None:
        try:
            shutil.copyfile(origin / name, destination)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise BundleError(
                f"{str(origin)!r} is not a model bundle that can be read: {name}: {reason};"
                f" wanted {', '.join(BUNDLE_FILES)}."
            ) from error

    return copy


def _copy_bounded(source: BinaryIO, name: str, destination: Path) -> None:
    """Copy a file whose size nobody promised. Raises BundleError once it is over the limit."""
    copied = 0
    with destination.open("wb") as target:
        while chunk := source.read(CHUNK_BYTES):
            copied += len(chunk)
            if copied > MAX_BUNDLE_BYTES:
                raise BundleError(f"{name} has over {MAX_BUNDLE_BYTES:,} bytes, the limit; name another bundle.")
            target.write(chunk)


def _require_bounded(size: int, name: str) -> None:
    """Raise BundleError when a file says that it is over the limit."""
    if size > MAX_BUNDLE_BYTES:
        raise BundleError(f"{name} has {size:,} bytes, the limit is {MAX_BUNDLE_BYTES:,}; name another bundle.")


def _download_from(uri: str) -> Callable[[str, Path], object]:
    from fsspec.core import url_to_fs

    def download(name: str, destination: Path) -> None:
        try:
            filesystem, path = url_to_fs(uri.rstrip("/"))
            size = filesystem.info(f"{path}/{name}").get("size") or 0
            _require_bounded(size, name)
            # Without blocks a web server is read as it sends, so that it need not know ranges or name a size.
            with filesystem.open(f"{path}/{name}", "rb", block_size=0) as source:
                _copy_bounded(source, name, destination)
        except BundleError:
            raise
        except Exception as error:  # each kind of filesystem has errors of its own, of which many are no OSError
            raise BundleError(
                f"{name} cannot be fetched from the URI ({type(error).__name__}); wanted a folder that this service"
                f" reaches with {', '.join(BUNDLE_FILES)} in it."
            ) from error

    return download
