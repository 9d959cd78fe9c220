"""The model registry: versions of bundles in MLflow and the aliases that say which one is what."""

from collections.abc import Callable
from pathlib import Path

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.protos import databricks_pb2 as codes
from mlflow.tracking import MlflowClient

from sentiment.bundle.bundle import SIGNATURE_FILE, Bundle, open_bundle
from sentiment.errors import RegistryError
from sentiment.model_name import MODEL, ModelName

PRODUCTION, PREVIOUS, STAGING = "production", "previous", "staging"
BUNDLE_FOLDER = "bundle"
NOT_FOUND = [codes.ErrorCode.Name(code) for code in (codes.RESOURCE_DOES_NOT_EXIST, codes.INVALID_PARAMETER_VALUE)]


def find_version(alias: str) -> ModelVersion | None:
    """Return the version behind an alias, or None where there is none."""
    return _find(MlflowClient().get_model_version_by_alias, alias)


def find_bundle(model: str) -> tuple[Bundle, str]:
    """Return the bundle of a version, an alias or a folder, and its version, empty for a folder.

    Raises RegistryError or BundleError when there is none.
    """
    if "/" in model or Path(model).is_dir():
        return open_bundle(Path(model).expanduser()), ""
    try:
        version = _look_up(model)
    except RegistryError as error:
        raise RegistryError(f"{error} A folder with a bundle works too.") from error
    return fetch_bundle(version), str(version.version)


def require_version(wanted: str) -> ModelVersion:
    """Return a version by its number or an alias, with its tags. Raises RegistryError that names what there is."""
    return identify_version(_look_up(wanted))


def _look_up(wanted: str) -> ModelVersion:
    version = _find(MlflowClient().get_model_version, wanted) if wanted.isdigit() else find_version(wanted)
    if version is None:
        raise RegistryError(f"the registry has no version or alias {wanted!r} of {MODEL!r}; it has {_list_known()}.")
    return version


def identify_version(version: ModelVersion) -> ModelVersion:
    """Return a version that has the tags of its bundle; one that was registered by hand gets them now."""
    if "digest" in version.tags:
        return version
    card = fetch_bundle(version).card
    tag_version(str(version.version), candidate=card.candidate, dataset=card.dataset, digest=card.digest)
    return MlflowClient().get_model_version(MODEL, version.version)


def fetch_bundle(version: ModelVersion) -> Bundle:
    """Return the bundle of a version. Raises RegistryError or BundleError when it cannot be had whole."""
    try:
        folder = mlflow.artifacts.download_artifacts(artifact_uri=version.source)
    except (MlflowException, OSError) as error:
        raise RegistryError(
            f"the files of {MODEL} version {version.version} cannot be fetched from {version.source};"
            " restore them, or roll back to a version that has its files."
        ) from error
    return open_bundle(Path(folder))


def log_bundle(bundle: Bundle) -> str:
    """Log the bundle in the active MLflow run; return the URI of its folder there."""
    mlflow.log_artifacts(str(bundle.folder), BUNDLE_FOLDER)
    return str(mlflow.get_artifact_uri(BUNDLE_FOLDER))


def log_signature(version: ModelVersion, bundle: Bundle) -> None:
    """Log the signature of a bundle beside it, in the run that logged it, where there was one."""
    if version.run_id:
        MlflowClient().log_artifact(version.run_id, str(bundle.folder / SIGNATURE_FILE), BUNDLE_FOLDER)


def register_bundle(bundle: Bundle, uri: str, run_id: str, outcome: str = "") -> ModelVersion:
    """Register a logged bundle, with what the gate said, as the next version; no alias points to it yet."""
    client = MlflowClient()
    try:
        client.create_registered_model(MODEL)
    except MlflowException as error:
        if error.error_code != codes.ErrorCode.Name(codes.RESOURCE_ALREADY_EXISTS):
            raise
    card = bundle.card
    tags = {"candidate": card.candidate, "dataset": card.dataset, "digest": card.digest, "gate.outcome": outcome}
    return client.create_model_version(MODEL, uri, run_id=run_id, tags=tags)


def name_version(version: ModelVersion) -> ModelName:
    """Return the name of a version that has the tags of its bundle."""
    return ModelName(str(version.version), version.tags["digest"])


def point_alias(alias: str, version: str | None) -> None:
    """Point an alias to a version, or remove it."""
    if version is None:
        MlflowClient().delete_registered_model_alias(MODEL, alias)
    else:
        MlflowClient().set_registered_model_alias(MODEL, alias, version)


def tag_version(version: str, **tags: str) -> None:
    """Write tags on a version, for those who look at it in MLflow."""
    for name, value in tags.items():
        MlflowClient().set_model_version_tag(MODEL, version, name, value)


def read_alias(alias: str) -> str | None:
    """Return the number of the version behind an alias, or None where there is none."""
    version = find_version(alias)
    return str(version.version) if version else None


def _find(get: Callable[[str, str], ModelVersion], wanted: str) -> ModelVersion | None:
    try:
        return get(MODEL, wanted)
    except MlflowException as error:
        if error.error_code in NOT_FOUND:
            return None
        raise


def _list_known() -> str:
    versions = MlflowClient().search_model_versions(f"name='{MODEL}'")
    if not versions:
        return "none yet, `make train` makes the first"
    aliases = [alias for alias in (PRODUCTION, PREVIOUS, STAGING) if find_version(alias)]
    return ", ".join(["versions " + ", ".join(sorted((str(item.version) for item in versions), key=int)), *aliases])
