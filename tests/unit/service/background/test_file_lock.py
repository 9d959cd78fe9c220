"""A file that is locked as long as its process lives."""

import os
import subprocess
import sys

import pytest

from sentiment.paths import CHECKOUT
from service.background.file_lock import is_abandoned, make_locked_file

HOLD = """
import sys
from pathlib import Path
from service.background.file_lock import make_locked_file
make_locked_file(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_file_is_abandoned_once_it_is_closed(tmp_path):
    """The lock ends with the descriptor, and follows the file to its new name."""
    descriptor = make_locked_file(tmp_path / "a.new")
    file = (tmp_path / "a.new").rename(tmp_path / "a.open")
    held = is_abandoned(file)
    os.close(descriptor)

    assert (held, is_abandoned(file)) == (False, True)


def test_a_file_is_abandoned_once_its_process_is_killed(tmp_path):
    """Nothing has to be tidied up by a process that dies."""
    command = [sys.executable, "-c", HOLD, tmp_path / "a"]
    with subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        held = is_abandoned(tmp_path / "a")
        process.kill()
        process.wait()

    assert (held, is_abandoned(tmp_path / "a")) == (False, True)


def test_a_file_that_is_looked_at_is_not_taken_for_one_that_is_held(tmp_path):
    """Looking leaves no lock behind, and a name that is taken is not locked anew."""
    os.close(make_locked_file(tmp_path / "a"))

    assert [is_abandoned(tmp_path / "a") for _ in range(2)] == [True, True]
    with pytest.raises(FileExistsError):
        make_locked_file(tmp_path / "a")


def test_a_file_that_is_gone_is_neither(tmp_path):
    """Whoever looks hears that another was first."""
    with pytest.raises(FileNotFoundError):
        is_abandoned(tmp_path / "a")
