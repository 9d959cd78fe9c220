"""What a command writes for other programs: JSON on the standard output, one object a line, and nothing else there."""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import IO, TYPE_CHECKING

import click

from sentiment.governance.ledger import LedgerEntry, read_entries
from sentiment.paths import locate_state

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Write what came of it as JSON, one object a line; the log goes to stderr."
)


def list_entries() -> list[LedgerEntry]:
    """Return the entries of the ledger of this checkout."""
    return read_entries(locate_state().ledger)


@contextmanager
def write_added(read: "Callable[[], Sequence[DataclassInstance]]", *, as_json: bool) -> Iterator[None]:
    """Write the records that the block adds to those that `read` returns; also when the block fails."""
    if not as_json:
        yield
        return
    before = len(read())
    with _reserve_stdout() as stdout:
        try:
            yield
        finally:
            for record in read()[before:]:
                stdout.write(json.dumps(asdict(record)) + "\n")


@contextmanager
def _reserve_stdout() -> Iterator[IO[str]]:
    """Yield the standard output; what the block and its subprocesses write there goes to the standard error."""
    sys.stdout.flush()
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as kept:
        os.dup2(2, 1)
        try:
            yield kept
        finally:
            sys.stdout.flush()
            kept.flush()
            os.dup2(kept.fileno(), 1)
