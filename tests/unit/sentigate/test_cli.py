"""The command itself: what it lists, how long that takes, and the one sentence that a mistake ends it with."""

import json
import os
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from sentigate.cli import sentigate
from sentigate.lazy import LazyCommand
from sentiment.governance.ledger import LedgerEntry, append_entry
from sentiment.paths import CHECKOUT

HEAVY = ("zenml", "mlflow", "bentoml", "torch", "sqlalchemy", "pandas", "boto3")


def run(*arguments: str, python: tuple[str, ...] = (), **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run the command in a process of its own, from another folder than the checkout."""
    return subprocess.run(
        [sys.executable, *python, "-m", "sentigate", *arguments],
        cwd="/",
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def list_lazy(group: click.Group, path: str = "sentigate") -> dict[str, LazyCommand]:
    found: dict[str, LazyCommand] = {}
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            found |= list_lazy(command, f"{path} {name}")
        elif isinstance(command, LazyCommand):
            found[f"{path} {name}"] = command
    return found


@pytest.mark.parametrize("command", list_lazy(sentigate).values(), ids=list_lazy(sentigate))
def test_every_subcommand_is_where_the_table_says(command):
    """A subcommand is imported when it is called, so that a wrong place would show then alone."""
    assert isinstance(command.load(), click.Command)
    assert command.load().help


def test_help_and_completion_import_nothing_heavy():
    """To list what there is takes a fraction of a second, because no library of training or serving is imported."""
    said = run("--help", python=("-X", "importtime")).stderr
    said += run(
        python=("-X", "importtime"), _SENTIGATE_COMPLETE="bash_complete", COMP_WORDS="sentigate tra", COMP_CWORD="1"
    ).stderr
    imported = {line.rpartition("|")[2].strip() for line in said.splitlines()}
    assert "click" in imported
    assert not imported & set(HEAVY)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_can_complete_the_command(shell):
    """What is printed defines a completion for the shell."""
    done = run("completion", shell)
    assert done.returncode == 0, done.stderr
    assert "_SENTIGATE_COMPLETE" in done.stdout


def test_completion_names_subcommands_and_options():
    """Names of subcommands, of those of a group and of options are completed."""

    def complete(words: str, at: int) -> set[str]:
        done = run(_SENTIGATE_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(at))
        return {line.partition(",")[2] for line in done.stdout.splitlines()}

    assert complete("sentigate tr", 1) == {"train"}
    assert complete("sentigate ledger s", 2) == {"show", "seal"}
    assert "--dataset" in complete("sentigate train --d", 2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tran"], "there is no command tran (did you mean train?); `sentigate --help`"),
        (["ledger", "shwo"], "there is no command shwo (did you mean show?); `sentigate ledger --help`"),
        (["train", "--datset", "x"], "there is no option --datset (did you mean --dataset?); `sentigate train --help`"),
        (["canary", "--share", "much"], "'much' is not a valid float; `sentigate canary --help`"),
        (["promote"], "Missing option '--version'; `sentigate promote --help`"),
        (["canary", "--watch-only", "--share", "0.3"], "so that it excludes --share; leave one of them out;"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_command_line_that_is_wrong_is_said_in_one_line(arguments, said, tmp_path):
    """The line says what is wrong, the nearest name where there is one, and where to look; the exit code is 2."""
    (tmp_path / "zenml").mkdir()
    done = run(*arguments, SENTIMENT_STATE_DIR=str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert said in done.stderr


def test_a_checkout_that_is_not_set_up_is_said(tmp_path):
    """A pipeline needs what `make setup` makes; its help does not."""
    assert run("promote", "--help", SENTIMENT_STATE_DIR=str(tmp_path)).returncode == 0
    done = run("promote", "--version", "3", SENTIMENT_STATE_DIR=str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"Error: {tmp_path} is not set up; run `make setup` in {CHECKOUT}, then the same command again.\n"
    )


def test_what_is_no_checkout_is_said(tmp_path):
    """The package alone has no configuration to run."""
    for package in ("sentigate", "sentiment"):
        shutil.copytree(CHECKOUT / package, tmp_path / package)
    done = run("train", PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"Error: {tmp_path} is no checkout of Sentigate; clone one")


def test_a_python_without_the_packages_is_said():
    """Before `make setup` there is no click, and the sentence names the way out."""
    done = run("train", python=("-S",))
    assert (done.returncode, done.stdout) == (1, "")
    assert "has no click; run `make setup`, then `.venv/bin/sentigate`" in done.stderr


def test_a_file_that_is_missing_is_said(tmp_path):
    """The way out is in the sentence."""
    (tmp_path / "zenml").mkdir()
    done = run("train", "--config", str(tmp_path / "none.yaml"), SENTIMENT_STATE_DIR=str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert f"there is no configuration file '{tmp_path / 'none.yaml'}'" in done.stderr


def test_the_state_folder_is_in_the_environment(tmp_path):
    """Without a .pth file, libraries find the state folder of the checkout; a variable that is set already wins."""
    script = "import os, sentigate.__main__ as m; m.sys.argv = ['sentigate', '--version']\ntry: m.main()\n" + (
        "except SystemExit: print(os.environ['BENTOML_HOME'], os.environ['MLFLOW_TRACKING_URI'])"
    )
    site = Path(click.__file__).parents[1]
    environment = {"PYTHONPATH": f"{CHECKOUT}:{site}", "SENTIMENT_STATE_DIR": str(tmp_path), "MLFLOW_TRACKING_URI": "x"}
    command = [sys.executable, "-S", "-c", script]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert said.splitlines()[-1] == f"{tmp_path}/bentoml x"


def test_the_ledger_is_json_alone(tmp_path, monkeypatch):
    """One object a line, and what else there is to say goes to the standard error."""
    monkeypatch.setenv("SENTIMENT_STATE_DIR", str(tmp_path))
    assert run("ledger", "show", "--json").stdout == ""
    entry = LedgerEntry("2026-11-30T09:00:00Z", "decision", "sentiment", "3", "version 3 passed.")
    append_entry(tmp_path / "ledger.jsonl", entry)
    (tmp_path / "move.json").write_text("{}")
    done = run("ledger", "show", "--json")
    assert [json.loads(line)["version"] for line in done.stdout.splitlines()] == ["3"]
    assert "was cut off" in done.stderr


def test_the_status_of_services_is_json(tmp_path):
    """Each running service is an object: the model that answers, and the canary that it tries."""
    canary = {"model_version": "4-0a1b2c3d4e5f", "share": 0.1, "status": "on", "reason": ""}
    health = {
        "status": "ok",
        "model_version": "3-1a2b3c4d5e6f",
        "workers": {"living": 2, "current": 2},
        "prediction_log": "off",
        "canary": canary,
        "shadow": "off",
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(health).encode())

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        said = run("status", "--url", url, SENTIMENT_STATE_DIR=str(tmp_path))
        found = run("status", "--url", url, "--json", SENTIMENT_STATE_DIR=str(tmp_path))
        server.shutdown()
    assert said.stdout == f"{url} is ok, model 3-1a2b3c4d5e6f; canary 4-0a1b2c3d4e5f is on\n", said.stderr
    (status,) = map(json.loads, found.stdout.splitlines())
    assert (status["url"], status["model_version"], status["canary"]) == (url, "3-1a2b3c4d5e6f", canary)


def test_a_service_that_does_not_run_is_said(tmp_path):
    """Nothing runs from an empty state folder."""
    done = run("status", "--json", SENTIMENT_STATE_DIR=str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert "no service of this checkout runs; start one with `make serve`" in done.stderr


@pytest.fixture
def run_inside():
    """Return what the command says when a subcommand of ours is one of its own."""

    def run_it(work, **options):
        sentigate.commands["work"] = click.Command("work", callback=work)
        try:
            return CliRunner().invoke(sentigate, ["work"], **options)
        finally:
            del sentigate.commands["work"]

    return run_it


def test_a_question_that_is_answered_with_no_ends_in_one_line(run_inside):
    """Nothing is done, and the exit code says so."""
    done = run_inside(lambda: click.confirm("Really?", abort=True), input="n\n")
    assert (done.exit_code, done.output.splitlines()[-1]) == (1, "nothing was done.")


def test_an_interrupt_ends_in_one_line(run_inside):
    """Ctrl-C shows no stack trace, and the exit code is that of an interrupt."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    done = run_inside(interrupt)
    assert (done.exit_code, done.output.splitlines()[-1]) == (130, "stopped.")
