"""One value of the configuration from the command line: `--set section.key=value`."""

from copy import deepcopy

import click
import pytest

from sentigate.configuration import override_setting
from sentiment.config.reader import check_parameters, read_yaml
from sentiment.config.schema import TrainingConfig
from sentiment.paths import CHECKOUT

PARAMETERS = {"training": {"seed": 13, "svm": {"c": 1.0}}, "gate": {"strict": False}, "candidates": ["svm"]}


def override(setting: str) -> dict:
    parameters = deepcopy(PARAMETERS)
    override_setting(parameters, setting)
    return parameters


def say_mistake(setting: str) -> str:
    with pytest.raises(click.ClickException) as caught:
        override(setting)
    return str(caught.value)


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ("7", 7),
        ("0.5", 0.5),
        ("true", True),
        ("auto", "auto"),
        ("", None),
        ("[svm, lora]", ["svm", "lora"]),
        ("{default: 0.5}", {"default": 0.5}),
        ("'7'", "7"),
        ("a=b", "a=b"),
        ("the champion leaks names", "the champion leaks names"),
    ],
)
def test_a_value_is_read_as_in_the_file(said, value):
    """Numbers are numbers, lists are lists, and quotes keep a word; an equals sign may be in the value."""
    assert override(f"training.seed={said}")["training"]["seed"] == value


def test_one_value_leaves_the_others_alone():
    """Whatever is not named stays as the file has it."""
    assert override("training.seed=7") == {**PARAMETERS, "training": {"seed": 7, "svm": {"c": 1.0}}}


def test_a_value_deep_inside_is_reached():
    """A path may have any number of sections."""
    assert override("training.svm.c=2")["training"] == {"seed": 13, "svm": {"c": 2}}


def test_white_space_around_the_path_is_nothing():
    """Quotes on a command line may hold spaces."""
    assert override(" training.seed = 7") == override("training.seed=7")


@pytest.mark.parametrize("key", ["gate.min_f1.reviews", "new.section.key"])
def test_a_section_that_is_not_there_is_made(key):
    """Floors of a dataset may be added; whether a section is known, the check of the configuration says."""
    *parents, last = key.split(".")
    place = override(f"{key}=0.75")
    for parent in parents:
        place = place[parent]
    assert place == {last: 0.75}


@pytest.mark.parametrize("setting", ["training.seed", "=7", "", "7"])
def test_what_is_no_setting_is_told(setting, sentence):
    """A name, an equals sign, a value."""
    assert say_mistake(setting) == sentence


@pytest.mark.parametrize("setting", ["training.seed.first=7", "candidates.first=svm"])
def test_a_path_through_a_value_is_told(setting, sentence):
    """Below a value there is nothing to set."""
    assert say_mistake(setting) == sentence


@pytest.mark.parametrize("value", ["[1", "a: b: c", "'open", "!!python/name:os.system", "\x00"], ids=repr)
def test_a_value_that_is_not_yaml_is_told(value, sentence):
    """A bracket that is open, and a tag that would run code, are told with the way out."""
    setting = f"gate.force={value}"
    assert say_mistake(setting) == sentence


def test_a_date_that_does_not_exist_is_not_yaml():
    """What YAML takes for a date and cannot read is told as well."""
    assert say_mistake("dataset.name=2026-13-45").endswith("the value is not YAML; put it in quotes.")


def test_a_setting_of_the_project_can_be_set():
    """What was set passes the check and arrives."""
    parameters = read_yaml(CHECKOUT / "zenml_config.yaml")["parameters"]
    for setting in ("training.svm.gamma=0.5", "gate.force=the champion leaks names", "dataset.labels.5=positive"):
        override_setting(parameters, setting)
    config = check_parameters(parameters, "made.yaml", TrainingConfig)
    assert (config.training.svm.gamma, config.gate.force) == (0.5, "the champion leaks names")
    assert config.dataset.labels == {"5": "positive"}


def test_a_number_with_an_exponent_may_lack_its_point():
    """YAML reads 2e-4 as a word; the check of the configuration makes a number of it."""
    parameters = read_yaml(CHECKOUT / "zenml_config.yaml")["parameters"]
    override_setting(parameters, "training.transformer.learning_rate=2e-4")
    assert check_parameters(parameters, "made.yaml", TrainingConfig).training.transformer.learning_rate == 0.0002
