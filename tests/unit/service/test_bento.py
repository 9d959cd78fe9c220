"""What goes into the Bento."""

import ast
import sys
from importlib.metadata import packages_distributions

import yaml
from bentoml._internal.bento.build_config import BentoPathSpec
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from sentiment.paths import CHECKOUT


def read_included() -> BentoPathSpec:
    return BentoPathSpec(yaml.safe_load((CHECKOUT / "bentofile.yaml").read_text(encoding="utf-8"))["include"], [])


def test_every_file_of_the_service_is_in_the_bento():
    """A Bento that is served elsewhere has the pages, and whatever else the service reads."""
    taken = read_included()
    files = [path for path in (CHECKOUT / "service").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert [path.name for path in files if not taken.includes(path.relative_to(CHECKOUT).as_posix())] == []


def test_the_image_declares_what_its_modules_import():
    """The short list of packages names each one that a module of the Bento imports, not only what brings it along."""
    taken = read_included()
    lines = (CHECKOUT / "service" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    declared = {canonicalize_name(Requirement(line).name) for line in lines}
    distributions = packages_distributions()
    missing = set()
    for folder in ("service", "sentiment"):
        for path in (CHECKOUT / folder).rglob("*.py"):
            if taken.includes(path.relative_to(CHECKOUT).as_posix()):
                found = {name for name in list_imports(path) if name in distributions}
                missing |= {name for name in found if canonicalize_name(distributions[name][0]) not in declared}
    assert missing == set()


def list_imports(path) -> set[str]:
    """Return the top-level packages that a module imports, but for the standard library."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names)
