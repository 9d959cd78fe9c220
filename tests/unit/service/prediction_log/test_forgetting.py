"""One person's entries are found and removed wherever they lie, and nobody else's are touched."""

import csv
import io
import json
import os
import stat
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sentiment.database.connection import open_database
from sentiment.database.persons import Trace
from sentiment.errors import BusyError, DatabaseError
from sentiment.governance.ledger import read_entries
from sentiment.paths import CHECKOUT
from service.api.ids import make_id
from service.prediction_log import privacy
from service.prediction_log.entries import Entry, write_line
from service.prediction_log.forgetting import Found, find_person, trace_text
from service.prediction_log.privacy import main
from service.prediction_log.pseudonyms import digest_subject, digest_text, open_key
from service.prediction_log.redaction import keep_text
from service.prediction_log.spool import SEGMENTS_LOCK, Spool, lock_segments
from tests.unit.service.prediction_log.conftest import FEEDBACK, MANY_BYTES, PREDICTION, SHADOW, Bench, make_predictions

KEY = b"k" * 32
TEXT = "Mail ann@example.com or +49 170 123 45 67, marmalade!"
OTHER = replace(PREDICTION, id=make_id(), text="Mail [email] or [phone], marmalade!", characters=len(TEXT) + 1)


def make_entry(text: str = TEXT, kept: Any = "redacted", **values: Any) -> Any:
    """Return a prediction on a text as the log writes it."""
    shown, digest = keep_text(text, kept, KEY)
    given = {"id": make_id(), "text": shown, "text_digest": digest, "characters": len(text), **values}
    return replace(PREDICTION, **given)


def search(bench: Bench, trace: Any, **options: Any) -> list[Found]:
    with open_database(f"sqlite:///{bench.database}") as engine:
        return find_person(engine, bench.folder, trace, **options)


def reject(bench: Bench, *lines: bytes) -> Path:
    """Put lines aside, as the shipper did long ago."""
    file = bench.folder / "rejected-2024-06-01.jsonl"
    file.write_bytes(b"".join(lines))
    os.utime(file, (1_700_000_000, 1_700_000_000))
    return file


def write_rejected(entry: Entry) -> bytes:
    """Return an entry as the shipper puts it aside."""
    return json.dumps({"kind": "prediction", **asdict(entry), "at": "2024-06-01 00:00:00+00:00"}).encode() + b"\n"


@pytest.mark.parametrize("kept", ["full", "redacted", "hash"])
def test_a_text_is_found_however_it_was_kept(bench, kept):
    """A text finds its entries whatever the settings kept of it, and no other's."""
    mine = make_entry(kept=kept)
    bench.store(mine, OTHER, make_entry("marmalade!", kept))

    assert [found.row["id"] for found in search(bench, trace_text(TEXT, KEY))] == [mine.id]


def test_a_digest_from_before_keys_is_found(bench):
    """A row of an earlier version, with a plain SHA-256, is forgotten as well."""
    old = make_entry(kept="none", text_digest=sha256(b"good day").hexdigest())
    bench.store(old, OTHER)

    assert [found.row["id"] for found in search(bench, trace_text("Good  DAY", KEY))] == [old.id]


def test_a_text_of_which_nothing_was_kept_is_not_found(bench):
    """What is not there cannot be found, and no other entry without a text is taken for it."""
    bench.store(make_entry(kept="none"))

    assert search(bench, trace_text(TEXT, KEY)) == []


def test_a_person_is_forgotten_in_every_store(bench):
    """Rows, waiting and rejected entries of a person go, with what is about his answers; others stay as they were."""
    subject = digest_subject("ann", KEY)
    mine = [make_entry(subject=subject) for _ in range(3)]
    about = [replace(FEEDBACK, prediction_id=one.id, id=make_id()) for one in mine]
    shadow = replace(SHADOW, prediction_id=mine[0].id)
    bench.store(mine[0], OTHER, about[0])
    shipper = bench.make_shipper()
    shipper.tick()
    bench.end(shipper)
    others = [*map(write_line, make_predictions(2)), write_line(FEEDBACK), write_line(SHADOW), b"damaged\n"]
    bench.store_lines(*others[:2], write_line(mine[1]), write_line(about[1]), *others[2:], write_line(shadow))
    bench.store(replace(FEEDBACK, id=make_id(), prediction_id=OTHER.id, subject=subject))
    rejected = reject(bench, write_rejected(mine[2]), write_rejected(OTHER), b"\x00\xff\n", write_line(about[2])[:-9])
    found = search(bench, Trace(subject=digest_subject("ann", KEY)), remove=True)

    assert sorted((one.store, one.kind) for one in found) == [
        ("database", "feedback"),
        ("database", "prediction"),
        *[("rejected", "prediction")],
        ("spool", "feedback"),
        ("spool", "feedback"),
        ("spool", "prediction"),
        ("spool", "shadow"),
    ]
    (segment,) = bench.list_sealed()
    assert segment.read_bytes() == b"".join(others)
    assert rejected.read_bytes() == write_rejected(OTHER) + b"\x00\xff\n" + write_line(about[2])[:-9]
    assert (stat.S_IMODE(rejected.stat().st_mode), rejected.stat().st_mtime) == (0o600, 1_700_000_000)
    assert (bench.read("id"), bench.read("id", "feedback")) == ([OTHER.id.replace("-", "")], [])
    assert search(bench, Trace(subject=digest_subject("ann", KEY))) == []


def test_a_damaged_line_is_known_by_what_it_says(bench):
    """A line that no parser reads goes where it holds the text of the person, and stays where it holds a part of it."""
    torn = {text: write_line(make_entry(text, "full"))[:-20] + b"\n" for text in (TEXT, "e", 'a "word"\n')}
    file = reject(bench, *torn.values())

    for text in ("e", 'a "word"\n'):
        search(bench, trace_text(text, KEY), remove=True)
    assert file.read_bytes() == torn[TEXT]
    assert [found.kind for found in search(bench, trace_text(TEXT, KEY), remove=True)] == ["damaged"]
    assert not file.exists()


@pytest.mark.parametrize("value", [None, 7, [], {}, "7"], ids=str)
def test_an_entry_with_a_spoilt_id_takes_no_other_along(bench, value):
    """A rejected prediction of the person that has no id is removed alone."""
    other = write_rejected(replace(OTHER, id=value))
    file = reject(bench, write_rejected(make_entry(id=value, request_id="mine")), other)
    bench.store(OTHER, FEEDBACK, SHADOW)
    search(bench, Trace(request_id="mine"), remove=True)

    assert file.read_bytes() == other
    assert bench.list_sealed()[0].read_bytes() == b"".join(map(write_line, (OTHER, FEEDBACK, SHADOW)))


def test_a_search_changes_nothing(bench):
    """Looking for a person leaves every file as it was."""
    bench.store(make_entry(), OTHER)
    reject(bench, write_rejected(make_entry()))
    before = {path: path.read_bytes() for path in bench.folder.iterdir()}

    assert len(search(bench, trace_text(TEXT, KEY))) == 2
    assert {path: path.read_bytes() for path in bench.folder.iterdir() if path.name != SEGMENTS_LOCK} == before


def test_what_a_worker_writes_is_waited_for(bench):
    """An entry in a segment that a living worker writes to is forgotten once that is sealed; the worker goes on."""
    bench.spool.append([write_line(make_entry()), write_line(OTHER)])
    sealing = threading.Timer(0.3, bench.spool.close)
    sealing.start()
    found = search(bench, trace_text(TEXT, KEY), remove=True)
    bench.store(*make_predictions(1))

    assert len(found) == 1
    assert [segment.read_bytes().count(b"\n") for segment in bench.list_sealed()] == [1, 1]


def test_a_worker_that_does_not_seal_is_said_and_nothing_is_changed(bench, refuses):
    """What cannot be reached is not said to be forgotten: nothing is removed at all."""
    bench.store(make_entry())
    stuck = Spool(bench.folder, max_bytes=MANY_BYTES)
    stuck.append([write_line(make_entry())])

    with refuses(BusyError):
        search(bench, trace_text(TEXT, KEY), remove=True, wait_seconds=0.2)
    stuck.close()
    assert len(search(bench, trace_text(TEXT, KEY))) == 2


def test_a_shipper_that_does_not_let_go_is_said(bench, refuses):
    """A shipper that hangs in the middle of a segment keeps nobody waiting for ever."""
    bench.store(make_entry())

    with lock_segments(bench.folder), refuses(BusyError):
        search(bench, trace_text(TEXT, KEY), remove=True, wait_seconds=0.2)


def test_what_a_killed_run_left_behind_is_removed(bench):
    """A half-written file of a run that was cut off is not kept: it holds what others wrote."""
    bench.store(make_entry(), OTHER)
    (bench.folder / "1.sealed.forgetting").write_bytes(b"half")
    search(bench, trace_text(TEXT, KEY), remove=True)

    assert not list(bench.folder.glob("*.forgetting"))


def test_entries_are_shipped_while_a_person_is_forgotten_again_and_again(bench):
    """Beside a shipper and a writer at work none of the others is lost or doubled, and none of the person's stays."""
    shipper, stop = bench.make_shipper(), threading.Event()

    def ship() -> None:
        while not stop.is_set():
            shipper.tick()
            time.sleep(0.005)

    thread = threading.Thread(target=ship)
    thread.start()
    kept = []
    try:
        for _ in range(15):
            others = make_predictions(5)
            kept += [one.id.replace("-", "") for one in others]
            bench.store(*others[:2], make_entry(), *others[2:], make_entry())
            search(bench, trace_text(TEXT, KEY), remove=True)
    finally:
        stop.set()
        thread.join(30)
    shipper.tick()

    assert sorted(bench.read("id")) == sorted(kept)


@pytest.fixture
def run(bench, tmp_path, monkeypatch) -> Callable[..., Result]:
    """What runs the command over the bench; the key is the one of its state folder."""
    monkeypatch.setenv("SENTIMENT_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{bench.database}")
    monkeypatch.setattr(f"{__name__}.KEY", open_key(tmp_path / "hash.key"))

    def run_command(*arguments: str, **options: Any) -> Result:
        return CliRunner().invoke(main, arguments, **options)

    return run_command


def read_ledger(folder: Path) -> list[Any]:
    return [entry for entry in read_entries(folder / "ledger.jsonl") if entry.event == "erasure"]


def test_forget_removes_and_writes_it_down_without_a_text(bench, run, tmp_path, sentence):
    """The command says what it removed, what it cannot reach, and leaves counts in the ledger: no text, no name."""
    bench.store(make_entry(), OTHER, make_entry("other", "hash"), make_entry("none", "none"))
    result = run("forget", "--text-file", "-", "--yes", "--reason", "he asked", input=f"{TEXT}\n")

    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines()[0] == sentence
    told = "".join(line for line in result.stdout.splitlines() if line.startswith("- "))
    copies = ("backups", "spools of other services", "WAL", "MLflow", "audit.jsonl", "exported before", "proxies")
    assert [copy for copy in copies if copy not in told] == []
    (entry,) = read_ledger(tmp_path)
    assert (entry.details, entry.reason) == ({"database": {}, "spool": {"prediction": 1}, "rejected": {}}, "he asked")
    assert "marmalade" not in f"{result.stdout}{(tmp_path / 'ledger.jsonl').read_text()}"


def test_a_dry_run_and_a_no_change_nothing(bench, run, tmp_path, sentence):
    """Counting, and an answer that is no, leave every entry, and no line in the ledger."""
    bench.store(make_entry())
    counted, refused = run("forget", "--text", TEXT, "--dry-run"), run("forget", "--text", TEXT, input="n\n")

    assert (counted.exit_code, counted.stdout.split(" in ")[0]) == (
        0,
        sentence,
    )
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "Remove 0 rows, 1 waiting and 0 rejected entries for ever? [y/N]" in refused.stderr
    assert (len(search(bench, trace_text(TEXT, KEY))), read_ledger(tmp_path)) == (1, [])


def test_forget_says_in_json_what_it_did(bench, run):
    """A script reads the counts, and what is left to do, from one object."""
    bench.store(make_entry(request_id="r-9"))
    told = json.loads(run("forget", "--request-id", "r-9", "--yes", "--json").stdout)

    assert (told["done"], told["counts"]["spool"], told["undone"]) == ("removed", {"prediction": 1}, [])
    assert told["not_reached"]


def fail_to_vacuum(_: object) -> None:
    raise DatabaseError("a reader keeps the old pages.")


def fail_with_a_text(_: object) -> None:
    raise RuntimeError(TEXT)


@pytest.mark.parametrize(
    ("vacuum", "said"), [(fail_to_vacuum, "a reader keeps the old pages."), (fail_with_a_text, "(RuntimeError)")]
)
def test_what_was_not_done_is_an_error(bench, run, monkeypatch, vacuum, said):
    """Rows that are removed and not vacuumed end with an exit code that is not 0 and the reason, without a text."""
    monkeypatch.setattr(privacy, "vacuum", vacuum)
    bench.store(make_entry())
    result = run("forget", "--text", TEXT, "--yes")

    assert (result.exit_code, "the rows are removed, but the database is not vacuumed" in result.stderr) == (1, True)
    assert said in result.stderr
    assert "marmalade" not in result.stderr


def test_a_ledger_that_cannot_be_written_is_an_error(bench, run, tmp_path):
    """A removal that nobody can prove is not said to be well."""
    (tmp_path / "ledger.jsonl").mkdir()
    result = run("forget", "--request-id", "r", "--yes")

    assert (result.exit_code, "but the ledger does not say so" in result.stderr) == (1, True)


def test_a_database_that_is_away_changes_nothing(bench, run, monkeypatch, sentence):
    """Without the database nothing is removed from the spool either, and the sentence has no password."""
    bench.store(make_entry())
    monkeypatch.setenv("DATABASE_URL", "postgresql://ann:secret@127.0.0.1:1/name")
    result = run("forget", "--text", TEXT, "--yes")

    assert (result.exit_code, len(bench.list_sealed())) == (1, 1)
    assert result.stderr == sentence


@pytest.mark.parametrize(
    "arguments",
    [(), ("--text", "a", "--subject", "b"), ("--text", ""), ("--subject", "")],
    ids=["nobody", "two", "no text", "no subject"],
)
def test_a_person_is_named_in_one_way(run, arguments):
    """Who names nobody, or two, has nothing removed."""
    assert run("forget", "--yes", *arguments).exit_code == 2


def test_a_key_that_is_not_there_is_said(run, tmp_path):
    """Without the key of the service its digests cannot be compared, and nothing is said about them."""
    (tmp_path / "hash.key").unlink()
    result = run("forget", "--subject", "ann", "--yes")

    assert (result.exit_code, f"the key of the digests {tmp_path}/hash.key cannot be read" in result.stderr) == (
        1,
        True,
    )


def test_export_gives_the_same_rows(bench, run, tmp_path, sentence):
    """What would be forgotten is written as JSON lines, with where it lies, into a file for one pair of eyes."""
    bench.store(make_entry(subject=digest_subject("ann", KEY)))
    shipper = bench.make_shipper()
    shipper.tick()
    reject(bench, write_rejected(make_entry(subject=digest_subject("ann", KEY))))
    out = tmp_path / "ann.jsonl"
    result = run("export", "--subject", "ann", "--out", str(out))

    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert (result.exit_code, [(row["store"], row["kind"]) for row in rows]) == (
        0,
        [("database", "prediction"), ("rejected", "prediction")],
    )
    assert [row["text"] for row in rows] == ["Mail [email] or [phone], marmalade!"] * 2
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    again = run("export", "--subject", "ann", "--out", str(out))
    assert (again.exit_code, again.stderr) == (1, sentence)


def test_a_table_holds_no_formula(bench, run):
    """A text that a spreadsheet would run is a text in the CSV; other cells are as they are."""
    bench.store(make_entry("=1+1", "full"), replace(FEEDBACK, prediction_id=make_id()))
    result = run("export", "--text", "=1+1", "--format", "csv")
    (row,) = csv.DictReader(io.StringIO(result.stdout))

    assert (row["text"], row["confidence"], json.loads(row["scores"])) == ("'=1+1", "0.75", dict(PREDICTION.scores))


def test_a_digest_tells_who_has_the_key_alone():
    """The trace of a text has the digest by the key, and the one that needs none for rows that are older than keys."""
    assert trace_text("Good", KEY).digests == [digest_text("good", KEY), sha256(b"good").hexdigest()]


@pytest.mark.parametrize("verb", ["forget", "export"])
@pytest.mark.parametrize("text", ["it costs $5, $(HOME) or ${PATH}", "`id` \"quoted\" 'so'; a \\ b", "two  spaces "])
def test_make_passes_a_text_on_as_it_is(verb, text):
    """Neither make nor the shell reads anything in a text: it is searched for as it was given."""
    arguments = [f"TEXT={text}", "PY=printf '[%s]'", "--old-file=.sentigate/.ready", "--old-file=.venv/.ready"]
    done = subprocess.run(
        ["make", "--silent", verb, *arguments], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )

    assert f"[{verb}][--text][{text}]" in done.stdout
