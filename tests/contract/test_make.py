"""What each verb of make runs."""

import re
import subprocess

import pytest

from sentiment.paths import CHECKOUT

MAKEFILE = (CHECKOUT / "Makefile").read_text("utf-8")
VERBS = dict(re.findall(r"^([a-z-]+):.*## (.*)$", MAKEFILE, re.MULTILINE))
VARIABLE = re.compile(r"\b([A-Z_]+)=")
READY = ("--old-file=.sentigate/.ready", "--old-file=.venv/.ready")


def print_recipe(verb: str, *variables: str) -> str:
    """Return what make would run, one space between words, with nothing of this environment in it."""
    command = ["env", "-i", "PATH=/usr/bin:/bin", "make", "--no-print-directory", "-n", *READY, verb, *variables]
    printed = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    return "\n".join(" ".join(line.split()) for line in printed.splitlines())


@pytest.mark.parametrize("verb", VERBS)
def test_what_a_verb_runs_stays(verb, snapshot):
    """A verb runs the same command without its variables, and with each of those that its help names."""
    names = sorted(set(VARIABLE.findall(VERBS[verb])))
    said = [print_recipe(verb)] + ([print_recipe(verb, *(f"{name}={name.lower()}" for name in names))] if names else [])

    assert "\n".join(said) == snapshot


def test_the_help_of_make_stays(snapshot):
    """A user reads there which verbs there are and what each takes; the guard reads it, too."""
    command = ["env", "-i", "PATH=/usr/bin:/bin", "make", "help"]  # within a make, it would name its folder
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)

    assert done.stdout == snapshot


@pytest.mark.parametrize("given", ["destroy-aws ENVIROMENT=staging", "train ENVIRONMENT=staging", "promote VERSION 7"])
def test_the_refusals_of_make_stay(given, snapshot):
    """Each is one sentence with the way out."""
    done = subprocess.run(["make", "-n", *given.split()], cwd=CHECKOUT, capture_output=True, text=True, check=False)

    assert re.sub(r"^Makefile:\d+: ", "", done.stderr) == snapshot
