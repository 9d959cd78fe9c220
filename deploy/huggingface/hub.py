"""To the hub and back: one commit with everything, or nothing."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Literal

import httpx2
from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
from huggingface_hub.hf_api import GitRefInfo

from sentiment.errors import DeployError

ENDPOINT_VARIABLE = "HF_ENDPOINT"
HOME = "https://huggingface.co"
KEPT = {".gitattributes"}
LOGIN = "log in with `hf auth login`, or set HF_TOKEN to a token that may write"

RepositoryKind = Literal["model", "space"]


@dataclass(frozen=True)
class Published:
    """Where a folder went, and whether it had been there before."""

    url: str
    commit: str
    is_new: bool


class Hub:
    """The hub, seen by one user who is logged in."""

    def __init__(self, api: HfApi) -> None:
        self._api = api

    def publish(self, folder: Path, repository: str, kind: RepositoryKind, tag: str, *, public: bool) -> Published:
        """Make the repository where there is none, and put the folder into it by one commit with a tag.

        A tag that is there already stays as it is. What a failed attempt made is removed again.
        """
        with translate_errors(self._api.endpoint, repository):
            made = self._make(repository, kind, public=public)
            try:
                tags = {ref.name: ref.target_commit for ref in self._list_tags(repository, kind)}
                if tag in tags:
                    return Published(self._address(repository, kind, tag), tags[tag], is_new=False)
                commit = self._commit(folder, repository, kind, tag)
                self._api.create_tag(repository, tag=tag, revision=commit, repo_type=kind)
            except BaseException:
                if made:
                    self._api.delete_repo(repository, repo_type=kind, missing_ok=True)
                raise
        return Published(self._address(repository, kind, tag), commit, is_new=True)

    def withdraw_model(self, repository: str) -> str:
        """Take the newest version back: its tag goes, and the files are again those of the version before it.

        The only version takes the repository with it. Returns one sentence on what was done.
        """
        with translate_errors(self._api.endpoint, repository):
            versions = {ref.target_commit: ref.name for ref in self._list_tags(repository, "model")}
            order = [item.commit_id for item in self._api.list_repo_commits(repository) if item.commit_id in versions]
            if not order:
                raise DeployError(f"{repository} has no version of ours; there is nothing to take back.")
            newest, *before = [versions[commit] for commit in order]
            if not before:
                self._api.delete_repo(repository)
                return f"{repository} had version {newest} alone and is gone."
            self._restore(repository, newest, before[0])
            self._api.delete_tag(repository, tag=newest)
        return f"{repository} has no version {newest} any more; its files are those of version {before[0]} again."

    def remove_space(self, repository: str) -> None:
        """Delete a Space, which stops it."""
        with translate_errors(self._api.endpoint, repository):
            self._api.delete_repo(repository, repo_type="space")

    def _make(self, repository: str, kind: RepositoryKind, *, public: bool) -> bool:
        """Return whether the repository had to be made."""
        if self._api.repo_exists(repository, repo_type=kind):
            return False
        self._api.create_repo(
            repository, repo_type=kind, private=not public, space_sdk="docker" if kind == "space" else None
        )
        return True

    def _commit(self, folder: Path, repository: str, kind: RepositoryKind, tag: str) -> str:
        # `upload_folder` may take several commits for one folder, of which a reader could see the first.
        files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
        additions = [CommitOperationAdd(name, path) for name, path in files.items()]
        stale = set(self._api.list_repo_files(repository, repo_type=kind)) - set(files) - KEPT
        deletions = [CommitOperationDelete(name) for name in sorted(stale)] if kind == "space" else []
        message = f"Version {tag}"
        commit = self._api.create_commit(repository, [*deletions, *additions], commit_message=message, repo_type=kind)
        return str(commit.oid)

    def _restore(self, repository: str, newest: str, before: str) -> None:
        """Make the files those of an earlier tag, by one commit."""
        old = set(self._api.list_repo_files(repository, revision=before)) - KEPT
        new = set(self._api.list_repo_files(repository, revision=newest)) - KEPT
        copies = [CommitOperationCopy(name, name, src_revision=before) for name in sorted(old)]
        deletions = [CommitOperationDelete(name) for name in sorted(new - old)]
        message = f"Back to version {before}"
        self._api.create_commit(repository, [*deletions, *copies], commit_message=message)

    def _list_tags(self, repository: str, kind: RepositoryKind) -> list[GitRefInfo]:
        return list(self._api.list_repo_refs(repository, repo_type=kind).tags)

    def _address(self, repository: str, kind: RepositoryKind, tag: str) -> str:
        folder = "spaces/" if kind == "space" else ""
        return f"{self._api.endpoint}/{folder}{repository}/tree/{tag}"


def open_hub() -> Hub:
    """Return the hub that `HF_ENDPOINT` names, for the user of the token. Raises DeployError when it takes none."""
    endpoint = os.environ.get(ENDPOINT_VARIABLE) or HOME
    token = get_token()
    if not token:
        raise DeployError(f"there is no token for the Hugging Face hub here; {LOGIN}.")
    api = HfApi(endpoint=endpoint, token=token)
    with translate_errors(endpoint, ""):
        api.whoami()
    return Hub(api)


@contextmanager
def translate_errors(endpoint: str, repository: str) -> Iterator[None]:
    """Turn what the client of the hub raises into a DeployError of one sentence."""
    try:
        yield
    except RepositoryNotFoundError as error:
        raise DeployError(
            f"{endpoint} has no {repository}, or this token may not see it (404); check the name."
        ) from error
    except HfHubHTTPError as error:
        raise DeployError(_describe_status(error, endpoint, repository)) from error
    except (httpx2.HTTPError, OSError) as error:
        raise DeployError(f"{endpoint} cannot be reached ({type(error).__name__}); try again when it can.") from error
    except (RuntimeError, ValueError) as error:
        if isinstance(error.__cause__, HfHubHTTPError):
            raise DeployError(_describe_status(error.__cause__, endpoint, repository)) from error
        said = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise DeployError(f"{endpoint} did not take {repository}: {said[:300]}.") from error


def _describe_status(error: HfHubHTTPError, endpoint: str, repository: str) -> str:
    status = error.response.status_code if error.response is not None else 0
    said = (error.server_message or "").strip().splitlines()
    because = f": {said[0][:200].rstrip('.')}" if said else ""
    if status == HTTPStatus.UNAUTHORIZED:
        return f"{endpoint} does not take the token (401); {LOGIN}."
    if status == HTTPStatus.PAYMENT_REQUIRED:
        return f"{endpoint} wants a paid plan for {repository} (402){because}; nothing was changed."
    if status == HTTPStatus.FORBIDDEN:
        return f"the token may not write to {repository} (403){because}; name a repository of yours, or another token."
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return f"{repository} would be larger than the hub allows (413){because}; nothing was changed."
    return f"{endpoint} refused ({status}){because}; try again."
