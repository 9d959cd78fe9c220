"""What is written down after a deployment."""

import pytest

from deploy.ci.release import choose_change
from sentiment.governance.ledger import LedgerEntry

NOW = "2026-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("deployed", "production", "staging", "change"),
    [
        ("6-bbbbbbbbbbbb", "6-bbbbbbbbbbbb", None, None),  # the code alone was new
        ("6-bbbbbbbbbbbb", "5-aaaaaaaaaaaa", "6-bbbbbbbbbbbb", "approve"),
        (
            "6-bbbbbbbbbbbb",
            "5-aaaaaaaaaaaa",
            "7-cccccccccccc",
            "promote",
        ),  # while it waited, a later one passed the gate
        ("4-dddddddddddd", "5-aaaaaaaaaaaa", "6-bbbbbbbbbbbb", "rollback"),
        ("6-bbbbbbbbbbbb", None, "6-bbbbbbbbbbbb", "approve"),  # the first of all
    ],
)
def test_the_registry_follows_what_was_deployed(deployed, production, staging, change):
    entries = [LedgerEntry(NOW, "promotion", "sentiment", version, "") for version in ("4", "5")]
    assert choose_change(deployed, production, staging, entries) == change
