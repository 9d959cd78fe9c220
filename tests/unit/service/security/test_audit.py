"""What an admin asked for, and who was refused, is kept as whole lines, by whichever worker it was."""

import json
import logging
import multiprocessing
import stat
from pathlib import Path

import pytest

from service.api.context import Caller, RequestContext
from service.api.schemas import ReloadRequest
from service.security import audit as module
from service.security.audit import AUDIT_FILE, REFUSALS_FILE, AuditError, AuditLog, describe_wanted

FORK = multiprocessing.get_context("fork")


REQUEST = RequestContext("mine", caller=Caller("operator", frozenset()))


def read(folder: Path, name: str = AUDIT_FILE) -> list[dict]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def test_a_line_says_who_asked_what_and_how_it_ended(tmp_path, caplog):
    """Time, request, key, action, outcome and whatever else is known, in the file and in the log."""
    caplog.set_level(logging.INFO)
    AuditLog(tmp_path / "state").record(REQUEST, "POST /reload", "done", source="version 3", before="a", after="b")

    (entry,) = read(tmp_path / "state")
    assert entry.pop("at").endswith("+00:00")
    assert entry == {
        "request_id": "mine",
        "caller": "operator",
        "action": "POST /reload",
        "outcome": "done",
        "source": "version 3",
        "before": "a",
        "after": "b",
    }
    assert '"caller": "operator"' in caplog.text


def test_the_file_is_for_its_owner(tmp_path):
    """Nobody else reads who did what."""
    log = AuditLog(tmp_path)
    log.record(REQUEST, "POST /reload", "asked")
    log.record_refusal(REQUEST, "POST /reload", "scope")

    modes = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in (AUDIT_FILE, REFUSALS_FILE)}
    assert modes == {AUDIT_FILE: 0o600, REFUSALS_FILE: 0o600}


@pytest.mark.parametrize("text", ["a\nb", '"}\n{"caller": "root"', "\u2028", "\ud800", "\0", "x" * 100_000])
def test_a_caller_writes_no_line_of_its_own(tmp_path, text):
    """Whatever is in a name or a source, one entry is one line of bounded length."""
    request = RequestContext("mine", caller=Caller(text, frozenset()))
    AuditLog(tmp_path).record(
        request, text, "refused", source=describe_wanted(ReloadRequest.model_construct(folder=text))
    )

    assert len((tmp_path / AUDIT_FILE).read_bytes().splitlines()) == 1
    assert len((tmp_path / AUDIT_FILE).read_bytes()) < 8 * module.MAX_CHARS
    assert read(tmp_path)[0]["caller"] == text[: module.MAX_CHARS]


def write_many(folder: Path, name: str, count: int) -> None:
    request = RequestContext(name, caller=Caller(name, frozenset()))
    log = AuditLog(folder, max_bytes=400_000)
    for number in range(count):
        log.record(request, "POST /reload", "refused", number=number)


def test_workers_write_side_by_side(tmp_path):
    """Lines of several processes are whole, and none is lost when a file is full."""
    workers = [FORK.Process(target=write_many, args=(tmp_path, f"worker{number}", 800)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    entries = read(tmp_path, f"{AUDIT_FILE}.1") + read(tmp_path)
    assert {(one["caller"], one["number"]) for one in entries} == {
        (f"worker{worker}", number) for worker in range(4) for number in range(800)
    }
    assert (tmp_path / AUDIT_FILE).stat().st_size <= 400_000


def test_the_files_are_bounded(tmp_path):
    """Whatever is asked, two files of a size are kept; refusals push out no action."""
    log = AuditLog(tmp_path, max_bytes=5_000)
    log.record(REQUEST, "POST /reload", "done")
    for _ in range(500):
        log.record_refusal(REQUEST, "POST /reload", "key_unknown")

    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [AUDIT_FILE, REFUSALS_FILE, f"{REFUSALS_FILE}.1", module.LOCK_FILE]
    )
    assert max(path.stat().st_size for path in tmp_path.iterdir()) <= 5_000
    assert len(read(tmp_path)) == 1


def test_what_cannot_be_written_is_raised_said_once_and_counted(tmp_path, caplog, refuses, sentence):
    """An operator reads why, once; the next line that is written tells how many are missing."""
    log = AuditLog(tmp_path)
    (tmp_path / AUDIT_FILE).mkdir()
    for _ in range(3):
        with refuses(AuditError):
            log.record(REQUEST, "POST /reload", "asked")
    said = [record.getMessage() for record in caplog.records]
    (tmp_path / AUDIT_FILE).rmdir()
    log.record(REQUEST, "POST /reload", "asked")
    log.record(REQUEST, "POST /reload", "done")

    assert said == [sentence]
    assert [entry.get("lost") for entry in read(tmp_path)] == [3, None]


def test_a_full_disk_takes_no_line(monkeypatch, refuses):
    """A line that did not reach the disk is none."""
    monkeypatch.setattr(module, "AUDIT_FILE", "full")

    with refuses(AuditError):
        AuditLog(Path("/dev")).record(REQUEST, "POST /reload", "done")


def test_a_link_is_not_followed(tmp_path):
    """Who can make a link in the state folder does not make the service write elsewhere."""
    (tmp_path / AUDIT_FILE).symlink_to(tmp_path / "elsewhere")

    with pytest.raises(AuditError):
        AuditLog(tmp_path).record(REQUEST, "POST /reload", "asked")
    assert not (tmp_path / "elsewhere").exists()


def test_refusals_do_not_flood_the_log(tmp_path, caplog, monkeypatch):
    """All are in the file; the log has one a second, and how many came before it."""
    clock = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    log = AuditLog(tmp_path)
    for second in (0, 0, 0, 0.5, 1.5):
        clock[0] = 100.0 + second
        log.record_refusal(REQUEST, "POST /reload", "key_unknown")

    assert [record.getMessage().rpartition(", and ")[2] for record in caplog.records] == ["0 before it", "3 before it"]
    assert [entry["code"] for entry in read(tmp_path, REFUSALS_FILE)] == ["key_unknown"] * 5


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({}, "alias production"),
        ({"alias": "production"}, "alias production"),
        ({"version": "3"}, "version 3"),
        ({"folder": "/models/a?b"}, "folder /models/a?b"),
        ({"uri": "s3://bucket/a"}, "uri s3://bucket/a"),
        ({"uri": "hf://ada/sentiment@1"}, "uri hf://ada/sentiment@1"),
        ({"uri": "https://ann:marmalade@host/a?key=marmalade#marmalade"}, "uri https://host/a"),
        ({"uri": "https://marmalade@host/a"}, "uri https://host/a"),
        ({"uri": "zip://a::https://ann:marmalade@host/a"}, "uri zip://a::https://host/a"),
        ({"uri": "ann:marmalade@host/a;marmalade\nmarmalade"}, "uri host/a"),
    ],
    ids=str,
)
def test_a_source_is_named_without_secrets(wanted, said):
    """A URI may hold a password or a signature, however it is written."""
    assert describe_wanted(ReloadRequest(**wanted)) == said
