"""The client as a package of its own: what it imports, and what is in the wheel."""

import ast
import sys
import tomllib

from sentiment.paths import CHECKOUT

FOLDER = CHECKOUT / "sentigate_client"


def list_imports(source: str) -> set[str]:
    """Return the packages that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
    return found


def test_it_needs_httpx_alone():
    """Whoever installs it gets nothing of training or serving."""
    imported = set().union(*(list_imports(file.read_text(encoding="utf-8")) for file in FOLDER.glob("*.py")))
    assert imported - set(sys.stdlib_module_names) == {"httpx", "sentigate_client"}


def test_every_file_is_named_for_the_wheel():
    """The folder is the package, so that its files are listed one by one."""
    settings = tomllib.loads((FOLDER / "pyproject.toml").read_text(encoding="utf-8"))
    listed = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]
    assert sorted(listed) == sorted([*(file.name for file in FOLDER.glob("*.py")), "py.typed"])
