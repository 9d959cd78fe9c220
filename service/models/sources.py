"""The model of this service: which one it is, and the folder of its bundle."""

import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import bentoml
import yaml
from bentoml.exceptions import BentoMLException

from sentiment.bundle.bundle import Bundle, Card, open_bundle
from sentiment.bundle.trial import Patience, run_bounded
from sentiment.environment import MODEL_TAG_VARIABLE
from sentiment.errors import BundleError, ConfigError, SentimentError, SignatureError
from sentiment.governance.admission import admit_bundle
from sentiment.governance.signatures import load_public_keys, verify_signature
from sentiment.model_name import DIGEST_LENGTH, MODEL
from sentiment.paths import locate_state
from sentiment.production_pointer import ProductionPointer
from service.api.schemas import ReloadRequest
from service.models.fetch.files import fetch_files, read_local
from service.models.fetch.sources import SOURCES_VARIABLE, Location, Sources

PROJECT = Path(__file__).resolve().parents[2]


def find_model_tag() -> str:
    """Return the exact tag of the model in BentoML's store.

    `SENTIMENT_MODEL_TAG` goes first. A built Bento names the model it was built with, and a checkout serves the model
    in production. Raises ConfigError when nothing is in production.
    """
    return _find_named() or read_production_tag()


def find_admitted_tag(*, signed: bool = False) -> str:
    """Return the tag of the model to serve, after a check that the ledger admits its files.

    With `signed` a trusted key has signed it. Raises ConfigError when nothing is in production, or its files may not be
    served.
    """
    tag = find_model_tag()
    if not _find_named():
        _check_stored(tag, admit_bundle)
    if signed:
        _check_stored(tag, lambda folder: check_signed(open_bundle(folder)))
    return tag


def check_signed(bundle: Bundle) -> None:
    """Raise SignatureError unless a trusted key signed that these files passed the gate, or were forced."""
    verify_signature(bundle.folder, bundle.card.digest, load_public_keys())


def _check_stored(tag: str, check: Callable[[Path], object]) -> None:
    try:
        check(Path(bentoml.models.get(tag).path))
    except (BentoMLException, SentimentError) as error:
        raise ConfigError(f"{tag} is not served: {error}") from error


def _find_named() -> str:
    if named := os.environ.get(MODEL_TAG_VARIABLE):
        return named
    # `SentimentService.bento` is set after the import, and this names a model during it.
    # https://github.com/bentoml/BentoML/blob/v1.4.39/src/bentoml/_internal/bento/bento.py#L722
    bento = PROJECT.parent / "bento.yaml"
    if bento.is_file():
        (service,) = yaml.safe_load(bento.read_text(encoding="utf-8"))["services"]
        return str(service["models"][0]["tag"])
    return ""


def read_production_tag() -> str:
    """Return the tag that the state folder points to. Raises ConfigError when nothing is in production."""
    pointer = ProductionPointer.read(locate_state().production)
    if pointer is None:
        raise ConfigError(
            "no model is in production in this checkout; train one with `make train`,"
            f" or name one from `bentoml models list` in {MODEL_TAG_VARIABLE}."
        )
    return pointer.tag


def fetch_bundle(wanted: ReloadRequest, folder: Path, patience: Patience, sources: Sources) -> tuple[Path, str]:
    """Return the folder and the version of a bundle; it is copied into `folder` unless BentoML's store has it.

    A bundle from a folder outside the sources needs our signature. Raises BundleError if it cannot be served.
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
        except (BentoMLException, SentimentError) as error:
            raise BundleError(str(error)) from error
    location = sources.locate(wanted)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if location.scheme == "file":
            _copy_bundle(location, folder, patience, sources)
        else:
            options = (location.uri, str(folder), str(math.ceil(patience.seconds_left) or 1))
            run_bounded("service.models.fetch.files", options, patience, os.environ, "fetching the bundle")
        return folder, open_bundle(folder).card.digest[:DIGEST_LENGTH]
    except BundleError:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _copy_bundle(location: Location, folder: Path, patience: Patience, sources: Sources) -> None:
    place = sources.find_place(location)
    origin = Path("/", *location.parts)

    def check(card: Card) -> None:
        if place is None:
            try:
                verify_signature(folder, card.digest, load_public_keys())
            except (ConfigError, SignatureError) as error:
                raise BundleError(
                    f"{str(origin)!r:.200} is in none of the places that {SOURCES_VARIABLE} names, and {error}"
                ) from error

    root = place.folder if place else location.folder
    fetch_files(read_local(origin, root, lambda: not patience.is_over), folder, check)


def find_version_tag(version: str) -> str:
    """Return the tag in BentoML's store of a version such as 3 or, with its digest, 3-7dfa72db3c90."""
    stored = [str(model.tag) for model in bentoml.models.list(MODEL)]
    found = [tag for tag in stored if tag.split(":")[1] == version or tag.split(":")[1].startswith(f"{version}-")]
    if len(found) != 1:
        raise BundleError(
            f"this machine has {len(found)} models of version {version[:40]!r}; wanted one of those that"
            f" `bentoml models list {MODEL}` names."
        )
    return found[0]
