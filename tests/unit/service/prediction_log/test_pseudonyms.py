"""Digests by the key of the installation."""

import multiprocessing
import stat
from hashlib import sha256

import pytest

from sentiment.errors import ConfigError
from service.prediction_log.pseudonyms import digest_subject, digest_text, open_key, read_key

KEY = b"k" * 32
GUARD_SECONDS = 30


def open_at_once(file, start, keys) -> None:
    """Open the key when all others do, too."""
    start.wait(GUARD_SECONDS)
    keys.put(open_key(file))


def test_a_text_cannot_be_guessed_without_the_key():
    """A digest depends on the key: who has none can try every text, and matches nothing."""
    assert digest_text("good", KEY) == digest_text(" GOOD ", KEY)
    assert digest_text("good", KEY) not in {digest_text("good", b"l" * 32), sha256(b"good").hexdigest()}


def test_a_subject_is_no_text():
    """The same word as a text and as a subject has two digests: one column says nothing about the other."""
    assert digest_subject("good", KEY) != digest_text("good", KEY)


def test_subjects_are_told_apart_as_they_are_written():
    """An id of a person is compared sign by sign."""
    assert digest_subject("Ann", KEY) != digest_subject("ann", KEY)


def test_a_key_is_made_once_and_for_its_owner(tmp_path):
    """The first who needs a key makes it, in a folder that is nobody else's; it stays."""
    file = tmp_path / "state" / "hash.key"

    made = open_key(file)

    assert (open_key(file), read_key(file), len(made)) == (made, made, 64)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (file.parent, file)] == [0o700, 0o600]


def test_workers_that_start_at_once_share_one_key(tmp_path):
    """Of many that find no key one makes it, and all have the same."""
    context = multiprocessing.get_context("fork")
    start, keys = context.Barrier(6), context.SimpleQueue()
    workers = [context.Process(target=open_at_once, args=(tmp_path / "hash.key", start, keys)) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(GUARD_SECONDS)

    assert len({keys.get() for _ in workers}) == 1


def test_what_a_crash_left_is_no_key(tmp_path):
    """A key that was half written is made anew."""
    (tmp_path / "hash.key.part").write_text("12")

    assert len(open_key(tmp_path / "hash.key")) == 64


@pytest.mark.parametrize(
    "content",
    [None, b"short\n"],
)
def test_a_key_that_is_none_is_refused(tmp_path, content, refuses):
    """A file that a setting names is not made, and not guessed at."""
    file = tmp_path / "hash.key"
    if content is not None:
        file.write_bytes(content)

    with refuses(ConfigError):
        read_key(file)


def test_a_key_that_cannot_be_made_says_what_to_do(tmp_path, refuses):
    """A folder that is none ends in one sentence."""
    (tmp_path / "file").write_bytes(b"")

    with refuses(ConfigError):
        open_key(tmp_path / "file" / "hash.key")
