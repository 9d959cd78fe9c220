"""The spool keeps what it took, whatever dies, in the order in which it came."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sentiment.paths import CHECKOUT
from service.prediction_log import spool as module
from service.prediction_log.spool import SegmentLimits, Spool, SpoolError, list_segments, measure_bytes

MANY_BYTES = 1_000_000_000
GUARD_SECONDS = 10
WRITER = """
import os, resource, signal, sys
from pathlib import Path
from service.prediction_log.spool import Spool, SpoolError
spool = Spool(Path(sys.argv[1]), max_bytes=10**9)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def spool(folder: Path) -> Spool:
    return Spool(folder, max_bytes=MANY_BYTES)


def read_all(folder: Path) -> list[bytes]:
    """Return the lines that wait to be shipped, in the order in which they will be."""
    return [line for segment in list_segments(folder) for line in segment.read_bytes().splitlines()]


def list_names(folder: Path) -> list[str]:
    return sorted(path.suffix for path in folder.iterdir())


def run_writer(folder: Path, script: str) -> subprocess.CompletedProcess:
    """Run a process that writes to the spool, to its end."""
    return subprocess.run(
        [sys.executable, "-c", WRITER + script, folder],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=GUARD_SECONDS,
        check=False,
    )


def count_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_line_is_in_a_file_when_append_returns(folder, spool):
    """What was taken is with the system, not in the memory of the process."""
    spool.append([b"one\n", b"two\n"])

    (path,) = folder.iterdir()
    assert path.read_bytes() == b"one\ntwo\n"


def test_a_segment_that_is_written_to_is_not_shipped(folder, spool):
    """Nobody takes a segment from a living writer."""
    spool.append([b"one\n"])

    assert read_all(folder) == []
    assert list_names(folder) == [".open"]


def test_a_closed_spool_leaves_all_its_lines(folder, spool):
    """After its writer ended, everything waits to be shipped."""
    spool.append([b"one\n"])
    spool.append([b"two\n"])
    spool.close()

    assert read_all(folder) == [b"one", b"two"]
    assert list_names(folder) == [".sealed"]


def test_a_spool_takes_lines_after_it_was_closed(folder, spool):
    """An answer that is still under way at the end is kept like any other."""
    spool.append([b"one\n"])
    spool.close()
    spool.append([b"two\n"])
    spool.close()

    assert read_all(folder) == [b"one", b"two"]


def test_lines_keep_their_order_over_many_segments(folder):
    """Segments are shipped in the order in which they were written."""
    spool = Spool(folder, max_bytes=MANY_BYTES, segment_limits=SegmentLimits(bytes=1))
    lines = [str(number).encode() for number in range(30)]

    for line in lines:
        spool.append([line + b"\n"])

    assert len(list(list_segments(folder))) == 30
    assert read_all(folder) == lines


def test_a_segment_is_sealed_when_it_is_large(folder):
    """The line that makes a segment large is its last."""
    spool = Spool(folder, max_bytes=MANY_BYTES, segment_limits=SegmentLimits(bytes=8))

    for line in (b"one\n", b"two\n", b"three\n"):
        spool.append([line])

    assert read_all(folder) == [b"one", b"two"]


def test_a_segment_is_sealed_when_it_is_old(folder):
    """A line waits no longer than a segment may be written to."""
    spool = Spool(folder, max_bytes=MANY_BYTES, segment_limits=SegmentLimits(seconds=0.0))
    spool.append([b"one\n"])
    spool.seal_if_due()

    assert read_all(folder) == [b"one"]


def test_a_young_segment_is_not_sealed(folder):
    """Lines that come together share a segment."""
    spool = Spool(folder, max_bytes=MANY_BYTES, segment_limits=SegmentLimits(seconds=3600.0))
    spool.append([b"one\n"])
    spool.seal_if_due()
    spool.append([b"two\n"])
    spool.close()

    assert [segment.read_bytes() for segment in list_segments(folder)] == [b"one\ntwo\n"]


def test_a_spool_that_takes_nothing_makes_no_segments(folder):
    """An idle service leaves nothing to ship."""
    spool = Spool(folder, max_bytes=MANY_BYTES, segment_limits=SegmentLimits(seconds=0.0))
    spool.seal_if_due()
    spool.append([])
    spool.seal_if_due()
    spool.close()

    assert list(folder.iterdir()) == []


def test_writers_do_not_share_segments(folder):
    """What one worker seals leaves the segment of another alone."""
    first, second = (Spool(folder, max_bytes=MANY_BYTES) for _ in range(2))
    first.append([b"first\n"])
    second.append([b"second\n"])
    first.close()

    assert read_all(folder) == [b"first"]
    second.close()
    assert sorted(read_all(folder)) == [b"first", b"second"]


def test_only_the_user_of_the_service_reads_the_spool(folder, spool):
    """What people wrote is not for everybody on the machine."""
    spool.append([b"one\n"])
    spool.close()

    assert [path.stat().st_mode & 0o077 for path in (folder, *folder.iterdir())] == [0, 0]


@pytest.mark.parametrize(
    ("end", "code"),
    [("os._exit(3)", 3), ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL)],
    ids=["exit", "kill"],
)
def test_what_a_dead_process_wrote_waits_to_be_shipped(folder, end, code):
    """A process that ends without a word leaves every line that was safe."""
    written = run_writer(folder, f"spool.append([b'one\\n', b'two\\n'])\nspool.append([b'three\\n'])\n{end}")

    assert (written.returncode, list_names(folder)) == (code, [".open"])
    assert read_all(folder) == [b"one", b"two", b"three"]


def test_every_acknowledged_line_outlives_a_kill(folder):
    """A writer that is killed in the midst of its work has kept what it said it kept, whole and in order."""
    script = "for number in range(10**9):\n    spool.append([b'%d\\n' % number])\n    print(number, flush=True)"
    command = [sys.executable, "-c", WRITER + script, folder]
    with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE) as writer:
        said = [int(writer.stdout.readline()) for _ in range(100)]
        writer.kill()
        said += map(int, writer.stdout.read().splitlines(keepends=False))

    kept = [int(line) for line in read_all(folder)]
    assert kept == list(range(len(kept)))
    assert len(kept) >= len(said) >= 100


def test_the_segment_of_a_process_that_stands_still_is_left_to_it(folder):
    """A writer that only waits is not taken for dead."""
    script = "spool.append([b'one\\n'])\nprint('written', flush=True)\nsys.stdin.readline()"
    command = [sys.executable, "-c", WRITER + script, folder]
    with subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        writer.stdout.readline()
        while_alive = read_all(folder)
        writer.communicate(b"\n", timeout=GUARD_SECONDS)

    assert (while_alive, read_all(folder)) == ([], [b"one"])


def test_what_a_full_disk_cut_short_is_taken_back(folder):
    """Lines that do not fit are refused together, and what fits afterwards is whole."""
    written = run_writer(
        folder,
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10, resource.RLIM_INFINITY))\n"
        "spool.append([b'one\\n'])\n"
        "try:\n    spool.append([b'two\\n', b'three\\n'])\n"
        "except SpoolError as error:\n    print(error)\n"
        "spool.append([b'four\\n'])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)\n"
        "spool.append([b'five\\n'])\n",
    )

    assert written.stdout == f"the spool in {folder} cannot be written (File too large)\n"
    assert (written.stderr, read_all(folder)) == ("", [b"one", b"four", b"five"])


def test_a_first_line_that_does_not_fit_leaves_nothing(folder):
    """A disk that is full from the start refuses, and takes lines when there is room again."""
    written = run_writer(
        folder,
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2, resource.RLIM_INFINITY))\n"
        "for _ in range(3):\n    try:\n        spool.append([b'one\\n'])\n"
        "    except SpoolError as error:\n        print(error)\n"
        "spool.close()\n"
        "print(len(list(Path(sys.argv[1]).iterdir())))\n",
    )

    assert written.stdout == f"the spool in {folder} cannot be written (File too large)\n" * 3 + "0\n"


def test_a_disk_that_fails_to_sync_refuses_the_line(folder, monkeypatch, refuses):
    """A line that the disk did not confirm is not safe, and is not kept as if it were."""

    def fail(descriptor: int) -> None:
        if descriptor in failing:
            raise OSError(5, "Input/output error")

    failing = range(0)
    monkeypatch.setattr(module.os, "fsync", fail)
    spool = Spool(folder, max_bytes=MANY_BYTES, sync=True)
    spool.append([b"one\n"])
    failing = range(1_000_000)
    with refuses(SpoolError):
        spool.append([b"two\n"])
    failing = range(0)
    spool.append([b"three\n"])
    spool.close()

    assert read_all(folder) == [b"one", b"three"]


@pytest.mark.parametrize(("sync", "least"), [(True, 2), (False, 0)], ids=["sync", "no sync"])
def test_the_disk_is_waited_for_where_that_is_wanted(folder, sync, least, monkeypatch):
    """Each append waits for the disk, or none does."""
    synced = []
    monkeypatch.setattr(module.os, "fsync", synced.append)
    spool = Spool(folder, max_bytes=MANY_BYTES, sync=sync)

    spool.append([b"one\n"])
    spool.append([b"two\n"])

    assert len(synced) >= least if sync else synced == []


def test_a_full_spool_refuses_until_it_was_shipped(folder, refuses):
    """A spool that holds as much as it may says so, and takes lines again when there is room."""
    spool = Spool(folder, max_bytes=8)
    spool.append([b"one\n", b"two\n"])
    spool.close()
    spool.seal_if_due()

    with refuses(SpoolError):
        spool.append([b"three\n"])
    for segment in list_segments(folder):
        segment.unlink()
    spool.seal_if_due()
    spool.append([b"four\n"])
    spool.close()

    assert read_all(folder) == [b"four"]


def test_a_large_bound_is_written_with_separators(folder, refuses):
    """The bound of a spool is readable."""
    spool = Spool(folder, max_bytes=1000)
    spool.append([b"a" * 999 + b"\n"])
    spool.seal_if_due()

    with refuses(SpoolError):
        spool.append([b"b\n"])


def test_the_bound_counts_what_all_writers_left(folder):
    """The spool is full for one worker when others filled it."""
    first, second = (Spool(folder, max_bytes=4) for _ in range(2))
    first.append([b"one\n"])
    second.seal_if_due()

    with pytest.raises(SpoolError):
        second.append([b"two\n"])


def test_a_spool_under_its_bound_takes_lines(folder):
    """The bound is what may lie in the spool, not a byte less."""
    spool = Spool(folder, max_bytes=5)
    spool.append([b"one\n"])
    spool.seal_if_due()
    spool.append([b"two\n"])
    spool.close()

    assert (read_all(folder), measure_bytes(folder)) == ([b"one", b"two"], 8)


def test_rejected_entries_do_not_fill_the_spool(folder):
    """What lies beside the spool for a person to look at does not keep new entries out for ever."""
    spool = Spool(folder, max_bytes=100)
    (folder / "rejected-2026-01-02.jsonl").write_bytes(b"a" * 100)
    spool.seal_if_due()
    spool.append([b"one\n"])
    spool.close()

    assert read_all(folder) == [b"one"]


def test_lines_of_many_threads_are_all_kept(folder):
    """Nothing is lost, torn or doubled where threads write at once and segments are sealed under them."""
    spool = Spool(folder, max_bytes=MANY_BYTES, segment_limits=SegmentLimits(bytes=100, seconds=0.0))
    start = threading.Barrier(5)

    def write(name: int) -> None:
        start.wait(GUARD_SECONDS)
        for number in range(50):
            spool.append([b"%d %d\n" % (name, number)])
            if name == 0:
                spool.seal_if_due()

    threads = [threading.Thread(target=write, args=(name,)) for name in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(GUARD_SECONDS)
    spool.close()

    kept = [tuple(map(int, line.split())) for line in read_all(folder)]
    assert [[number for of, number in kept if of == name] for name in range(5)] == [list(range(50))] * 5


def test_two_lists_at_once_yield_the_same_segments(folder, spool):
    """Looking for segments takes none away."""
    run_writer(folder, "spool.append([b'one\\n'])\nos._exit(0)")

    assert list(list_segments(folder)) == list(list_segments(folder)) != []


def test_a_segment_that_vanishes_is_no_error(folder, spool):
    """A spool whose segment somebody removed goes on with another."""
    spool.append([b"one\n"])
    next(folder.glob("*.open")).unlink()
    spool.close()
    spool.append([b"two\n"])
    spool.close()

    assert read_all(folder) == [b"two"]


def test_a_segment_that_cannot_be_sealed_is_shipped_later(folder, spool, caplog):
    """A name that cannot be given is said, and the lines wait until it can."""
    spool.append([b"one\n"])
    (path,) = folder.iterdir()
    blocking = path.with_suffix(".sealed")
    blocking.mkdir()
    spool.close()
    blocking.rmdir()

    assert caplog.messages == [f"{path.name} cannot be sealed (Is a directory); it is shipped later"]
    assert read_all(folder) == [b"one"]


def test_a_segment_that_cannot_be_opened_leaves_nothing_behind(folder, spool, monkeypatch, refuses):
    """An attempt that failed holds no file open and leaves none, however often it is made."""
    monkeypatch.setattr(module.time, "time_ns", lambda: 7)
    for number in range(1, 6):
        (folder / f"{7:020d}-{os.getpid()}-{number}.open").mkdir()
    before = count_descriptors()

    for _ in range(5):
        with refuses(SpoolError):
            spool.append([b"one\n"])

    assert (count_descriptors(), list(folder.glob("*.new"))) == (before, [])


def test_sealing_gives_back_what_it_held_open(folder):
    """A service that runs for years holds one file open."""
    spool = Spool(folder, max_bytes=MANY_BYTES, segment_limits=SegmentLimits(bytes=1))
    before = count_descriptors()

    for _ in range(20):
        spool.append([b"one\n"])

    assert count_descriptors() == before


def test_a_folder_that_vanishes_refuses_lines_until_it_is_back(folder, spool, refuses):
    """A disk that is not mounted is said, and used again when it is."""
    folder.rmdir()
    with refuses(SpoolError):
        spool.append([b"one\n"])
    folder.mkdir()
    spool.append([b"two\n"])
    spool.close()

    assert read_all(folder) == [b"two"]


def test_a_missing_folder_is_made(tmp_path):
    """A spool may lie in a folder that nobody made yet, and in one that is there."""
    for _ in range(2):
        Spool(tmp_path / "a" / "b", max_bytes=MANY_BYTES)

    assert (tmp_path / "a" / "b").is_dir()


@pytest.mark.parametrize("below", [".", "spool"], ids=["a file is there", "a file is above"])
def test_a_folder_that_cannot_be_made_is_an_error_of_the_spool(tmp_path, below):
    """A spool that can never keep an entry says so in its own words."""
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(SpoolError):
        Spool(tmp_path / "file" / below, max_bytes=MANY_BYTES)
