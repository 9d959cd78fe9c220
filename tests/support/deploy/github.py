"""Stands for `gh attestation verify`: what was signed by which workflow of which ref, and nothing else, verifies."""

from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = "owner/sentigate"
SCRIPT = """#!/bin/sh
[ "$1 $2 ${10}" = "attestation verify --deny-self-hosted-runners" ] || exit 2
grep -qxF "$3 $5 $7 $9" "$(dirname "$0")/signed" && exit 0
echo "Error: no attestation matches" >&2
exit 1
"""


@dataclass(frozen=True)
class GitHub:
    """A folder on PATH with a `gh` that knows what was signed."""

    folder: Path

    def sign(self, image: str, workflow: str, *, ref: str = "refs/heads/main", repository: str = REPOSITORY) -> None:
        """Let a workflow have signed an image, which is named by digest."""
        with (self.folder / "signed").open("a") as signed:
            signed.write(f"oci://{image} {repository} {ref} {repository}/.github/workflows/{workflow}\n")


def put_on_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> GitHub:
    """Return a GitHub that nothing was signed at; its `gh` is the first on PATH."""
    folder.mkdir()
    (folder / "signed").touch()
    (folder / "gh").write_text(SCRIPT)
    (folder / "gh").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return GitHub(folder)
