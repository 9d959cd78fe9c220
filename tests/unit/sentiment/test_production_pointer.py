"""One value reads and writes what is in production."""

import json

import pytest

from sentiment.errors import PointerError
from sentiment.production_pointer import ProductionPointer

POINTER = ProductionPointer("sentiment:5-81d4da08a3a1", "sentigate:5-81d4da08a3a1", "81d4da08a3a1" + "0" * 52)


def test_a_pointer_is_read_as_it_was_written(tmp_path):
    """The file holds the three values by name, and nothing lies beside it."""
    file = tmp_path / "production.json"
    POINTER.write(file)

    assert ProductionPointer.read(file) == POINTER
    assert json.loads(file.read_text()) == {"tag": POINTER.tag, "bento": POINTER.bento, "digest": POINTER.digest}
    assert list(tmp_path.iterdir()) == [file]


def test_the_version_is_that_of_the_model():
    """Predictions name the version without the name of the model."""
    assert POINTER.version == "5-81d4da08a3a1"


def test_a_checkout_without_a_pointer_has_nothing_in_production(tmp_path):
    """No file is no error: who reads says what to do."""
    assert ProductionPointer.read(tmp_path / "production.json") is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"tag": "sentiment:1"}'], ids=repr)
def test_a_damaged_pointer_is_named(tmp_path, content, refuses):
    """Half a pointer points to nothing, and the file is named."""
    file = tmp_path / "production.json"
    file.write_bytes(content)

    with refuses(PointerError):
        ProductionPointer.read(file)
