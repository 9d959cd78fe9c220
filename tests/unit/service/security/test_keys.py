"""API keys: made once, kept as digests, read as they were written."""

import hashlib
import json
import logging
import os
import stat
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sentiment.errors import ConfigError
from service.security.keys import ApiKey, KeyRing, digest_key, find_key, main, make_key, read_keys, write_key

DIGEST = hashlib.sha256(b"sg_one").hexdigest()
OTHER = hashlib.sha256(b"sg_two").hexdigest()
LINE = f"dashboard predict {DIGEST}"
LAST_DAY = date(2027, 1, 31)
NEW_YORK, TOKYO = timezone(timedelta(hours=-5)), timezone(timedelta(hours=9))
NOT_A_KEY = (
    "line {} of {} is not an API key; wanted name, scopes (predict, feedback, read, admin), SHA-256 and,"
    " if it ends, its last day, as `python -m service.security.keys` writes them."
)
UNREADABLE = (
    "the key file {} cannot be read ({}); make one with"
    " `python -m service.security.keys NAME --file FILE`, or unset the variable to ask for no keys."
)
NO_KEY = (
    "{} holds no API key; make one with `python -m service.security.keys NAME --file FILE`, or unset the variable"
    " to ask for no keys."
)
DAMAGED = {
    "one word": "marmalade",
    "no digest": "marmalade predict",
    "the key itself": "marmalade predict sg_9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b",
    "no scope": f"marmalade {DIGEST}",
    "an unknown scope": f"marmalade predict,root {DIGEST}",
    "an empty scope": f"marmalade predict, {DIGEST}",
    "one scope twice": f"marmalade predict,predict {DIGEST}",
    "a scope in capitals": f"marmalade Predict {DIGEST}",
    "scopes apart": f"marmalade predict, admin {DIGEST}",
    "a short digest": f"marmalade predict {DIGEST[:-1]}",
    "a long digest": f"marmalade predict {DIGEST}0",
    "no hexadecimal": f"marmalade predict {DIGEST[:-1]}g",
    "digits of another script": f"marmalade predict {DIGEST[:-1]}\u0667",
    "no day": f"marmalade predict {DIGEST} tomorrow",
    "a day that is none": f"marmalade predict {DIGEST} 2027-02-29",
    "a day the wrong way round": f"marmalade predict {DIGEST} 31-01-2027",
    "a time": f"marmalade predict {DIGEST} 2027-01-31T12:00",
    "a word too many": f"marmalade predict {DIGEST} 2027-01-31 really",
}


class Clock:
    """Shows the time that it was set to."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def file(tmp_path) -> Path:
    """Where keys are kept; not there yet."""
    return tmp_path / "keys.txt"


def make(*arguments: object) -> Result:
    """Run the command."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def read_names(ring: KeyRing) -> list[str]:
    return [key.name for key in ring.keys]


def change(file: Path, text: str) -> None:
    """Write a file so that its time is another."""
    file.write_text(text, encoding="utf-8")
    later = file.stat().st_mtime_ns + 10**9
    os.utime(file, ns=(later, later))


def test_a_key_is_kept_as_its_digest():
    """What is kept of a key does not let anybody in."""
    key, kept = make_key("dashboard", ["predict"], LAST_DAY)

    assert kept == ApiKey(
        "dashboard", frozenset({"predict"}), hashlib.sha256(key.encode()).hexdigest(), last_day=LAST_DAY
    )
    assert find_key([kept], kept.digest) is None


def test_a_key_is_long_and_random():
    """A key cannot be guessed: it carries 256 bits, in signs that need no quoting."""
    keys = {make_key("a", ["predict"])[0] for _ in range(50)}

    assert len(keys) == 50
    assert all(key.startswith("sg_") and len(key) == 46 and key.replace("-", "_").isidentifier() for key in keys)


@pytest.mark.parametrize("presented", ["", "sg_", "sg_one ", "SG_ONE", DIGEST, "sg_\udcff", "sg_\u00e9", "x" * 10_000])
def test_what_is_no_key_finds_none(presented):
    """Nothing but the whole key is the key."""
    assert find_key(read_keys([LINE], "a file"), presented) is None


def test_a_key_is_found_among_others():
    """The key that is presented is found wherever it stands."""
    made = [make_key(name, ["predict"]) for name in ("a", "b", "c")]

    assert [find_key([kept for _, kept in made], key).name for key, _ in made] == ["a", "b", "c"]


@pytest.mark.parametrize(
    "key",
    [
        ApiKey("a", frozenset({"predict"}), DIGEST),
        ApiKey("b", frozenset({"admin"}), DIGEST, LAST_DAY),
        ApiKey("caf\u00e9-7", frozenset({"predict", "admin"}), DIGEST),
    ],
    ids=lambda key: key.name,
)
def test_a_line_says_all_of_a_key(key):
    """A key that was written is read back as it was."""
    assert read_keys([write_key(key)], "a file") == (key,)


def test_a_line_is_one_that_a_person_can_read():
    """The line of a key is its name, its scopes in order, its digest and its last day."""
    assert write_key(ApiKey("a", frozenset({"admin", "predict"}), DIGEST, LAST_DAY)) == (
        f"a predict,admin {DIGEST} 2027-01-31"
    )


@pytest.mark.parametrize("line", ["", "   ", "\t", "# a word", "#", "  # marmalade", f"#{LINE}"], ids=repr)
def test_empty_lines_and_comments_are_passed_over(line):
    """A key file may be laid out and commented."""
    assert [key.name for key in read_keys([line, LINE, line], "a file")] == ["dashboard"]


@pytest.mark.parametrize("line", [f"  dashboard\t predict   {DIGEST} ", f"dashboard predict {DIGEST.upper()}"])
def test_a_line_may_be_written_by_hand(line):
    """More space, or digits in capitals, are the same key."""
    assert read_keys([line], "a file") == read_keys([LINE], "a file")


@pytest.mark.parametrize("line", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_line_is_refused(line):
    """A line that is no key is named by its number, and nothing of it is repeated: it may be a key."""
    with pytest.raises(ConfigError) as refused:
        read_keys(["# keys", "", line, LINE], "keys.txt")

    assert str(refused.value) == NOT_A_KEY.format(3, "keys.txt")
    assert refused.value.__context__ is None


@pytest.mark.parametrize(
    ("now", "is_expired"),
    [
        (datetime(2027, 1, 31, 0, 0, tzinfo=UTC), False),
        (datetime(2027, 1, 31, 23, 59, 59, 999_999, tzinfo=UTC), False),
        (datetime(2027, 2, 1, 0, 0, tzinfo=UTC), True),
        (datetime(2027, 1, 31, 18, 59, 59, tzinfo=NEW_YORK), False),
        (datetime(2027, 1, 31, 19, 0, tzinfo=NEW_YORK), True),
        (datetime(2027, 2, 1, 8, 59, 59, tzinfo=TOKYO), False),
        (datetime(2027, 2, 1, 9, 0, tzinfo=TOKYO), True),
    ],
    ids=str,
)
def test_a_key_holds_until_the_end_of_its_last_day(now, is_expired):
    """The last day of a key ends at midnight UTC, wherever the service runs."""
    assert ApiKey("a", frozenset({"predict"}), DIGEST, LAST_DAY).is_expired(now) is is_expired


def test_a_key_without_a_last_day_does_not_expire():
    """A key that does not say when it ends does not."""
    assert ApiKey("a", frozenset(), DIGEST).is_expired(datetime.max.replace(tzinfo=UTC)) is False


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
    assert result.output.endswith(f"Error: Invalid value for NAME: {name!r} is not one word.\n")


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
    assert result.output == (
        f"Error: {file} has a key called dashboard already; remove its line, or take another name.\n"
    )


def test_no_key_is_added_to_a_damaged_file(file):
    """A file that the service would not read is said to be so, and stays as it is."""
    file.write_text("marmalade\n")
    result = make("dashboard", "--file", file)

    assert (result.exit_code, file.read_text()) == (1, "marmalade\n")
    assert result.output == f"Error: {NOT_A_KEY.format(1, file)}\n"


def test_a_file_that_is_no_text_is_said_in_a_sentence(file):
    """A file of another kind is not taken for keys."""
    file.write_bytes(b"\xff\xfe")
    result = make("dashboard", "--file", file)

    assert (result.exit_code, file.read_bytes()) == (1, b"\xff\xfe")
    assert result.output.startswith("Error: 'utf-8' codec can't decode byte 0xff")


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
    assert result.output.endswith(f"Error: Invalid value for '--file': File '{tmp_path}' is a directory.\n")


def test_a_file_is_wanted():
    """A key that is kept nowhere would let nobody in."""
    result = make("dashboard")

    assert result.exit_code == 2
    assert result.output.endswith("Error: Missing option '--file'.\n")


def test_the_command_is_a_module(file):
    """`python -m service.security.keys` makes a key."""
    command = [sys.executable, "-m", "service.security.keys", "dashboard", "--file", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert find_key(KeyRing(file, None).keys, done.stdout.rstrip("\n")).name == "dashboard"


def test_without_keys_everybody_may_ask():
    """A ring that was given nothing is open."""
    ring = KeyRing(None, None)

    assert (ring.is_open, ring.keys) == (True, ())


@pytest.mark.parametrize("given", [LINE, f"{LINE};", f";{LINE}; # more"], ids=["one", "an end", "a comment"])
def test_keys_may_be_given_in_a_variable(given):
    """A variable holds lines between semicolons."""
    ring = KeyRing(None, given)

    assert (ring.is_open, read_names(ring)) == (False, ["dashboard"])


def test_keys_of_a_variable_and_of_a_file_hold_together(file):
    """Neither takes the place of the other."""
    file.write_text(f"other admin {OTHER}\n")

    assert read_names(KeyRing(file, f"{LINE};third predict {OTHER}")) == ["dashboard", "third", "other"]


@pytest.mark.parametrize("content", ["", "# nobody\n", "\n\n", ";", " ; # nobody"], ids=repr)
def test_a_setting_that_holds_no_key_ends_the_start(file, content):
    """Who sets up keys and gives none has made a mistake, and no service that is open to everybody."""
    file.write_text("" if ";" in content else content)
    for origin, given in (("SENTIMENT_API_KEYS", (None, content)), (file, (file, None)), (file, (file, LINE))):
        with pytest.raises(ConfigError) as refused:
            KeyRing(*given)
        assert str(refused.value) == NO_KEY.format(origin)


def test_a_damaged_variable_is_said_without_what_it_holds():
    """The third of the lines in the variable is named by its number."""
    with pytest.raises(ConfigError) as refused:
        KeyRing(None, f"{LINE};;marmalade")

    assert str(refused.value) == NOT_A_KEY.format(3, "SENTIMENT_API_KEYS")


@pytest.mark.parametrize(
    ("content", "kind"),
    [(None, "FileNotFoundError"), (b"\xff", "UnicodeDecodeError"), ("folder", "IsADirectoryError")],
    ids=["missing", "no text", "a folder"],
)
def test_a_file_that_cannot_be_read_stops_the_start(file, content, kind):
    """A service that was told to ask for keys does not start without them."""
    if content == "folder":
        file.mkdir()
    elif content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        KeyRing(file, None)

    assert str(refused.value) == UNREADABLE.format(file, kind)


def test_a_damaged_file_stops_the_start(file):
    """A line that is no key is named with its file."""
    file.write_text(f"{LINE}\nmarmalade\n")
    with pytest.raises(ConfigError) as refused:
        KeyRing(file, None)

    assert str(refused.value) == NOT_A_KEY.format(2, file)


def test_a_key_can_be_added_and_withdrawn_while_the_service_runs(file):
    """A file that changed is read again, and one without keys lets nobody in."""
    file.write_text(f"{LINE}\n")
    clock = Clock()
    ring, seen = KeyRing(file, None, clock=clock), []
    for text in (f"{LINE}\nother predict {OTHER}\n", f"other predict {OTHER}\n", ""):
        change(file, text)
        clock.seconds += 1.0
        seen.append(read_names(ring))

    assert seen == [["dashboard", "other"], ["other"], []]


def test_a_file_is_looked_at_twice_a_second(file):
    """A change shows within a second, without a look at the disk for each request."""
    file.write_text(f"{LINE}\n")
    clock = Clock()
    ring, seen = KeyRing(file, None, clock=clock), []
    change(file, "")
    for passed in (0, 0.499, 0.001):
        clock.seconds += passed
        seen.append(read_names(ring))

    assert seen == [["dashboard"], ["dashboard"], []]


def test_a_file_whose_time_and_size_stay_is_read_again(file):
    """A change counts, whatever the disk says of the file."""
    file.write_text(f"{LINE}\n")
    found, clock = file.stat(), Clock()
    ring = KeyRing(file, None, clock=clock)
    file.write_text(f"#{LINE[1:]}\n")
    os.utime(file, ns=(found.st_mtime_ns, found.st_mtime_ns))
    clock.seconds += 1

    assert read_names(ring) == []


def test_a_file_that_was_replaced_is_read_again(file, tmp_path):
    """A file may be put in the place of another, as tools that manage secrets do it."""
    file.write_text(f"{LINE}\n")
    clock = Clock()
    ring = KeyRing(file, None, clock=clock)
    change(tmp_path / "new", f"other predict {OTHER}\n")
    (tmp_path / "new").replace(file)
    clock.seconds += 1

    assert read_names(ring) == ["other"]


def read_warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (Path.unlink, f"no key of the file counts: {UNREADABLE.format('{0}', 'FileNotFoundError')}"),
        (lambda file: change(file, "marmalade\n"), f"a key does not count: {NOT_A_KEY.format(1, '{0}')}"),
        (
            lambda file: file.write_bytes(b"\xff" * 500),
            f"no key of the file counts: {UNREADABLE.format('{0}', 'UnicodeDecodeError')}",
        ),
    ],
    ids=["removed", "damaged", "no text"],
)
def test_what_is_no_longer_in_the_file_is_withdrawn(file, damage, reason, caplog):
    """A key that the file does not hold lets nobody in, whatever else is wrong with the file; it is said once."""
    file.write_text(f"{LINE}\n")
    clock = Clock()
    ring = KeyRing(file, f"third predict {OTHER}", clock=clock)
    damage(file)
    for _ in range(100):
        clock.seconds += 1
        assert read_names(ring) == ["third"]

    assert read_warnings(caplog) == [reason.format(file)]


def test_a_key_is_withdrawn_although_another_line_is_wrong(file, caplog):
    """The sound lines of a damaged file count, and no other."""
    file.write_text(f"{LINE}\nother predict {OTHER}\n")
    clock = Clock()
    ring = KeyRing(file, None, clock=clock)
    change(file, f"marmalade\nother predict {OTHER}\n")
    clock.seconds += 1

    assert read_names(ring) == ["other"]
    assert read_warnings(caplog) == [f"a key does not count: {NOT_A_KEY.format(1, file)}"]


def test_a_file_that_was_mended_is_read_again(file):
    """A file that broke counts again once it is whole."""
    file.write_text(f"{LINE}\n")
    clock = Clock()
    ring, seen = KeyRing(file, None, clock=clock), []
    for text in ("marmalade\n", f"other predict {OTHER}\n"):
        change(file, text)
        clock.seconds += 1
        seen.append(read_names(ring))

    assert seen == [[], ["other"]]


def test_a_key_is_not_shown_where_it_is_kept():
    """What is kept of a key can be printed."""
    key, kept = make_key("dashboard", ["predict"])

    assert key not in repr(kept)
    assert key not in json.dumps(write_key(kept))
