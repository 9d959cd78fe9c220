"""The strict shape of the configuration, and the sentence for each mistake in it."""

import pytest
import yaml
from pydantic import ValidationError

from sentiment.config import CANDIDATES, check_parameters, read_config, read_yaml
from sentiment.datasets import NAMED
from sentiment.errors import ConfigError
from sentiment.state import CHECKOUT

SHIPPED = CHECKOUT / "zenml_config.yaml"
COPY_ONE = "the zenml_config.yaml of the project has a value to start from."


@pytest.fixture
def content() -> dict:
    """What the project's own configuration says."""
    return yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))


@pytest.fixture
def parameters(content) -> dict:
    return content["parameters"]


def say_mistake(parameters: dict) -> str:
    with pytest.raises(ConfigError) as caught:
        check_parameters(parameters, "made.yaml")
    return str(caught.value)


def say_file_mistake(file, content: bytes | dict) -> str:
    file.write_bytes(content if isinstance(content, bytes) else yaml.safe_dump(content).encode())
    with pytest.raises(ConfigError) as caught:
        read_config(file)
    return str(caught.value)


def change(parameters: dict, key: str, value: object) -> dict:
    section, name = key.split(".")
    return {**parameters, section: {**parameters[section], name: value}}


def test_the_configuration_of_the_project_is_valid():
    """The file that ships with the project passes its own rules."""
    assert read_config(SHIPPED).dataset.name == "bundled"


def test_every_named_dataset_has_a_floor_of_its_own():
    """The shipped file names a floor for each dataset that has a name."""
    assert set(NAMED) <= set(read_config(SHIPPED).gate.min_f1)


def test_a_named_floor_comes_before_the_default(parameters):
    """A dataset that is named has its own floor; any other has the default."""
    gate = check_parameters(change(parameters, "gate.min_f1", {"default": 0.6, "imdb": 0.85}), "made.yaml").gate
    assert (gate.floor_for("imdb"), gate.floor_for("reviews")) == (0.85, 0.6)


@pytest.mark.parametrize("name", CANDIDATES)
def test_each_candidate_may_stand_alone(parameters, name):
    """Every candidate that the messages list is accepted."""
    assert check_parameters({**parameters, "candidates": [name]}, "made.yaml").candidates == (name,)


def test_integer_keys_in_labels_are_text(parameters):
    """Star ratings written as YAML numbers match the labels of a file, which are text."""
    labels = yaml.safe_load("{1: negative, 3: neutral, 5: positive}")
    config = check_parameters(change(parameters, "dataset.labels", labels), "made.yaml")
    assert config.dataset.labels == {"1": "negative", "3": "neutral", "5": "positive"}


def test_what_a_dataset_leaves_out_is_usual(parameters):
    """A dataset needs a name alone; columns and encoding have the usual values."""
    dataset = check_parameters({**parameters, "dataset": {"name": "a.csv"}}, "made.yaml").dataset
    assert (dataset.text_column, dataset.label_column, dataset.encoding) == ("text", "label", "utf-8")
    assert (dataset.labels, dataset.train_fraction) == ({}, 1.0)


def test_a_checked_configuration_cannot_change(parameters):
    """What was checked stays as it was."""
    config = check_parameters(parameters, "made.yaml")
    with pytest.raises(ValidationError):
        config.gate.strict = True


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("split.validation_share", 0.79),
        ("dataset.train_fraction", 1),
        ("dataset.train_fraction", 0.001),
        ("encoder.max_tokens", 8),
        ("encoder.max_tokens", 512),
        ("encoder.max_int8_loss", 0),
        ("encoder.precision", "int8"),
        ("encoder.precision", "fp32"),
        ("training.gamma", "auto"),
        ("training.gamma", 0.5),
        ("training.seed", 0),
        ("training.smote_neighbours", 1),
        ("gate.min_f1", {"default": 0}),
        ("gate.min_f1", {"default": 1}),
        ("gate.min_improvement", 1),
        ("gate.max_class_drop", 0),
        ("gate.strict", True),
    ],
)
def test_a_value_on_the_border_is_accepted(parameters, key, value):
    """The first and last values of each range are inside it."""
    section, name = key.split(".")
    assert getattr(getattr(check_parameters(change(parameters, key, value), "made.yaml"), section), name) == value


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("dataset.name", "", "string should have at least 1 character"),
        ("dataset.name", 5, "input should be a valid string"),
        ("dataset.train_fraction", 0, "input should be greater than 0"),
        ("dataset.train_fraction", 1.01, "input should be less than or equal to 1"),
        ("dataset.labels", ["a"], "input should be a valid dictionary"),
        ("split.validation_share", 0, "input should be greater than 0"),
        ("split.validation_share", 1, "input should be less than 1"),
        ("split.holdout_share", -0.1, "input should be greater than 0"),
        ("split.holdout_share", "a lot", "input should be a valid number, unable to parse string as a number"),
        ("encoder.max_tokens", 7, "input should be greater than or equal to 8"),
        ("encoder.max_tokens", 513, "input should be less than or equal to 512"),
        ("encoder.max_tokens", 64.5, "input should be a valid integer, got a number with a fractional part"),
        ("encoder.max_int8_loss", -0.1, "input should be greater than or equal to 0"),
        ("encoder.precision", "int4", "input should be 'auto', 'int8' or 'fp32'"),
        ("training.c", 0, "input should be greater than 0"),
        ("training.seed", 1.5, "input should be a valid integer, got a number with a fractional part"),
        ("training.seed", -1, "input should be greater than or equal to 0"),
        ("training.smote_neighbours", 0, "input should be greater than or equal to 1"),
        ("gate.min_f1", 0.8, "input should be a valid dictionary"),
        ("gate.min_improvement", -0.01, "input should be greater than or equal to 0"),
        ("gate.max_class_drop", 1.01, "input should be less than or equal to 1"),
        ("gate.strict", "maybe", "input should be a valid boolean, unable to interpret input"),
    ],
)
def test_a_wrong_value_names_key_value_and_what_is_wanted(parameters, key, value, reason):
    """A value of the wrong type or out of range is told in one sentence."""
    assert say_mistake(change(parameters, key, value)) == f"made.yaml: {key} is {value!r}: {reason}."


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("gate.min_f1", {"default": 85}, "gate.min_f1.default is 85: input should be less than or equal to 1."),
        ("dataset.labels", {1: 2}, "dataset.labels.1 is 2: input should be a valid string."),
    ],
)
def test_a_wrong_value_deep_inside_names_its_whole_path(parameters, key, value, sentence):
    """A mistake below a section is told with the path to it."""
    assert say_mistake(change(parameters, key, value)) == f"made.yaml: {sentence}"


@pytest.mark.parametrize("gamma", ["skale", 0, -1])
def test_a_wrong_gamma_names_both_ways_to_say_it(parameters, gamma):
    """A gamma that is neither a word nor a positive number is told with both, in plain words."""
    message = say_mistake(change(parameters, "training.gamma", gamma))
    assert message.startswith(f"made.yaml: training.gamma is {gamma!r}: input should be 'scale' or 'auto'.")
    assert "literal[" not in message
    assert "constrained-" not in message


@pytest.mark.parametrize("validation_share", [0.8, 0.9])
def test_shares_that_leave_nothing_to_train_on_are_refused(parameters, validation_share):
    """Validation and holdout may not take all rows."""
    message = say_mistake(change(parameters, "split.validation_share", validation_share))
    assert str(validation_share) in message
    assert message.endswith("leave no rows to train on; wanted a sum below 1.")


def test_floors_without_a_default_are_refused(parameters):
    """A gate must have a floor for a dataset that nobody named."""
    message = say_mistake(change(parameters, "gate.min_f1", {"imdb": 0.85}))
    assert message.startswith("made.yaml: gate")
    assert message.endswith("min_f1 has no 'default'; name the floor for datasets that are not listed.")


def test_a_typo_in_a_key_of_a_section_names_the_nearest(parameters):
    """A key that a section does not have is told with the nearest and all of that section."""
    assert say_mistake(change(parameters, "gate.stric", True)) == (
        "made.yaml: unknown key 'stric'. Did you mean 'strict'? Known: max_class_drop, min_f1, min_improvement, strict."
    )


def test_a_typo_in_a_section_names_the_nearest(parameters):
    """A section that does not exist is told with the nearest and all of them."""
    assert say_mistake({**parameters, "gates": {}}) == (
        "made.yaml: unknown key 'gates'. Did you mean 'gate'?"
        " Known: candidates, dataset, encoder, gate, split, training."
    )


def test_a_renamed_section_is_both_missing_and_unknown(parameters):
    """A typo in the name of a section is told from both sides."""
    parameters["trainning"] = parameters.pop("training")
    message = say_mistake(parameters)
    assert f"made.yaml: training is missing; {COPY_ONE}" in message
    assert "made.yaml: unknown key 'trainning'. Did you mean 'training'?" in message


@pytest.mark.parametrize("section", ["dataset", "split", "encoder", "candidates", "training", "gate"])
def test_a_missing_section_is_told(parameters, section):
    """A section that is not there is named, with where to find one."""
    del parameters[section]
    assert say_mistake(parameters) == f"made.yaml: {section} is missing; {COPY_ONE}"


def test_a_missing_key_is_told_with_its_section(parameters):
    """A threshold has no default in code: one that is not there is named."""
    del parameters["gate"]["max_class_drop"]
    assert say_mistake(parameters) == f"made.yaml: gate.max_class_drop is missing; {COPY_ONE}"


@pytest.mark.parametrize("value", [None, 3, ["strict"]])
def test_a_section_that_is_none_names_what_it_is(parameters, value):
    """A section without keys is told with what stands there."""
    message = say_mistake({**parameters, "gate": value})
    assert message.startswith(f"made.yaml: gate is {value!r}: input should be a valid dictionary")


def test_every_mistake_is_told_at_once(parameters):
    """Two mistakes are two sentences in one message."""
    message = say_mistake(change(change(parameters, "gate.max_class_drop", 2), "training.c", -1))
    assert message == (
        "made.yaml: training.c is -1: input should be greater than 0."
        " made.yaml: gate.max_class_drop is 2: input should be less than or equal to 1."
    )


def test_an_unknown_candidate_names_the_nearest(parameters):
    """A typo in a candidate is told with the nearest and all of them, and with nothing else."""
    assert say_mistake({**parameters, "candidates": ["svm", "svm_smot"]}) == (
        "made.yaml: unknown candidate 'svm_smot'. Did you mean 'svm_smote'? Known: svm, svm_smote."
    )


def test_an_unknown_candidate_that_stands_alone_is_the_one_mistake(parameters):
    """A list of one unknown candidate is not told to be empty."""
    assert say_mistake({**parameters, "candidates": ["svn"]}) == (
        "made.yaml: unknown candidate 'svn'. Did you mean 'svm'? Known: svm, svm_smote."
    )


@pytest.mark.parametrize("value", [[], "svm", None])
def test_candidates_are_a_list_of_at_least_one(parameters, value):
    """No candidate, or a word where the list belongs, is told with what stands there."""
    assert say_mistake({**parameters, "candidates": value}).startswith(f"made.yaml: candidates is {value!r}: ")


def test_a_typo_at_the_top_level_names_the_nearest(tmp_path, content):
    """A key beside the parameters that ZenML does not know is told with the nearest."""
    message = say_file_mistake(tmp_path / "made.yaml", {**content, "enable_cash": True})
    assert message.startswith("made.yaml: unknown key 'enable_cash'. Did you mean 'enable_cache'? Known: ")


def test_a_typo_in_parameters_itself_names_the_nearest(tmp_path, content):
    """A misspelled 'parameters' is told as a typo, not as missing."""
    message = say_file_mistake(tmp_path / "made.yaml", {"paramters": content["parameters"]})
    assert message.startswith("made.yaml: unknown key 'paramters'. Did you mean 'parameters'?")


@pytest.mark.parametrize("content", [b"enable_cache: false\n", b"parameters:\n", b"parameters: [gate]\n"])
def test_a_file_without_parameters_is_told(tmp_path, content):
    """Without the section that holds all others there is one to copy."""
    assert say_file_mistake(tmp_path / "made.yaml", content) == (
        "made.yaml has no section 'parameters'; copy one from the zenml_config.yaml of the project."
    )


@pytest.mark.parametrize(
    ("content", "line"),
    [(b"a: [\n", 2), (b"a:\n\tb: 1\n", 2), (b"a: b: c\n", 1), (b"a: 1\nb: 'c\n", 3), (b"!!python/name:os.system\n", 1)],
    ids=["bracket", "tab", "colons", "quote", "python tag"],
)
def test_a_file_that_is_not_yaml_names_the_line(tmp_path, content, line):
    """Broken YAML is found by its line, and a tag that would run code is broken YAML."""
    assert say_file_mistake(tmp_path / "made.yaml", content) == (
        f"made.yaml is not YAML at line {line}; check the indentation and the quotes there."
    )


@pytest.mark.parametrize(
    "content", [b"\xff\xfea\x00", b"a: caf\xe9\n", b"a: 1\x00\n"], ids=["utf-16", "latin-1", "nul"]
)
def test_bytes_that_are_no_text_are_not_yaml(tmp_path, content):
    """A file in another encoding is told as one that is not YAML."""
    assert say_file_mistake(tmp_path / "made.yaml", content).startswith("made.yaml is not YAML")


def test_a_date_that_does_not_exist_is_not_yaml(tmp_path):
    """A value that YAML takes for a date and cannot read is a mistake in the file, not a crash."""
    assert "made.yaml" in say_file_mistake(tmp_path / "made.yaml", b"run_name: 2026-13-45\n")


@pytest.mark.parametrize("content", [b"", b"# nothing\n", b"- a\n", b"just words\n"])
def test_a_file_without_sections_is_told(tmp_path, content):
    """YAML that is no mapping says what was wanted."""
    assert say_file_mistake(tmp_path / "made.yaml", content) == (
        "made.yaml holds no sections; wanted 'parameters:' with the sections below it."
    )


def test_a_missing_file_is_told(tmp_path):
    """A path to nothing names the file that is always there."""
    with pytest.raises(ConfigError) as caught:
        read_yaml(tmp_path / "none.yaml")
    assert str(caught.value) == (
        f"there is no configuration file {str(tmp_path / 'none.yaml')!r}; the project's own is zenml_config.yaml."
    )
