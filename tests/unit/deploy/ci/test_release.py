"""What is written down after a deployment."""

import pytest

from deploy.ci.release import choose_verb
from sentiment.governance.ledger import LedgerEntry

NOW = "2026-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("deployed", "production", "staging", "verb"),
    [
        ("6-b", "6-b", None, None),  # the code alone was new
        ("6-b", "5-a", "6-b", "approve"),
        ("6-b", "5-a", "7-c", "promote"),  # while it waited, a later one passed the gate
        ("4-d", "5-a", "6-b", "rollback"),
        ("6-b", None, "6-b", "approve"),  # the first of all
    ],
)
def test_the_registry_follows_what_was_deployed(deployed, production, staging, verb):
    entries = [LedgerEntry(NOW, "promotion", "sentiment", version, "") for version in ("4", "5")]
    assert choose_verb(deployed, production, staging, entries) == verb
