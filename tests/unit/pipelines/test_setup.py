"""What set-up writes into the venv."""

import os
import subprocess
import sys

from pipelines.setup import write_command


def test_the_program_works_from_any_folder_and_any_path(tmp_path):
    """A venv may lie under a path with spaces and quotes; what it runs is the checkout that wrote it."""
    programs = tmp_path / "it's a venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "python").symlink_to(sys.executable)
    write_command(programs)
    write_command(programs)
    environment = {**os.environ, "PYTHONPATH": ":".join(path for path in sys.path if path.endswith("site-packages"))}
    done = subprocess.run(
        [programs / "sentigate", "--version"], cwd="/", env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("sentigate ")
