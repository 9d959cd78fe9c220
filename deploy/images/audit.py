"""`sentigate audit`: known vulnerabilities in packages of images and deployment jobs, by pip-audit."""

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import click

from deploy.cli_errors import SentenceCommand
from sentiment.errors import DeployError, find_last_words
from sentiment.paths import CHECKOUT

LOCKS = [CHECKOUT / folder / "requirements.lock" for folder in ("service", "deploy/compose/mlflow", "deploy")]
SERVICES = ("pypi", "osv")


@dataclass(frozen=True)
class Audit:
    """How many packages were looked up, and a line for each vulnerability of one."""

    packages: int
    findings: tuple[str, ...]


def read_report(report: dict[str, Any]) -> Audit:
    """Return what pip-audit found. Raises DeployError when it could not look up every package, which it calls clean."""
    packages = report["dependencies"]
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    if skipped:
        raise DeployError(
            f"{len(skipped)} of {len(packages)} packages could not be looked up, {skipped[0]} among them: the database"
            " does not know them or cannot be reached. Run this where https://pypi.org or, with --service osv,"
            " https://api.osv.dev can be reached."
        )
    findings = [
        f"{package['name']} {package['version']}: {found['id']}, mended in {', '.join(found['fix_versions']) or 'none'}"
        for package in packages
        for found in package["vulns"]
    ]
    return Audit(len(packages), tuple(findings))


def audit_locks(service: str) -> Audit:
    """Look up each package of the locks. Raises DeployError when the database cannot be reached."""
    command = [sys.executable, "-m", "pip_audit", "--require-hashes", "--disable-pip"]
    command += [part for lock in LOCKS for part in ("--requirement", str(lock))]
    command += ["--format", "json", "--progress-spinner", "off", "--vulnerability-service", service]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        return read_report(json.loads(done.stdout))
    except ValueError as error:
        raise DeployError(f"pip-audit could not ask the database: {find_last_words(done.stderr)}.") from error


@click.command(cls=SentenceCommand)
@click.option("--service", type=click.Choice(SERVICES), default="pypi", show_default=True, help="Database to ask.")
def main(service: str) -> None:
    """Look the packages of the images up among known vulnerabilities; end with 1 when there is one, or no answer."""
    audit = audit_locks(service)
    for finding in audit.findings:
        click.echo(finding)
    if audit.findings:
        raise click.ClickException(
            f"{len(audit.findings)} known vulnerabilities in {audit.packages} packages; raise the versions with"
            " `make lock UPGRADE=1`."
        )
    click.echo(f"no known vulnerability in {audit.packages} packages")
