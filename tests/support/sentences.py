"""The sentences that users see: kept in `tests/contract/sentences`, so that a test holds one without repeating it."""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion
from syrupy.data import SnapshotCollections
from syrupy.extensions.amber import AmberSnapshotExtension
from syrupy.location import PyTestLocation

from sentiment.paths import CHECKOUT

TESTS = CHECKOUT / "tests"
KEPT = TESTS / "contract" / "sentences"
DIGEST = re.compile(r"\b[0-9a-f]{12,}\b")
MADE_UP = re.compile(r"-[a-z0-9_]{8}(?=/)")  # what `tempfile` adds to the name of a folder

Refuses = Callable[[Any], AbstractContextManager[pytest.ExceptionInfo[Any]]]


class Sentences(AmberSnapshotExtension):
    """Sentences of a file of tests, in a folder that mirrors the tests; folders and digests are left out."""

    scratch = Path()

    @classmethod
    def dirname(cls, *, test_location: PyTestLocation) -> str:
        """Return the folder of the sentences of a test."""
        return str(KEPT / Path(test_location.filepath).parent.relative_to(TESTS))

    def discover_snapshots(self, **_: Any) -> SnapshotCollections:
        """Return none: outside the folder of its tests, syrupy would take the rest of a file for unused."""
        return SnapshotCollections()

    def serialize(self, data: Any, **options: Any) -> str:
        """Return a sentence without what differs between two runs."""
        said = re.sub(rf"{re.escape(str(self.scratch))}/[^/\s'\"`,;)]+", "SCRATCH", str(data))
        said = MADE_UP.sub("", DIGEST.sub("DIGEST", said.replace(str(CHECKOUT), "CHECKOUT")))
        return super().serialize(said, **options)


def expect_refusals(sentence: SnapshotAssertion) -> Refuses:
    """Return what holds the type and the sentence of an error."""

    @contextmanager
    def refuses(kind: Any) -> Iterator[pytest.ExceptionInfo[Any]]:
        with pytest.raises(kind) as refused:
            yield refused
        assert str(refused.value) == sentence

    return refuses
