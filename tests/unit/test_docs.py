"""What the documents claim, held to the tests that they name."""

import ast
import re

import pytest

from sentiment.paths import CHECKOUT

SECURITY = (CHECKOUT / "docs" / "explanation" / "security.md").read_text(encoding="utf-8")
RISKS = (CHECKOUT / "docs" / "contributing" / "upgrade_risks.md").read_text(encoding="utf-8")
TEST = re.compile(r"`((?:unit|integration|e2e|browser)/[\w/]+\.py)::(\w+)`")
DEFENDED = re.compile(r"^- (.*?)(?=^- |^#|\Z)", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("file", "name"), sorted({*TEST.findall(SECURITY), *TEST.findall(RISKS)}))
def test_a_test_that_is_named_is_there(file, name):
    tree = ast.parse((CHECKOUT / "tests" / file).read_text(encoding="utf-8"))

    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_claim_names_a_test():
    """Each item above the tables, and each row that does not say that nothing helps."""
    claims, rest = SECURITY.split("## OWASP API", 1)
    items = DEFENDED.findall(claims.split("## The door", 1)[1])
    rows = [row for row in rest.split("## Not defended")[0].splitlines() if re.match(r"\| (API|ML)\d", row)]

    assert len(items) > 30
    assert [item for item in items if not TEST.search(item)] == []
    assert len(rows) == 20
    assert [row[:6] for row in rows if not TEST.search(row)] == ["| API1", "| ML03", "| ML04"]
