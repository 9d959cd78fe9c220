"""What an audit says: clean only when every package was looked up."""

from deploy.images.audit import read_report
from sentiment.errors import DeployError

CLEAN = {"name": "numpy", "version": "2.4.6", "vulns": []}
SKIPPED = {"name": "click", "skip_reason": "Dependency not found on PyPI and could not be audited: click (8.5.0)"}
FOUND = {"name": "jinja2", "version": "3.1.2", "vulns": [{"id": "PYSEC-2024-1", "fix_versions": ["3.1.3"]}]}


def test_packages_without_a_finding_are_counted():
    """Clean means that all were looked up."""
    audit = read_report({"dependencies": [CLEAN, CLEAN]})
    assert (audit.packages, audit.findings) == (2, ())


def test_a_finding_names_the_version_that_mends_it():
    """A line says what, where, and the way out."""
    audit = read_report({"dependencies": [CLEAN, FOUND]})
    assert audit.findings == ("jinja2 3.1.2: PYSEC-2024-1, mended in 3.1.3",)


def test_a_package_that_was_not_looked_up_is_not_clean(refuses):
    """pip-audit itself calls this clean: a mirror of PyPI without the database would hide everything."""
    with refuses(DeployError):
        read_report({"dependencies": [CLEAN, SKIPPED]})
