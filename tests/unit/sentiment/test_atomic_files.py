"""Files that are written whole."""

import os
import stat
import threading

import pytest
from filelock import FileLock

from sentiment.atomic_files import make_secret_file, write_atomically


@pytest.mark.parametrize(("content", "written"), [("né\n", "né\n".encode()), (b"\x00\xff", b"\x00\xff")])
def test_a_file_is_replaced_and_nothing_stays_beside_it(tmp_path, content, written):
    """Text is written as UTF-8, bytes as they are."""
    file = tmp_path / "head.json"
    file.write_text("old")
    write_atomically(file, content)

    assert file.read_bytes() == written
    assert list(tmp_path.iterdir()) == [file]


def test_a_write_that_fails_leaves_the_old_content(tmp_path, monkeypatch):
    """A full disk loses neither the file nor its folder's order."""
    file = tmp_path / "head.json"
    file.write_text("old")

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write_atomically(file, "new")

    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_secret_is_never_readable_by_others(tmp_path, monkeypatch):
    """The mode holds from the first byte on, not after the content is there."""
    seen = []
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (seen.append(stat.S_IMODE(os.fstat(file).st_mode)), sync(file)))
    write_atomically(tmp_path / "key", "secret", mode=0o600)

    assert seen == [0o600]
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_the_umask_decides_without_a_mode(tmp_path):
    """A file that others may read stays one, as if it were written in place."""
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "head.json", "new")
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / "head.json").stat().st_mode) == 0o640


def test_threads_that_write_one_file_leave_one_content_whole(tmp_path):
    """Each call has a scratch file of its own."""
    file = tmp_path / "status.json"
    contents = [letter * 100_000 for letter in "abcdefgh"]
    threads = [threading.Thread(target=write_atomically, args=(file, content)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert file.read_text() in contents
    assert list(tmp_path.iterdir()) == [file]


def test_a_secret_file_is_made_once_for_its_owner(tmp_path):
    """The folder is made with it, and a second content does not replace the first."""
    file = tmp_path / "state" / "hash.key"
    make_secret_file(file, "first")
    make_secret_file(file, "second")

    assert file.read_text() == "first"
    assert [stat.S_IMODE(path.stat().st_mode) for path in (file, file.parent)] == [0o600, 0o700]


def test_a_process_that_finds_another_at_work_leaves_its_secret(tmp_path):
    """Whoever waited for the lock looks again before it writes."""
    file = tmp_path / "hash.key"
    with FileLock(f"{file}.lock"):
        thread = threading.Thread(target=make_secret_file, args=(file, "second"))
        thread.start()
        thread.join(0.2)
        waited = thread.is_alive()
        file.write_text("first")
    thread.join(10)

    assert (waited, file.read_text()) == (True, "first")
