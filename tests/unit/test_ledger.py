"""The ledger: what is appended is there, in order, one JSON object a line."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from sentiment.ledger import (
    LedgerEntry,
    append_entry,
    name_actor,
    read_entries,
    render_entry,
    select_entries,
    stamp_time,
)


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


def test_a_line_for_people_has_when_what_who_and_why():
    """A line reads from left to right; where nobody is known there is a dash."""
    assert render_entry(make_entry(by="mia", reason="it is late")) == (
        "2026-01-01T00:00:00Z  decision   mia         the gate passed Because: it is late"
    )
    assert render_entry(make_entry()) == "2026-01-01T00:00:00Z  decision   -           the gate passed"


def test_the_actor_is_named_by_a_variable_or_the_system(monkeypatch):
    """`SENTIMENT_ACTOR` names who acts, else the user's name does."""
    monkeypatch.setenv("SENTIMENT_ACTOR", "mia")
    assert name_actor() == "mia"
    monkeypatch.setenv("SENTIMENT_ACTOR", "")
    monkeypatch.setenv("LOGNAME", "jo")
    assert name_actor() == "jo"
