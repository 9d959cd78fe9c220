"""The sentences that users see, each held by the test that hears it."""

import ast
import re

from tests.support.sentences import KEPT, TESTS

NAME = re.compile(r"^# name: (\w+)", re.MULTILINE)


def test_every_sentence_is_held_by_a_test():
    """What a test that is gone leaves behind is removed with it."""
    left = []
    for kept in KEPT.rglob("*.ambr"):
        file = TESTS / kept.relative_to(KEPT).with_suffix(".py")
        nodes = ast.parse(file.read_text("utf-8")).body if file.is_file() else []
        tests = {
            node.name
            for node in nodes
            if isinstance(node, ast.FunctionDef) and {"refuses", "sentence"} & {each.arg for each in node.args.args}
        }
        left += [(file.name, name) for name in NAME.findall(kept.read_text("utf-8")) if name not in tests]

    assert left == []
