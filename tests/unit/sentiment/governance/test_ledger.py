"""The ledger: what is appended is there, in order, one JSON object a line."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from sentiment.errors import ConfigError, LedgerError, PromotionError
from sentiment.governance.ledger import (
    LedgerEntry,
    append_entry,
    name_actor,
    read_entries,
    render_entry,
    seal_ledger,
    select_entries,
    stamp_time,
)
from sentiment.governance.signatures import load_public_keys, load_signing_key, make_signing_key


def make_entry(summary="the gate passed", **changes) -> LedgerEntry:
    values = {"at": "2026-01-01T00:00:00Z", "event": "decision", "model": "sentiment", "version": "1"}
    return LedgerEntry(**values | {"summary": summary} | changes)


def test_a_ledger_that_is_not_there_has_no_entries(tmp_path):
    """Before the first event there are no entries and no file is made."""
    assert read_entries(tmp_path / "ledger.jsonl") == []
    assert not (tmp_path / "ledger.jsonl").exists()


@pytest.mark.parametrize("event", ["decision", "staging", "approval", "rejection", "promotion", "rollback"])
def test_an_entry_comes_back_as_it_was(tmp_path, event):
    """What was appended is read back whole."""
    entry = make_entry(event=event, details={"f1": 0.75, "reasons": ["a", "b"], "champion": None})
    append_entry(tmp_path / "ledger.jsonl", entry)
    assert read_entries(tmp_path / "ledger.jsonl") == [entry]


def test_an_entry_may_lack_version_and_details(tmp_path):
    """A blocked model has no version, and details are optional."""
    append_entry(tmp_path / "ledger.jsonl", make_entry(version=None))
    assert [(entry.version, entry.details) for entry in read_entries(tmp_path / "ledger.jsonl")] == [(None, {})]


def test_entries_are_oldest_first(tmp_path):
    """Entries are read in the order in which they were appended."""
    for summary in ("first", "second", "third"):
        append_entry(tmp_path / "ledger.jsonl", make_entry(summary))
    assert [entry.summary for entry in read_entries(tmp_path / "ledger.jsonl")] == ["first", "second", "third"]


def test_an_append_leaves_earlier_bytes_alone(tmp_path):
    """The ledger is append-only: what was written stays, byte for byte."""
    ledger = tmp_path / "ledger.jsonl"
    append_entry(ledger, make_entry("first"))
    before = ledger.read_bytes()
    append_entry(ledger, make_entry("second"))
    assert ledger.read_bytes().startswith(before)
    assert len(ledger.read_bytes()) > len(before)


def test_an_entry_is_one_line_of_json_whatever_it_says(tmp_path):
    """Newlines, quotes, line separators and emoji in a summary stay inside their line."""
    entry = make_entry('one\ntwo "three" \u2028 caf\u00e9 \U0001f600')
    append_entry(tmp_path / "ledger.jsonl", entry)
    lines = (tmp_path / "ledger.jsonl").read_bytes().splitlines()
    assert [json.loads(line)["summary"] for line in lines] == [entry.summary]
    assert read_entries(tmp_path / "ledger.jsonl") == [entry]


def test_a_ledger_makes_its_folder(tmp_path):
    """The first entry makes the folder that it needs."""
    append_entry(tmp_path / "new" / "state" / "ledger.jsonl", make_entry())
    assert len(read_entries(tmp_path / "new" / "state" / "ledger.jsonl")) == 1


def test_writers_at_once_lose_and_mix_nothing(tmp_path):
    """Entries that several writers append at once are all there and whole."""
    summaries = [f"{number} " + "x" * 5000 for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda summary: append_entry(tmp_path / "ledger.jsonl", make_entry(summary)), summaries))
    assert sorted(entry.summary for entry in read_entries(tmp_path / "ledger.jsonl")) == sorted(summaries)


def test_an_entry_cannot_change():
    """An event that happened stays as it was."""
    with pytest.raises(AttributeError):
        make_entry().summary = "another"


def test_a_time_is_written_to_the_second():
    """A time is ISO 8601 in UTC without fractions."""
    assert stamp_time(datetime(2026, 3, 4, 5, 6, 7, 890_000, tzinfo=UTC)) == "2026-03-04T05:06:07Z"


def test_a_torn_line_costs_no_other_entry(tmp_path):
    """What a crash tore is passed over; the entries before and after it are whole."""
    ledger = tmp_path / "ledger.jsonl"
    entries = [LedgerEntry("2026-01-01T00:00:00Z", "decision", "sentiment", None, summary) for summary in ("a", "b")]
    append_entry(ledger, entries[0])
    with ledger.open("ab") as file:
        file.write(b'{"at": "tor')
    append_entry(ledger, entries[1])
    assert read_entries(ledger) == entries


def test_the_lines_of_a_version_are_found(tmp_path):
    """A version's lines are those that name it, those of what replaced it, and the decisions on its model."""
    entries = [
        make_entry("blocked", version=None, details={"digest": "a"}),
        make_entry("passed", version=None, details={"digest": "b"}),
        make_entry("in", event="promotion", version="2", details={"digest": "b"}),
        make_entry("other", event="promotion", version="3", details={"digest": "c", "replaced": "2"}),
        make_entry("later", event="promotion", version="4", details={"digest": "d", "replaced": "3"}),
    ]
    assert [entry.summary for entry in select_entries(entries, "2")] == ["passed", "in", "other"]
    assert [entry.summary for entry in select_entries(entries, limit=2)] == ["other", "later"]
    assert select_entries(entries) == entries


def test_a_line_for_people_has_when_what_who_and_why(sentence):
    """A line reads from left to right; where nobody is known there is a dash."""
    assert render_entry(make_entry(by="mia", reason="it is late")) == sentence
    assert render_entry(make_entry()) == sentence


def test_the_actor_is_named_by_a_variable_or_the_system(monkeypatch):
    """`SENTIMENT_ACTOR` names who acts, else the user's name does."""
    monkeypatch.setenv("SENTIMENT_ACTOR", "mia")
    assert name_actor() == "mia"
    monkeypatch.setenv("SENTIMENT_ACTOR", "")
    monkeypatch.setenv("LOGNAME", "jo")
    assert name_actor() == "jo"


@pytest.fixture
def ledger(tmp_path):
    """A ledger with three lines."""
    for summary in ("first", "second", "third"):
        append_entry(tmp_path / "ledger.jsonl", make_entry(summary))
    return tmp_path / "ledger.jsonl"


def forge_line(lines, **changes):
    """Return a line that follows the last one, as somebody without the key can write it."""
    return json.dumps(json.loads(lines[-1]) | {"summary": "forged"} | changes).encode()


DAMAGES = {
    "edited": lambda lines: [lines[0].replace(b"first", b"worst"), *lines[1:]],
    "edited at the end": lambda lines: [*lines[:2], lines[2].replace(b"third", b"worst")],
    "another event": lambda lines: [lines[0], lines[1].replace(b'"decision"', b'"approval"'), lines[2]],
    "cut out": lambda lines: [lines[0], lines[2]],
    "cut at the beginning": lambda lines: lines[1:],
    "cut at the end": lambda lines: lines[:2],
    "emptied": lambda lines: [],
    "in another order": lambda lines: [lines[1], lines[0], lines[2]],
    "twice": lambda lines: [*lines, lines[2]],
    "torn": lambda lines: [lines[0], lines[1][:-9], lines[2]],
    "torn at the end": lambda lines: [*lines[:2], lines[2][:-9]],
    "other spaces at the end": lambda lines: [*lines[:2], lines[2].replace(b": ", b":")],
    "added with an old signature": lambda lines: [*lines, forge_line(lines)],
    "added with no signature": lambda lines: [*lines, forge_line(lines, signature="")],
    "added with no key": lambda lines: [*lines, forge_line(lines, key=None)],
    "added with another key": lambda lines: [*lines, forge_line(lines, key="0" * 16)],
    "added with odd values": lambda lines: [*lines, forge_line(lines, key=[1], signature={"a": 1})],
    "replaced by a list": lambda lines: [*lines[:2], b"[1]"],
    "as before signatures": lambda lines: [b'{"at": "x", "event": "decision"}', *lines],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_ledger_that_was_touched_is_told_and_grows_no_more(ledger, damage, refuses):
    """Whoever reads or appends hears which line it is and what to do; the file stays as it was found."""
    content = b"".join(line + b"\n" for line in DAMAGES[damage](ledger.read_bytes().splitlines()))
    ledger.write_bytes(content)
    for touch in (read_entries, lambda path: append_entry(path, make_entry("fourth"))):
        with refuses(LedgerError):
            touch(ledger)
    assert ledger.read_bytes() == content


def test_a_ledger_that_is_gone_is_told(ledger, refuses):
    """No file is no ledger only where there never was one."""
    ledger.unlink()
    with refuses(LedgerError):
        read_entries(ledger)


def test_a_ledger_that_another_key_signed_throughout_is_told(ledger, tmp_path, refuses):
    """A whole and sound ledger of somebody else is none of ours."""
    other = tmp_path / "other" / "ledger.jsonl"
    append_entry(other, make_entry("first"))
    shutil.copy(other, ledger)
    with refuses(LedgerError):
        read_entries(ledger)


def test_what_a_crash_leaves_before_the_end_is_written_down_is_sound(ledger, tmp_path):
    """A line may be on the disk before the place that says how far the ledger goes."""
    head = tmp_path / "signing" / "ledger.json"
    before = head.read_bytes()
    append_entry(ledger, make_entry("fourth"))
    head.write_bytes(before)
    assert len(read_entries(ledger)) == 4
    append_entry(ledger, make_entry("fifth"))
    assert len(read_entries(ledger)) == 5


@pytest.mark.parametrize("content", [None, "{", "[]", "{}"])
def test_an_end_that_is_not_known_is_told(ledger, tmp_path, content, refuses):
    """Without the place that says how far the ledger goes, a cut would not be seen."""
    head = tmp_path / "signing" / "ledger.json"
    head.unlink() if content is None else head.write_text(content)
    with refuses(LedgerError):
        read_entries(ledger)


def test_a_ledger_is_read_after_a_rotation(ledger, tmp_path, refuses):
    """What the old key signed stays; without its public key the ledger is to be sealed anew."""
    old = load_signing_key(tmp_path / "signing").id
    make_signing_key(tmp_path / "signing")
    append_entry(ledger, make_entry("fourth"))
    assert len(read_entries(ledger)) == 4
    (tmp_path / "signing" / "public" / f"{old}.pem").unlink()
    with refuses(LedgerError) as raised:
        read_entries(ledger)
    assert old in str(raised.value)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_ledger_is_taken_as_it_stands_for_a_reason(ledger, damage, refuses):
    """An operator with the key signs what is there, on the record; what was found is kept beside it."""
    found = b"".join(line + b"\n" for line in DAMAGES[damage](ledger.read_bytes().splitlines()))
    ledger.write_bytes(found)
    seal = make_entry("sealed", event="seal", reason="a disk was restored")
    if not found or b'"event": "decision"}' in found:
        with refuses((LedgerError, PromotionError)):
            seal_ledger(ledger, seal)
        assert ledger.read_bytes() == found
        return
    kept = seal_ledger(ledger, seal)
    assert kept.read_bytes() == found
    entries = read_entries(ledger)
    assert entries[-1] == seal
    append_entry(ledger, make_entry("later"))
    assert len(read_entries(ledger)) == len(entries) + 1


def test_a_seal_needs_a_reason(ledger, refuses):
    """Nothing is signed for nothing."""
    before = ledger.read_bytes()
    with refuses(PromotionError):
        seal_ledger(ledger, make_entry("sealed", event="seal"))
    assert ledger.read_bytes() == before


def test_who_has_public_keys_alone_reads_and_does_not_write(ledger, tmp_path, monkeypatch, refuses):
    """A runner that only releases needs no private key."""
    keys = load_public_keys(tmp_path / "signing")
    monkeypatch.setenv("SENTIMENT_PUBLIC_KEYS", str(tmp_path / "signing" / "public"))
    shutil.copytree(tmp_path, tmp_path / "runner", ignore=shutil.ignore_patterns("*.pem", "runner"))
    assert len(read_entries(tmp_path / "runner" / "ledger.jsonl")) == 3
    assert len(read_entries(tmp_path / "runner" / "ledger.jsonl", keys)) == 3
    with refuses(ConfigError):
        append_entry(tmp_path / "runner" / "ledger.jsonl", make_entry("fourth"))
