"""One value spells a model's name for every store."""

import pytest

from sentiment.errors import RegistryError
from sentiment.model_name import ModelName

NAME = ModelName("5", "81d4da08a3a1" + "0" * 52)


def test_each_store_has_its_spelling():
    """Predictions name number and digest; BentoML's store has a model and a Bento of that name."""
    assert (str(NAME), NAME.tag, NAME.bento) == (
        "5-81d4da08a3a1",
        "sentiment:5-81d4da08a3a1",
        "sentigate:5-81d4da08a3a1",
    )


def test_a_name_is_read_back():
    """What predictions name is enough to find the version, and is spelt the same again."""
    assert ModelName.parse(str(NAME)) == ModelName("5", "81d4da08a3a1")
    assert str(ModelName.parse(str(NAME))) == str(NAME)


@pytest.mark.parametrize(
    "text", ["", "5", "-81d4da08a3a1", "5-81d4", "5-81D4DA08A3A1", "five-81d4da08a3a1", "5-81d4da08a3a1\n"], ids=repr
)
def test_what_is_no_name_is_told(text, sentence):
    """The sentence shows what was given and what a name looks like."""
    with pytest.raises(RegistryError) as raised:
        ModelName.parse(text)
    assert str(raised.value) == sentence
