"""`sentigate forget` and `export`: find one person's rows, remove them or write them.

In the image of the service, which has no `sentigate`: `python -m service.prediction_log.privacy`.
"""

import csv
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import click
import sqlalchemy as sa

from sentiment.database.connection import create_engine, migrate
from sentiment.database.persons import Trace, count_kept, vacuum
from sentiment.database.url import locate_database
from sentiment.errors import SentimentError
from sentiment.governance.ledger import LedgerEntry, append_entry, name_actor, stamp_time
from sentiment.paths import locate_state
from service.prediction_log.forgetting import Found, find_person, trace_text
from service.prediction_log.pseudonyms import digest_subject, read_key
from service.startup import check_settings

UNREACHED = (
    "backups and dumps of the database, and the spools of other services that ship to it (run this there, too)",
    "replicas and archived logs (WAL) of PostgreSQL, and pages of its tables until they are written over",
    "datasets, MLflow artifacts and models that were made from exported rows",
    "audit.jsonl and refusals.jsonl of the state folder, which keep ids of requests and names of keys, and no texts",
    "what was exported before, access logs of proxies, and freed blocks of disks and snapshots of volumes",
)
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def _name_person(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that name a person."""
    for option in (
        click.option("--subject", help="The id that came as X-Subject."),
        click.option("--request-id", help="The id of a request, as its answer says it."),
        click.option(
            "--text-file", type=click.File(encoding="utf-8"), help="File with the text; - is the standard input."
        ),
        click.option("--text", help="The text; a shell keeps it in its history, --text-file does not."),
    ):
        command = option(command)
    return command


@dataclass(frozen=True)
class _Log:
    """The stores that the settings name."""

    engine: sa.Engine
    folder: Path
    key_file: Path


@click.group()
def main() -> None:
    """Find what the prediction log holds of one person, by a text, a request or a subject."""


@main.command()
@_name_person
@click.option("--dry-run", is_flag=True, help="Count, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
@click.option("--reason", default="", help="Why, for the ledger; nothing that names the person.")
def forget(dry_run: bool, yes: bool, as_json: bool, reason: str, **named: Any) -> None:
    """Remove them from the database, the spool and the rejected entries, while the service runs."""
    undone: list[str] = []
    with _open_log() as log:
        trace = _trace(log, named)
        found = find_person(log.engine, log.folder, trace)
        if not dry_run:
            if found and not yes:
                click.confirm(f"Remove {_format_counts(found)} for ever?", abort=True, err=True)
            found = find_person(log.engine, log.folder, trace, remove=True)
            undone = _finish(log, found, reason)
        reach = _describe_reach(log, trace)
    done, where = "counted" if dry_run else "removed", f"{log.engine.url.render_as_string()} and {log.folder}"
    if as_json:
        told = {"done": done, "in": where, "counts": _count(found), "reach": reach}
        click.echo(json.dumps({**told, "not_reached": UNREACHED, "undone": undone}))
    else:
        click.echo(f"{done} {_format_counts(found)} in {where}.\n{reach}\nNot reached, for you to see to:")
        click.echo("\n".join(f"- {copy}" for copy in UNREACHED))
    for sentence in undone:
        click.echo(f"Error: {sentence}", err=True)
    sys.exit(1 if undone else 0)


@main.command()
@_name_person
@click.option("--format", "kind", type=click.Choice(["jsonl", "csv"]), default="jsonl", show_default=True)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="A new file, readable by you alone.")
def export(kind: str, out: Path | None, **named: Any) -> None:
    """Write them as JSON lines or CSV."""
    with _open_log() as log:
        found = find_person(log.engine, log.folder, _trace(log, named))
    write = _write_csv if kind == "csv" else _write_lines
    if out is None:
        write(found, sys.stdout)
        return
    try:
        descriptor = os.open(out, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except OSError as error:
        raise click.ClickException(f"{out} cannot be made ({error.strerror}); name a new file.") from error
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
        write(found, file)
    click.echo(f"{_format_counts(found)} written to {out}.", err=True)


@contextmanager
def _open_log() -> Iterator[_Log]:
    """Yield the log of the settings; an error in the block becomes one sentence without any text of a user."""
    try:
        settings = check_settings()
        state = locate_state()
        engine = create_engine(locate_database())
        try:
            migrate(engine)
            yield _Log(engine, settings.spool_folder or state.spool, settings.hash_key_file or state.hash_key)
        finally:
            engine.dispose()
    except (click.ClickException, click.Abort):
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, its own words may repeat what a user wrote
        raise click.ClickException(_describe_error(error)) from None


def _trace(log: _Log, named: Mapping[str, Any]) -> Trace:
    """Return what identifies the rows."""
    if sum(value is not None for value in named.values()) != 1:
        raise click.UsageError("name the person by one of --text, --text-file, --request-id and --subject.")
    if named["request_id"]:
        return Trace(request_id=named["request_id"])
    if named["subject"]:
        return Trace(subject=digest_subject(named["subject"], read_key(log.key_file)))
    text = named["text_file"].read().removesuffix("\n") if named["text_file"] else named["text"]
    if not text:
        raise click.UsageError("the text, request or subject is empty.")
    return trace_text(text, read_key(log.key_file))


def _finish(log: _Log, found: Sequence[Found], reason: str) -> list[str]:
    """Vacuum, and add the counts to the ledger; return one sentence per failure."""
    undone = []
    try:
        vacuum(log.engine)
    except Exception as error:  # noqa: BLE001 - whatever it is, the rows are gone and the rest goes on
        undone.append(f"the rows are removed, but the database is not vacuumed: {_describe_error(error)}")
    summary = f"{_format_counts(found)} of one person were removed from the prediction log."
    now = stamp_time(datetime.now(UTC))
    try:
        entry = LedgerEntry(now, "erasure", "", None, summary, _count(found), name_actor(), reason)
        append_entry(locate_state().ledger, entry)
    except (OSError, SentimentError) as error:
        undone.append(f"the rows are removed, but the ledger does not say so: {_describe_error(error)}")
    return undone


def _describe_reach(log: _Log, trace: Trace) -> str:
    """Return which rows this way to name a person finds, and which it does not."""
    if trace.request_id:
        return "Found by the request: what was asked or said in it, and what is about its answers."
    if trace.subject:
        return "Found by X-Subject: what came with this id, and what is about its answers; not what came without."
    with log.engine.connect() as connection:
        kept = count_kept(connection)
    return (
        f"Found by the text: {kept.texts:,} predictions that are left keep a text, which was compared as it is, as"
        " it is redacted today and by its length, so that a near one is not found;"
        f" {kept.digests:,} keep a digest, which was compared whatever capitals and spaces;"
        f" {kept.neither:,} keep neither, and are found by request or subject alone."
    )


def _count(found: Sequence[Found]) -> dict[str, dict[str, int]]:
    counts: dict[str, Counter[str]] = {"database": Counter(), "spool": Counter(), "rejected": Counter()}
    for one in found:
        counts[one.store][one.kind] += 1
    return {store: dict(kinds) for store, kinds in counts.items()}


def _format_counts(found: Sequence[Found]) -> str:
    stores = Counter(one.store for one in found)
    return f"{stores['database']:,} rows, {stores['spool']:,} waiting and {stores['rejected']:,} rejected entries"


def _describe_error(error: Exception) -> str:
    """Return a sentence on an error: its own only for errors of ours, because others may repeat the text of a user."""
    if isinstance(error, SentimentError):
        return str(error)
    if isinstance(error, UnicodeError):
        return "the text is not UTF-8; nothing was searched."
    if isinstance(error, OSError):
        return f"{error.filename or 'a file'} cannot be used ({error.strerror}); mend that and run it again."
    return f"the database cannot be used ({type(error).__name__}); see that it is there and run it again."


def _list_rows(found: Sequence[Found]) -> list[dict[str, Any]]:
    return [{"store": one.store, "kind": one.kind, **one.row} for one in found]


def _write_lines(found: Sequence[Found], to: IO[str]) -> None:
    for row in _list_rows(found):
        to.write(json.dumps(row, default=str) + "\n")


def _write_csv(found: Sequence[Found], to: IO[str]) -> None:
    """Write a table; a cell that a spreadsheet could read as a formula is quoted as text."""
    rows = _list_rows(found)
    table = csv.DictWriter(to, list(dict.fromkeys(name for row in rows for name in row)))
    table.writeheader()
    for row in rows:
        cells = {name: json.dumps(value) if isinstance(value, dict) else value for name, value in row.items()}
        table.writerow(
            {
                name: f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
                for name, value in cells.items()
            }
        )


if __name__ == "__main__":
    main()
