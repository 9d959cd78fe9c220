"""What a command writes for other programs."""

import subprocess
import sys

import pytest

from sentiment.paths import CHECKOUT

PROGRAM = """
import subprocess
from dataclasses import dataclass
from sentigate.results import write_added

@dataclass(frozen=True)
class Record:
    number: int

records = [Record(1)]
with write_added(lambda: list(records), as_json={as_json}):
    records.append(Record(2))
    print("said by a library")
    subprocess.run(["echo", "said by a subprocess"], check=True)
    {ending}
print("said afterwards")
"""


def run(*, as_json: bool, ending: str = "pass") -> "subprocess.CompletedProcess[str]":
    """Add a record, and write to the standard output as libraries and their subprocesses do."""
    command = [sys.executable, "-u", "-c", PROGRAM.format(as_json=as_json, ending=ending)]
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)


def test_what_was_added_is_the_standard_output():
    """A record a line, and not what was there before; whatever else is written goes to the standard error."""
    done = run(as_json=True)
    assert done.stdout.splitlines() == ['{"number": 2}', "said afterwards"]
    assert done.stderr.splitlines() == ["said by a library", "said by a subprocess"]


@pytest.mark.parametrize("ending", ["raise RuntimeError", "raise SystemExit(1)", "raise KeyboardInterrupt"])
def test_what_was_added_before_a_failure_is_written(ending):
    """A canary that is backed out is in the ledger, and its command fails."""
    done = run(as_json=True, ending=ending)
    assert done.returncode
    assert done.stdout == '{"number": 2}\n'


def test_without_json_a_command_says_what_it_said():
    """Nothing is added and nothing moved."""
    done = run(as_json=False)
    assert (done.stdout.splitlines()[:2], done.stderr) == (["said by a library", "said by a subprocess"], "")
