"""`sentigate keys`: keys are added to a file, listed and removed."""

import json
import os
import stat
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sentigate.cli import sentigate
from sentiment.paths import CHECKOUT
from service.security.key_ring import KeyRing
from service.security.keys import digest_key, find_key

LAST_DAY = date(2027, 1, 31)
LINE = f"dashboard predict {digest_key('sg_one')}"


@pytest.fixture
def file(tmp_path) -> Path:
    """Where keys are kept; not there yet."""
    return tmp_path / "keys.txt"


def run(*arguments: object) -> Result:
    """Run the command."""
    return CliRunner().invoke(sentigate, ["keys", *map(str, arguments)])


def make(*arguments: object) -> Result:
    """Make a key."""
    return run("add", *arguments)


def read_names(ring: KeyRing) -> list[str]:
    return [key.name for key in ring.keys]


def test_a_key_that_was_made_lets_its_owner_in(file):
    """The command says the key, and the file knows it."""
    result = make("dashboard", "--file", file)

    assert result.exit_code == 0
    assert find_key(KeyRing(file, None).keys, result.output.rstrip("\n")).name == "dashboard"


def test_a_key_is_shown_once_and_not_kept(file):
    """The output is the key and nothing else; the file holds its digest and nothing else of it."""
    key = make("dashboard", "--file", file).output.rstrip("\n")

    assert (key[:3], len(key)) == ("sg_", 46)
    assert file.read_text() == f"dashboard predict,feedback {digest_key(key)}\n"


def test_only_its_owner_reads_a_key_file(file):
    """A key file that is made is nobody else's, whatever the umask."""
    before = os.umask(0)
    try:
        make("dashboard", "--file", file)
    finally:
        os.umask(before)

    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_key_file_that_was_there_keeps_its_mode(file):
    """A file that the operator shares with a group stays shared."""
    file.touch(mode=0o640)
    file.chmod(0o640)
    make("dashboard", "--file", file)

    assert stat.S_IMODE(file.stat().st_mode) == 0o640


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ([], "predict,feedback"),
        (["--scope", "predict"], "predict"),
        (["--scope", "admin"], "admin"),
        (["--scope", "admin", "--scope", "predict"], "predict,admin"),
        (["--scope", "predict", "--scope", "predict"], "predict"),
    ],
    ids=str,
)
def test_a_key_has_the_scopes_it_was_made_with(file, options, wanted):
    """A key may predict and give feedback unless it was made for something else."""
    make("dashboard", "--file", file, *options)

    assert file.read_text().split()[1] == wanted


def test_a_key_has_the_last_day_it_was_made_with(file):
    """`--until` is the last day."""
    make("dashboard", "--file", file, "--until", "2027-01-31")

    assert KeyRing(file, None).keys[0].last_day == LAST_DAY


@pytest.mark.parametrize("options", [["--scope", "root"], ["--until", "tomorrow"], ["--until", "2027-02-30"]], ids=str)
def test_what_cannot_be_said_of_a_key_makes_none(file, options):
    """A mistake in an option leaves no file behind."""
    assert make("dashboard", "--file", file, *options).exit_code == 2
    assert not file.exists()


@pytest.mark.parametrize("name", ["", " ", "two words", "#comment", "a\nb", "tab\tbed", "\u2003"], ids=repr)
def test_a_name_that_would_spoil_the_file_is_refused(file, name):
    """A name is one word that starts no comment."""
    result = make("--file", file, "--", name)

    assert (result.exit_code, file.exists()) == (2, False)
    assert f"{name!r} is not one word" in result.output


def test_a_name_that_the_variable_cannot_hold_is_refused(file):
    """A line of a key file can be set as SENTIMENT_API_KEYS, which semicolons take apart."""
    result = make("a;b", "--file", file)

    assert result.exit_code != 0 or read_names(KeyRing(None, file.read_text()))


def test_keys_are_added_to_those_that_are_there(file):
    """A second key leaves the first as it was."""
    made = [make(name, "--file", file).output.rstrip("\n") for name in ("a", "b", "c")]

    assert [find_key(KeyRing(file, None).keys, key).name for key in made] == ["a", "b", "c"]


@pytest.mark.parametrize("before", ["# our keys", LINE], ids=["a comment", "a key"])
def test_a_key_is_added_to_a_file_whose_last_line_has_no_end(file, before):
    """A file that was edited by hand is not spoilt: the new key works, and those before it go on."""
    file.write_text(before)
    key = make("other", "--file", file).output.rstrip("\n")

    assert find_key(KeyRing(file, None).keys, key).name == "other"
    assert file.read_text().splitlines()[0] == before


def test_a_name_is_taken_once(file):
    """Two keys of one name could not be told apart in the log."""
    make("dashboard", "--file", file)
    before = file.read_text()
    result = make("dashboard", "--file", file)

    assert (result.exit_code, file.read_text()) == (1, before)
    assert result.output == (f"Error: {file} has a key called dashboard already; remove that, or take another name.\n")


def test_no_key_is_added_to_a_damaged_file(file):
    """A file that the service would not read is said to be so, and stays as it is."""
    file.write_text("marmalade\n")
    result = make("dashboard", "--file", file)

    assert (result.exit_code, file.read_text()) == (1, "marmalade\n")
    assert result.output.startswith(f"Error: line 1 of {file} is not an API key; ")


def test_a_file_that_is_no_text_is_said_in_a_sentence(file):
    """A file of another kind is not taken for keys."""
    file.write_bytes(b"\xff\xfe")
    result = make("dashboard", "--file", file)

    assert (result.exit_code, file.read_bytes()) == (1, b"\xff\xfe")
    assert result.output.startswith(f"Error: {file} is not a key file (invalid start byte); ")


@pytest.mark.parametrize("place", ["missing/keys.txt", "file/keys.txt"])
def test_a_file_in_a_folder_that_is_not_there_is_said_in_a_sentence(tmp_path, place):
    """Who mistypes a folder reads a sentence and no stack trace."""
    (tmp_path / "file").touch()
    result = make("dashboard", "--file", tmp_path / place)

    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert "sg_" not in result.output


def test_a_folder_is_no_key_file(tmp_path):
    """A folder is refused by the option."""
    result = make("dashboard", "--file", tmp_path)

    assert result.exit_code == 2
    assert f"File '{tmp_path}' is a directory" in result.output


def test_a_file_is_wanted():
    """A key that is kept nowhere would let nobody in."""
    result = make("dashboard")

    assert result.exit_code == 2
    assert "Missing option '--file'" in result.output


def test_the_command_is_part_of_sentigate(file):
    """`sentigate keys add` makes a key in a process of its own."""
    command = [sys.executable, "-m", "sentigate", "keys", "add", "dashboard", "--file", str(file)]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)

    assert find_key(KeyRing(file, None).keys, done.stdout.rstrip("\n")).name == "dashboard"


def test_the_keys_of_a_file_are_listed_without_their_digests(file):
    """The list says who may do what, and until when."""
    make("dashboard", "--file", file, "--until", "2027-01-31")
    make("operator", "--file", file, "--scope", "admin", "--scope", "predict")

    assert run("list", "--file", file).output == (
        "dashboard  predict,feedback  2027-01-31\noperator  predict,admin  no last day\n"
    )
    assert json.loads(run("list", "--file", file, "--json").output) == [
        {"name": "dashboard", "scopes": ["predict", "feedback"], "until": "2027-01-31"},
        {"name": "operator", "scopes": ["predict", "admin"], "until": None},
    ]


def test_a_key_that_is_removed_lets_nobody_in_and_can_be_put_back(file):
    """The other lines stay as they are, and the line that went is shown."""
    keys = [make(name, "--file", file).output.rstrip("\n") for name in ("a", "b")]
    file.write_text(f"# ours\n{file.read_text()}")
    before, inode = file.read_text(), file.stat().st_ino
    removed = run("remove", "a", "--file", file)

    assert removed.exit_code == 0
    assert [find_key(KeyRing(file, None).keys, key) is not None for key in keys] == [False, True]
    assert file.read_text().startswith("# ours\nb ")
    assert file.stat().st_ino == inode
    with file.open("a") as lines:
        lines.write(removed.output.splitlines()[1] + "\n")
    assert sorted(file.read_text().splitlines()) == sorted(before.splitlines())


def test_a_key_that_is_not_there_is_not_removed(file):
    """The nearest name is in the sentence, and the file stays."""
    make("dashboard", "--file", file)
    before = file.read_text()
    result = run("remove", "dashbord", "--file", file)

    assert (result.exit_code, file.read_text()) == (1, before)
    assert "Did you mean 'dashboard'?" in result.output


@pytest.mark.parametrize("command", ["list", "remove"])
def test_a_file_that_is_not_there_is_said(file, command):
    """A name that was mistyped makes no file."""
    result = run(command, *(["a"] if command == "remove" else []), "--file", file)

    assert (result.exit_code, file.exists()) == (1, False)
    assert str(file) in result.output
