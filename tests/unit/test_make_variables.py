"""Variables of make: a name that a verb does not take stops it before anything runs."""

import os
import re
import subprocess
from functools import cache

import pytest

from sentiment.paths import CHECKOUT

MAKEFILE = (CHECKOUT / "Makefile").read_text("utf-8")
HELP = dict(re.findall(r"^([a-z-]+):.*## (.*)$", MAKEFILE, re.MULTILINE))
TAKEN = {verb: set(re.findall(r"\b([A-Z_]+)=", said)) for verb, said in HELP.items()}
DEFINED = dict(re.findall(r"^(?:[a-z ]+: export )?([A-Z_]+) [:?]?= ?(.*)$", MAKEFILE, re.MULTILINE))
SETTABLE = set().union(*TAKEN.values(), re.findall(r"^([A-Z_]+) \?=", MAKEFILE, re.MULTILINE)) - {"PYTHON"}
USED = re.compile(r"\$\((?:value )?([A-Z_]+)|\$\$([A-Z_]+)")
TOLD = re.compile(r"\bmake ([a-z-]+)((?: [A-Za-z_]+=(?:\"[^\"]*\"|'[^']*'|[^\s`|;&]*))+)")
STACK_VERBS = ("up", "down", "stack-secrets", "backup", "restore")
READY = ("--old-file=.sentigate/.ready", "--old-file=.venv/.ready")


def run_make(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Ask make what it would run, in a checkout that is set up."""
    plain = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL", *SETTABLE}}
    command = ["make", "-n", *READY, *arguments]
    return subprocess.run(command, cwd=CHECKOUT, env=plain | environment, capture_output=True, text=True, check=False)


@cache
def list_stack_variables() -> set[str]:
    """Return what compose.yaml takes of the environment, apart from the settings of the service."""
    (compose,) = CHECKOUT.glob("deploy/**/compose.yaml")
    return {name for name in re.findall(r"\$\{([A-Z_]+)", compose.read_text("utf-8")) if "SENTIMENT" not in name}


def find_used(text: str) -> set[str]:
    """Return the variables that a text of the Makefile uses, by whichever definitions."""
    names = {first or second for first, second in USED.findall(text)}
    return names.union(*(find_used(DEFINED[name]) for name in names if name in DEFINED and name not in SETTABLE))


@pytest.mark.parametrize(
    ("given", "hints"),
    [
        (["destroy-aws", "ENVIROMENT=staging"], ["ENVIROMENT (did you mean ENVIRONMENT?)"]),
        (["destroy-aws", "environment=staging"], ["environment (did you mean ENVIRONMENT?)"]),
        (["destroy-aws", "ENVIRONMENTS=staging"], ["ENVIRONMENTS (did you mean ENVIRONMENT?)"]),
        (["destroy-aws", "ENV=staging"], ["ENV (did you mean ENVIRONMENT?)"]),
        (["destroy-aws", "ENVIROMENT="], ["ENVIROMENT (did you mean ENVIRONMENT?)"]),
        (["ENVIROMENT=staging", "destroy-aws"], ["ENVIROMENT (did you mean ENVIRONMENT?)"]),
        (["destroy-aws", "ENVIROMENT:=staging"], ["ENVIROMENT (did you mean ENVIRONMENT?)"]),
        (["-e", "destroy-aws", "ENVIROMENT=staging"], ["ENVIROMENT (did you mean ENVIRONMENT?)"]),
        (["promote", "VERISON =7"], ["VERISON (did you mean VERSION?)"]),
        (["canary", "VERISON=9", "SHAR=0.3"], ["SHAR (did you mean SHARE?)", "VERISON (did you mean VERSION?)"]),
        (["train", "evaluate", "DATASET=a", "DATASTES=a"], ["DATASTES (did you mean DATASETS?)"]),
        (["train", "ENVIRONMENT=staging"], ["ENVIRONMENT (ENVIRONMENT is of make deploy-aws destroy-aws)"]),
        (["ENVIROMENT=staging"], ["ENVIROMENT (ENVIRONMENT is of make deploy-aws destroy-aws)"]),
        (["clean", "FORCE=1"], ["FORCE (FORCE is of make canary promote train)"]),
        (["clean", "QQQQQQ=1"], ["QQQQQQ, only PYTHON"]),
        (["up", "HTTP_PROT=8080"], ["HTTP_PROT (did you mean HTTP_PORT?)"]),
        (["train", "STACK=1"], ["STACK"]),
        (["train", "STRAY="], ["STRAY"]),
        (["smoke", "it's=$(HOME)"], ["it's"]),
    ],
)
def test_a_variable_that_a_verb_does_not_take_stops_it(given, hints):
    """In one sentence that names the nearest, whatever is wrong with the name."""
    done = run_make(*given)

    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert [hint for hint in hints if f" no {hint}" not in done.stderr] == []


@pytest.mark.parametrize("verb", HELP)
def test_every_verb_stops(verb):
    """A verb that is added has the guard without a word of its own."""
    name = "INTO" if verb == "restore" else "FROM"
    done = run_make(verb, f"{name}=there")

    assert (done.returncode, done.stdout) == (2, "")
    assert f"make {verb} takes no {name}" in done.stderr


def test_nothing_runs_before_it_stops(tmp_path):
    """The set-up of a new checkout does not run either."""
    command = ["make", f"PY=touch {tmp_path / 'ran'} #", "destroy-aws", "ENVIROMENT=staging"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)

    assert (done.returncode, list(tmp_path.iterdir())) == (2, [])


def test_a_value_without_its_sign_stops(tmp_path):
    """`make promote VERSION 7` would promote what is newest, and complain of VERSION afterwards."""
    assert "(write VERSION=value)" in run_make("promote", "VERSION", "7").stderr
    assert run_make("promote", "VERSION", "7").stdout == run_make("promote", "VERSION", "=", "7").stdout == ""


def test_a_verb_that_is_misspelt_stops_the_others():
    """The verbs before it would run, and it would complain of itself afterwards."""
    done = run_make("check", "trian")

    assert (done.returncode, done.stdout) == (2, "")
    assert "no trian (did you mean train?)" in done.stderr


@pytest.mark.parametrize(
    ("given", "environment", "wanted"),
    [
        (["destroy-aws", "ENVIRONMENT=staging", "-j2"], {}, "--environment 'staging'"),
        (["destroy-aws"], {"ENVIRONMENT": "staging"}, "--environment 'staging'"),
        (["destroy-aws"], {"ENVIROMENT": "staging"}, "--environment 'production'"),
        (["-e", "destroy-aws"], {"ENVIRONMENT": "staging", "CI": "true"}, "--environment 'staging'"),
        (["promote", "VERSION =7"], {}, "--version '7'"),
        (["serve", "PYTHON=python3", "SENTIMENT_WORKERS=2"], {}, "--port 3000"),
        (["migrate", "DATABASE_URL=sqlite:///x", "MAKEFLAGS=-s"], {}, "migrate"),
        (["up", "SENTIGATE_PORT=3100", "PROFILES=front", "HTTPS_PORT=8443"], {}, "--profiles 'front'"),
        (["train", "reject", "DATASET=a", "REASON=b"], {}, "--dataset 'a'"),
    ],
)
def test_what_is_known_passes(given, environment, wanted):
    """Names that a verb takes, our settings, and whatever the environment holds."""
    done = run_make(*given, **environment)

    assert (done.returncode, done.stderr) == (0, "")
    assert wanted in done.stdout


def test_the_set_up_of_a_checkout_minds_no_variable_of_the_verb():
    """make starts itself to make the state folder, with the variables of the verb that wants it."""
    command = ["make", "-n", "--what-if=pipelines/setup.py", READY[1], "train", "DATASET=mine"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert "setup" in done.stdout
    assert "--dataset 'mine'" in done.stdout


@pytest.mark.parametrize("value", ["a $b $$c", "$(shell touch made)", 'it\'s "this"', "`touch made`", "a, b) # %"])
def test_a_value_is_not_looked_into(tmp_path, value):
    """A text has whatever signs it has, where the guard passes and where it stops."""
    for given in (f"TEXT={value}", f"TXET={value}"):
        done = run_make("forget", given)
        assert done.returncode == (2 if given.startswith("TXET") else 0)
    assert not (CHECKOUT / "made").exists()


@pytest.mark.parametrize("verb", HELP)
def test_help_names_what_a_recipe_uses(verb):
    """The guard goes by the help, so that a variable that help lacks could not be given."""
    recipe = re.search(rf"^{verb}:.*## .*\n((?:\t.*\n)*)", MAKEFILE, re.MULTILINE)[1]

    assert find_used(recipe) & SETTABLE == TAKEN[verb] - {"PYTHON", *list_stack_variables()}


def test_the_verbs_of_the_stack_take_what_compose_reads():
    """Ports and names of images are given to compose through make."""
    named = set(re.search(r"^STACK := ((?:.*\\\n)*.*)", MAKEFILE, re.MULTILINE)[1].replace("\\", "").split())

    assert named == list_stack_variables()


def list_told() -> list[tuple[str, str, str]]:
    """Return where documents, sentences and workflows tell somebody to give a verb variables."""
    command = ["git", "grep", "-lE", r"make [a-z-]+ [A-Z_]+=", "--", ":!tests/unit/test_make_variables.py"]
    files = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout.split()
    return [(file, *found) for file in files for found in TOLD.findall((CHECKOUT / file).read_text("utf-8"))]


def test_whoever_follows_the_documents_is_not_stopped():
    """What documents, sentences and workflows say to type, the guard lets pass."""
    told = [(file, verb, name) for file, verb, given in list_told() for name in re.findall(r" ([A-Za-z_]+)=", given)]

    passing = {
        verb: names | (list_stack_variables() if verb in STACK_VERBS else set()) for verb, names in TAKEN.items()
    }
    assert len(told) > 50
    assert [row for row in told if row[1] not in passing or row[2] not in passing[row[1]]] == []
