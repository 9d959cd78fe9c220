"""What a built Bento holds."""

import os
import subprocess
import sys

from sentiment.paths import CHECKOUT

BUILD = """
import sys
from pathlib import Path
from release.bento_store import build_bento, store_model
from tests.conftest import make_tiny_bundle
store_model(make_tiny_bundle(Path(sys.argv[1])), "sentiment:tiny")
build_bento("sentiment:tiny")
"""


def test_the_files_of_a_bento_stay(tmp_path, snapshot):
    """A Bento is served where there is no checkout: what it lacks is missed there, what it has too much is shipped."""
    environment = {**os.environ, "BENTOML_HOME": str(tmp_path / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}
    environment["SENTIMENT_STATE_DIR"] = str(tmp_path / "state")
    command = [sys.executable, "-c", BUILD, str(tmp_path / "tiny")]
    subprocess.run(command, cwd=CHECKOUT, env=environment, check=True, capture_output=True)

    folder = tmp_path / "bentoml" / "bentos" / "sentigate" / "tiny"
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert "\n".join(files) == snapshot
