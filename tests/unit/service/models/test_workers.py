"""The folder that the workers of a server share: who of them lives, and how far each is."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.models.desired_state import SERVED_FILE
from service.models.workers import WorkerRegistration, WorkerStatus, list_workers, open_server_folder, read_statuses

NO_STATUSES = {"nothing": "", "half": '{"id": "a", "pro', "a list": "[]", "null": "null", "another": '{"weather": 1}'}


@pytest.fixture
def folder(tmp_path) -> Path:
    """What the workers of a server share."""
    folder = tmp_path / "serving" / "1"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def start(folder) -> Iterator[Callable[[], WorkerRegistration]]:
    """What makes this process a worker; it is closed after the test."""
    started = []

    def start() -> WorkerRegistration:
        started.append(WorkerRegistration(folder))
        return started[-1]

    yield start
    for worker in started:
        worker.close()


def test_a_worker_that_lives_is_listed(start, folder):
    """A worker is found by its process id, also before it says anything."""
    start()

    assert list_workers(folder) == [str(os.getpid())]
    assert read_statuses(folder) == [WorkerStatus("", "serving")]


def test_what_a_dead_worker_left_is_removed(start, folder):
    """A file that no process locks is nobody's; the worker that lives stays."""
    start()
    (folder / "7-a.worker").touch()

    assert list_workers(folder) == [str(os.getpid())]
    assert not (folder / "7-a.worker").exists()


def test_a_worker_that_closed_leaves_nothing(folder):
    """Whoever ends well is not counted, and takes along what it said."""
    worker = WorkerRegistration(folder)
    worker.report(WorkerStatus("a", "ready"))
    worker.close()

    assert (list_workers(folder), list(folder.iterdir())) == ([], [])


def test_a_worker_that_starts_while_others_are_counted_is_one(start, folder, monkeypatch):
    """A worker that comes up in the middle of a reload is waited for, however close it is."""
    lock, counted = fcntl.flock, []

    def count_before(descriptor: int, how: int) -> None:
        if not counted:
            counted.append(True)
            list_workers(folder)
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", count_before)
    start()

    assert list_workers(folder) == [str(os.getpid())]


def test_what_a_worker_reports_is_read(start, folder):
    """The last that a worker said is what the others know, whole."""
    worker = start()
    worker.report(WorkerStatus("a", "ready", serves="b"))
    last = WorkerStatus("a", "failed", "it is altered.", serves="b")
    worker.report(last)

    assert read_statuses(folder) == [last]
    assert not list(folder.glob("*.part"))


@pytest.mark.parametrize("content", NO_STATUSES.values(), ids=NO_STATUSES)
def test_a_status_that_cannot_be_read_says_nothing(start, folder, content):
    """A worker whose words are lost counts as one that serves, and is ready for nothing."""
    start()
    (folder / f"{os.getpid()}.status").write_text(content)

    assert read_statuses(folder) == [WorkerStatus("", "serving")]


def age(folder: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(folder, (then, then))


def test_the_folder_of_a_server_is_its_own(tmp_path):
    """Servers of one checkout do not meet: a folder is named by the process that started the worker."""
    folder = open_server_folder(tmp_path / "serving")

    assert folder.parent == tmp_path / "serving"
    assert folder.is_dir()
    assert folder.name.startswith(f"{os.getppid()}-")


def test_a_second_worker_finds_the_folder_of_its_server(tmp_path):
    """What the first worker put there stays, however long ago."""
    folder = open_server_folder(tmp_path)
    (folder / SERVED_FILE).touch()
    age(folder, 10**6)

    assert open_server_folder(tmp_path) == folder
    assert (folder / SERVED_FILE).exists()


@pytest.mark.parametrize(("seconds", "is_there"), [(0, True), (50, True), (70, False), (10**6, False)])
def test_folders_of_servers_that_ended_are_removed(tmp_path, seconds, is_there):
    """Models that nobody serves any more take no space; a server that is only just starting keeps its folder."""
    other = tmp_path / "7-1700000000000"
    (other / "models" / "a").mkdir(parents=True)
    age(other, seconds)
    open_server_folder(tmp_path)

    assert other.exists() is is_there


def test_folders_of_servers_that_live_are_left_alone(start, folder):
    """A server that has served the same model for long keeps its folder."""
    start()
    age(folder, 10**6)
    open_server_folder(folder.parent)

    assert folder.exists()


def test_a_folder_of_an_earlier_server_of_the_same_process_id_is_not_taken_over(tmp_path):
    """A container that starts again gives its server the same id; it serves production, and no earlier reload."""
    for name in (str(os.getppid()), f"{os.getppid()}-1700000000000"):
        (tmp_path / name).mkdir()
        (tmp_path / name / SERVED_FILE).touch()

    assert not (open_server_folder(tmp_path) / SERVED_FILE).exists()
