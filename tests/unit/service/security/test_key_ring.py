"""The ring of keys follows its file and its variable."""

import hashlib
import logging
import os
from pathlib import Path

import pytest

from sentiment.errors import ConfigError
from service.security.key_ring import KeyRing

DIGEST = hashlib.sha256(b"sg_one").hexdigest()
OTHER = hashlib.sha256(b"sg_two").hexdigest()
LINE = f"dashboard predict {DIGEST}"
NOT_A_KEY = (
    "line {} of {} is not an API key; wanted name, scopes (predict, feedback, read, admin), SHA-256 and,"
    " if it ends, its last day, as `sentigate keys add` writes them."
)
UNREADABLE = (
    "the key file {} cannot be read ({}); make one with"
    " `sentigate keys add NAME --file FILE`, or unset the variable to ask for no keys."
)
NO_KEY = (
    "{} holds no API key; make one with `sentigate keys add NAME --file FILE`, or unset the variable"
    " to ask for no keys."
)


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


def read_names(ring: KeyRing) -> list[str]:
    return [key.name for key in ring.keys]


def change(file: Path, text: str) -> None:
    """Write a file so that its time is another."""
    file.write_text(text, encoding="utf-8")
    later = file.stat().st_mtime_ns + 10**9
    os.utime(file, ns=(later, later))


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
