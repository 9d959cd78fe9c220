"""What a change of production says of itself, for the ledger and for people."""

from release.journal import ProductionChange
from sentiment.model_name import ModelName


def make_change(**changes: object) -> ProductionChange:
    made = {"event": "promotion", "model": ModelName("7", "d" * 64), "source": "/files", "replaced": "5"}
    return ProductionChange(**made | {"previous": "5", "by": "mia", "reason": "it is better"} | changes)


def test_an_approval_and_its_promotion_are_two_lines():
    """The ledger has who approved and what happened then; without approval it has one line."""
    approved = make_change(approved=True).list_entries()
    assert [(entry.event, entry.version, entry.by, entry.reason) for entry in approved] == [
        ("approval", "7", "mia", "it is better"),
        ("promotion", "7", "mia", "it is better"),
    ]
    assert [entry.event for entry in make_change().list_entries()] == ["promotion"]


def test_the_ledger_names_bento_and_digest():
    """The line has all that a rollback needs to know."""
    assert make_change().list_entries()[0].details == {
        "bento": "sentigate:7-dddddddddddd",
        "digest": "d" * 64,
        "replaced": "5",
        "previous": "5",
        "force": "",
    }


def test_a_change_says_what_was_replaced(sentence):
    """The sentence names both versions."""
    assert make_change().summary == sentence
    assert make_change(replaced=None).summary == sentence
    assert make_change(event="rollback").summary == sentence
