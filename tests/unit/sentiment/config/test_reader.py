"""The strict shape of the configuration, and the sentence for each mistake in it."""

from dataclasses import asdict
from operator import attrgetter

import pytest
import yaml
from pydantic import ValidationError

from sentiment.config.reader import check_parameters, read_config, read_evaluation_config, read_yaml
from sentiment.config.schema import CANDIDATES, EvaluationConfig, TrainingConfig
from sentiment.data.datasets import NAMED
from sentiment.errors import ConfigError
from sentiment.evaluation.behaviour import KINDS
from sentiment.paths import CHECKOUT

SHIPPED = CHECKOUT / "zenml_config.yaml"
COPY_ONE = "the zenml_config.yaml of the project has a value to start from."


@pytest.fixture
def content() -> dict:
    """What the project's own configuration says."""
    return yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))


@pytest.fixture
def parameters(content) -> dict:
    return content["parameters"]


def check(parameters: dict) -> TrainingConfig:
    return check_parameters(parameters, "made.yaml", TrainingConfig)


def say_mistake(parameters: dict, shape: type = TrainingConfig) -> str:
    with pytest.raises(ConfigError) as caught:
        check_parameters(parameters, "made.yaml", shape)
    return str(caught.value)


def say_file_mistake(file, content: bytes | dict) -> str:
    file.write_bytes(content if isinstance(content, bytes) else yaml.safe_dump(content).encode())
    with pytest.raises(ConfigError) as caught:
        read_config(file)
    return str(caught.value)


def change(parameters: dict, key: str, value: object) -> dict:
    """Return the parameters with one value changed; the key is a path with dots."""
    name, _, rest = key.partition(".")
    return {**parameters, name: change(parameters[name], rest, value) if rest else value}


def drop(parameters: dict, key: str) -> dict:
    name, _, rest = key.partition(".")
    if rest:
        return {**parameters, name: drop(parameters[name], rest)}
    return {other: value for other, value in parameters.items() if other != name}


def list_keys(section: dict, path: str = "") -> list[str]:
    """Return the path of every value that is no section."""
    found = []
    for key, value in section.items():
        if isinstance(value, dict) and value:
            found += list_keys(value, f"{path}{key}.")
        else:
            found.append(f"{path}{key}")
    return found


SHIPPED_PARAMETERS = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))["parameters"]
# What has a usual value, and the floors of single datasets.
OPTIONAL = {"dataset.text_column", "dataset.label_column", "dataset.labels", "dataset.encoding"}
OPTIONAL |= {"dataset.train_fraction", "gate.force", *(f"gate.min_f1.{name}" for name in NAMED)}
REQUIRED = sorted(set(list_keys(SHIPPED_PARAMETERS)) - OPTIONAL)
SECTIONS = ["dataset", "split", "encoder", "training", "gate"]
SECTIONS += [f"training.{name}" for name in ("tfidf", "svm", "transformer", "lora", "cascade")]


def test_the_configuration_of_the_project_is_valid():
    """The file that ships with the project passes its own rules."""
    assert read_config(SHIPPED).dataset.name == "bundled"


def test_every_named_dataset_has_a_floor_of_its_own():
    """The shipped file names a floor for each dataset that has a name."""
    assert set(NAMED) <= set(read_config(SHIPPED).gate.min_f1)


def test_a_named_floor_comes_before_the_default(parameters):
    """A dataset that is named has its own floor; any other has the default."""
    gate = check(change(parameters, "gate.min_f1", {"default": 0.6, "imdb": 0.85})).gate
    assert (gate.rule_for("imdb", 13).min_f1, gate.rule_for("reviews", 13).min_f1) == (0.85, 0.6)


@pytest.mark.parametrize("name", CANDIDATES)
def test_each_candidate_may_stand_alone(parameters, name):
    """Every candidate that the messages list is accepted."""
    assert check({**parameters, "candidates": [name]}).candidates == (name,)


def test_integer_keys_in_labels_are_text(parameters):
    """Star ratings written as YAML numbers match the labels of a file, which are text."""
    labels = yaml.safe_load("{1: negative, 3: neutral, 5: positive}")
    config = check(change(parameters, "dataset.labels", labels))
    assert config.dataset.labels == {"1": "negative", "3": "neutral", "5": "positive"}


def test_what_a_dataset_leaves_out_is_usual(parameters):
    """A dataset needs a name alone; columns and encoding have the usual values."""
    dataset = check({**parameters, "dataset": {"name": "a.csv"}}).dataset
    assert (dataset.text_column, dataset.label_column, dataset.encoding) == ("text", "label", "utf-8")
    assert (dataset.labels, dataset.train_fraction) == ({}, 1.0)


def test_a_checked_configuration_cannot_change(parameters):
    """What was checked stays as it was."""
    config = check(parameters)
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
        ("training.seed", 0),
        ("training.seed", 2**32 - 1),
        ("training.uncertain_precision", 0),
        ("training.uncertain_precision", 1),
        ("training.svm.gamma", "auto"),
        ("training.svm.gamma", 0.5),
        ("training.svm.smote_neighbours", 1),
        ("training.transformer.epochs", 0.01),
        ("training.transformer.batch_size", 1),
        ("training.transformer.warmup", 0),
        ("training.transformer.weight_decay", 0),
        ("training.transformer.class_weight", 0),
        ("training.transformer.class_weight", 1),
        ("training.transformer.label_smoothing", 0),
        ("training.transformer.focal", 0),
        ("training.transformer.averaging", 0),
        ("training.transformer.patience", 1),
        ("training.transformer.max_tokens", 8),
        ("training.transformer.max_tokens", 512),
        ("training.lora.rank", 1),
        ("training.lora.alpha", 1),
        ("training.lora.dropout", 0),
        ("training.cascade.epochs", 1),
        ("training.transformer.min_steps", 0),
        ("training.cascade.width", 8),
        ("training.cascade.channels", 8),
        ("gate.min_f1", {"default": 0}),
        ("gate.min_f1", {"default": 1}),
        ("gate.min_improvement", 1),
        ("gate.max_class_drop", 0),
        ("gate.min_recall", 0),
        ("gate.min_recall", 1),
        ("gate.min_behaviour", dict.fromkeys(KINDS, 0)),
        ("gate.min_behaviour", dict.fromkeys(KINDS, 1)),
        ("gate.max_calibration_error", 0),
        ("gate.require", "better"),
        ("gate.tolerance", 0),
        ("gate.min_class_rows", 1),
        ("gate.max_decisions", 1),
        ("gate.confidence", 0.999),
        ("gate.resamples", 2000),
        ("gate.strict", True),
        ("gate.force", ""),
        ("gate.force", "the champion leaks"),
    ],
)
def test_a_value_on_the_border_is_accepted(parameters, key, value):
    """The first and last values of each range are inside it."""
    assert attrgetter(key)(check(change(parameters, key, value))) == value


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("dataset.name", ""),
        ("dataset.name", 5),
        ("dataset.train_fraction", 0),
        ("dataset.train_fraction", 1.01),
        ("dataset.labels", ["a"]),
        ("split.validation_share", 0),
        ("split.validation_share", 1),
        ("split.holdout_share", -0.1),
        ("split.holdout_share", "a lot"),
        ("encoder.max_tokens", 7),
        ("encoder.max_tokens", 513),
        ("encoder.max_tokens", 64.5),
        ("encoder.max_int8_loss", -0.1),
        ("encoder.precision", "int4"),
        ("training.seed", 1.5),
        ("training.seed", -1),
        ("training.seed", 2**32),
        ("training.uncertain_precision", 1.01),
        ("training.tfidf.c", 0),
        ("training.svm.c", 0),
        ("training.svm.c", float("inf")),
        ("training.svm.smote_neighbours", 0),
        ("training.transformer.epochs", 0),
        ("training.transformer.batch_size", 0),
        ("training.transformer.learning_rate", 0),
        ("training.transformer.warmup", 1),
        ("training.transformer.weight_decay", -0.1),
        ("training.transformer.class_weight", 1.1),
        ("training.transformer.label_smoothing", 1),
        ("training.transformer.focal", -1),
        ("training.transformer.averaging", 1),
        ("training.transformer.patience", 0),
        ("training.transformer.max_tokens", 513),
        ("training.lora.rank", 0),
        ("training.lora.alpha", 0),
        ("training.lora.dropout", 1),
        ("training.lora.learning_rate", -1),
        ("training.cascade.epochs", 0.5),
        ("training.transformer.min_steps", -1),
        ("training.cascade.width", 7),
        ("training.cascade.channels", 7),
        ("training.cascade.learning_rate", 0),
        ("gate.min_f1", 0.8),
        ("gate.min_improvement", -0.01),
        ("gate.max_class_drop", 1.01),
        ("gate.min_recall", -0.1),
        ("gate.max_calibration_error", 1.1),
        ("gate.max_latency_ms", 0),
        ("gate.max_latency_ms", float("inf")),
        ("gate.max_size_mb", 0),
        ("gate.require", "beter"),
        ("gate.tolerance", -0.01),
        ("gate.min_class_rows", 0),
        ("gate.max_decisions", 0),
        ("gate.confidence", 1.0),
        ("gate.confidence", 0),
        ("gate.resamples", 1999),
        ("gate.force", True),
        ("gate.strict", "maybe"),
    ],
)
def test_a_wrong_value_names_key_value_and_what_is_wanted(parameters, key, value, sentence):
    """A value of the wrong type or out of range is told in one sentence."""
    assert say_mistake(change(parameters, key, value)) == sentence


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("gate.min_f1", {"default": 85}),
        ("gate.min_behaviour", {**dict.fromkeys(KINDS, 0.5), "direction": 60}),
        ("dataset.labels", {1: 2}),
    ],
)
def test_a_wrong_value_deep_inside_names_its_whole_path(parameters, key, value, sentence):
    """A mistake below a section is told with the path to it."""
    assert say_mistake(change(parameters, key, value)) == sentence


@pytest.mark.parametrize("gamma", ["skale", 0, -1])
def test_a_wrong_gamma_is_told_once_and_in_plain_words(parameters, gamma):
    """A gamma that is neither a word nor a positive number is one mistake, without the names of pydantic's branches."""
    message = say_mistake(change(parameters, "training.svm.gamma", gamma))
    assert message.startswith(f"made.yaml: training.svm.gamma is {gamma!r}: input should be 'scale' or 'auto'")
    assert message.count("training.svm.gamma") == 1
    assert "literal[" not in message
    assert "constrained-" not in message


@pytest.mark.parametrize("gamma", [0, -1])
def test_a_wrong_gamma_names_both_ways_to_say_it(parameters, gamma):
    """Who wrote a number learns which numbers are taken."""
    assert "greater than 0" in say_mistake(change(parameters, "training.svm.gamma", gamma))


@pytest.mark.parametrize("reason", ["because", "because so", "   ", "\n"], ids=repr)
def test_a_forced_promotion_needs_a_reason(parameters, reason, sentence):
    """One word is no reason, and neither is white space."""
    assert say_mistake(change(parameters, "gate.force", reason)) == sentence


def test_a_floor_of_a_misspelt_dataset_names_the_nearest(parameters):
    """A floor that would never be asked is told before a run starts."""
    message = say_mistake(change(parameters, "gate.min_f1", {"default": 0.6, "imbd": 0.85}))
    assert message.startswith("made.yaml: unknown dataset under gate.min_f1 'imbd'. Did you mean 'imdb'? Known: ")


def test_a_known_dataset_is_listed_once(parameters):
    """The list of what is known names each dataset and `default` once."""
    message = say_mistake(change(parameters, "gate.min_f1", {"default": 0.6, "imbd": 0.85}))
    assert message.endswith("Known: amazon, bundled, default, imdb, tweet_eval, youtube.")


@pytest.mark.parametrize("name", ["my/reviews.csv", "reviews.csv", "~/data/reviews.parquet"])
def test_a_file_has_a_floor_under_its_name_without_ending(parameters, name):
    """The name of a file's dataset is what its floor is called."""
    parameters = change(parameters, "dataset.name", name)
    gate = check(change(parameters, "gate.min_f1", {"default": 0.5, "reviews": 0.75})).gate
    assert gate.rule_for("reviews", 13).min_f1 == 0.75


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_of_case_without_a_floor_is_named(parameters, kind, sentence):
    """A kind that was forgotten is not taken for zero."""
    assert say_mistake(drop(parameters, f"gate.min_behaviour.{kind}")) == sentence


def test_a_misspelt_kind_of_case_names_the_nearest(parameters):
    """A typo in a kind is told like a typo in a key."""
    floors = {"minimum_functon": 0.5, "invariance": 0.5, "direction": 0.5}
    message = say_mistake(change(parameters, "gate.min_behaviour", floors))
    assert "'minimum_functon'. Did you mean 'minimum_function'?" in message
    assert "[key]" not in message


def test_the_rule_of_a_dataset_has_every_threshold_of_the_file(parameters):
    """Each setting of the gate arrives in the rule as it stands in the file, with the seed of the training."""
    rule = check(parameters).gate.rule_for("imdb", 7)
    settings = {key: value for key, value in parameters["gate"].items() if key not in {"min_f1", "strict", "force"}}
    assert asdict(rule) == {**settings, "min_f1": 0.85, "seed": 7}


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


def test_a_typo_in_a_key_of_a_section_names_the_nearest(parameters, sentence):
    """A key that a section does not have is told with the nearest and all of that section."""
    assert say_mistake(change(parameters, "encoder.precison", "int8")) == sentence


def test_a_typo_in_a_section_of_a_section_names_the_nearest(parameters, sentence):
    """The keys that are known are those of the section that the typo is in."""
    assert say_mistake(change(parameters, "training.lora.rang", 4)) == sentence


@pytest.mark.parametrize("section", SECTIONS)
def test_every_section_is_strict(parameters, section):
    """No section takes a key that it does not know, however deep."""
    message = say_mistake(change(parameters, f"{section}.carbon", 1))
    assert message.startswith("made.yaml: unknown key 'carbon'.")


@pytest.mark.parametrize("key", ["c", "gamma", "smote_neighbours"])
def test_a_setting_of_the_machine_has_moved(parameters, key):
    """A file from before the candidates had sections is told, not half read."""
    assert say_mistake(change(parameters, f"training.{key}", 1)).startswith(f"made.yaml: unknown key {key!r}.")


def test_a_typo_in_a_section_names_the_nearest(parameters, sentence):
    """A section that does not exist is told with the nearest and all of them."""
    assert say_mistake({**parameters, "gates": {}}) == sentence


def test_a_renamed_section_is_both_missing_and_unknown(parameters):
    """A typo in the name of a section is told from both sides."""
    parameters["trainning"] = parameters.pop("training")
    message = say_mistake(parameters)
    assert f"made.yaml: training is missing; {COPY_ONE}" in message
    assert "made.yaml: unknown key 'trainning'. Did you mean 'training'?" in message


@pytest.mark.parametrize("section", ["dataset", "split", "encoder", "candidates", "training", "gate", "promotion"])
def test_a_missing_section_is_told(parameters, section, sentence):
    """A section that is not there is named, with where to find one."""
    del parameters[section]
    assert say_mistake(parameters) == sentence


@pytest.mark.parametrize("key", REQUIRED)
def test_a_missing_key_is_told_with_its_section(parameters, key):
    """A setting has no default in code: one that is not there is named."""
    message = say_mistake(drop(parameters, key))
    if key.startswith("gate.min_behaviour.") or key == "gate.min_f1.default":
        assert repr(key.rpartition(".")[2]) in message
    else:
        assert message == f"made.yaml: {key} is missing; {COPY_ONE}"


@pytest.mark.parametrize("section", [name for name in SECTIONS if "." in name])
def test_a_missing_section_of_a_section_is_told(parameters, section, sentence):
    """The settings of a candidate are there, whether it is trained or not."""
    assert say_mistake(drop(parameters, section)) == sentence


@pytest.mark.parametrize("value", [None, 3, ["strict"]])
def test_a_section_that_is_none_names_what_it_is(parameters, value):
    """A section without keys is told with what stands there."""
    message = say_mistake({**parameters, "gate": value})
    assert message.startswith(f"made.yaml: gate is {value!r}: input should be a valid dictionary")


def test_every_mistake_is_told_at_once(parameters, sentence):
    """Two mistakes are two sentences in one message."""
    message = say_mistake(change(change(parameters, "gate.max_class_drop", 2), "training.svm.c", -1))
    assert message == sentence


def test_every_mistake_in_one_section_is_told_at_once(parameters, sentence):
    """Two mistakes side by side, deep inside, are two sentences as well."""
    message = say_mistake(
        change(change(parameters, "training.transformer.epochs", 0), "training.transformer.focal", -1)
    )
    assert message == sentence


def test_an_unknown_candidate_names_the_nearest(parameters, sentence):
    """A typo in a candidate is told with the nearest and all of them, and with nothing else."""
    assert say_mistake({**parameters, "candidates": ["svm", "svm_smot"]}) == sentence


def test_an_unknown_candidate_that_stands_alone_is_the_one_mistake(parameters, sentence):
    """A list of one unknown candidate is not told to be empty."""
    assert say_mistake({**parameters, "candidates": ["svn"]}) == sentence


@pytest.mark.parametrize("value", [None, 5, {"svm": 1}], ids=repr)
def test_a_candidate_that_is_no_word_is_unknown(parameters, value):
    """Whatever stands in the list is shown."""
    message = say_mistake({**parameters, "candidates": ["svm", value]})
    assert message.startswith(f"made.yaml: unknown candidate {str(value)!r}.")


def test_a_candidate_named_twice_is_refused(parameters, sentence):
    """Two of one name would overwrite each other's steps."""
    assert say_mistake({**parameters, "candidates": ["svm", "lora", "svm"]}) == sentence


@pytest.mark.parametrize("value", [[], "svm", None])
def test_candidates_are_a_list_of_at_least_one(parameters, value):
    """No candidate, or a word where the list belongs, is told with what stands there."""
    assert say_mistake({**parameters, "candidates": value}).startswith(f"made.yaml: candidates is {value!r}: ")


@pytest.fixture
def evaluation(parameters) -> dict:
    """What the evaluation pipeline is told by the command line."""
    named = {"models": ["production"], "datasets": [{"name": "bundled"}], "split": parameters["split"]}
    return {**named, "rows": "holdout", "sample": 0, "seed": 13}


def test_an_evaluation_has_a_shape_of_its_own(tmp_path, evaluation):
    """A file for the evaluation pipeline is read by its own rules."""
    (tmp_path / "made.yaml").write_text(yaml.safe_dump({"parameters": evaluation}))
    config = read_evaluation_config(tmp_path / "made.yaml")
    assert (config.models, config.datasets[0].name, config.rows) == (("production",), "bundled", "holdout")


@pytest.mark.parametrize(
    "changes",
    [
        {"row": "all"},
        {"rows": "some"},
        {"sample": -1},
        {"split": {"holdout_share": 0.2}},
        {"datasets": [{"name": "a"}, {"name": "b", "train_fraction": 0}]},
        {"datasets": [{"name": "a", "encodin": "utf-8"}]},
    ],
    ids=["key", "rows", "sample", "split", "second dataset", "key of a dataset"],
)
def test_a_mistake_in_an_evaluation_is_told(evaluation, changes, sentence):
    """The sentences are those of a training, with the place in the list."""
    assert say_mistake({**evaluation, **changes}, EvaluationConfig) == sentence


@pytest.mark.parametrize("key", ["models", "datasets"])
def test_an_evaluation_has_at_least_one_model_and_dataset(evaluation, key):
    """Nothing to measure is told."""
    assert say_mistake({**evaluation, key: []}, EvaluationConfig).startswith(f"made.yaml: {key} is []: ")


def test_a_typo_at_the_top_level_names_the_nearest(tmp_path, content):
    """A key beside the parameters that ZenML does not know is told with the nearest."""
    message = say_file_mistake(tmp_path / "made.yaml", {**content, "enable_cash": True})
    assert message.startswith("made.yaml: unknown key 'enable_cash'. Did you mean 'enable_cache'? Known: ")


def test_a_typo_in_parameters_itself_names_the_nearest(tmp_path, content):
    """A misspelled 'parameters' is told as a typo, not as missing."""
    message = say_file_mistake(tmp_path / "made.yaml", {"paramters": content["parameters"]})
    assert message.startswith("made.yaml: unknown key 'paramters'. Did you mean 'parameters'?")


@pytest.mark.parametrize("content", [b"enable_cache: false\n", b"parameters:\n", b"parameters: [gate]\n"])
def test_a_file_without_parameters_is_told(tmp_path, content, sentence):
    """Without the section that holds all others there is one to copy."""
    assert say_file_mistake(tmp_path / "made.yaml", content) == sentence


@pytest.mark.parametrize(
    "content",
    [b"a: [\n", b"a:\n\tb: 1\n", b"a: b: c\n", b"a: 1\nb: 'c\n", b"!!python/name:os.system\n"],
    ids=["bracket", "tab", "colons", "quote", "python tag"],
)
def test_a_file_that_is_not_yaml_names_the_line(tmp_path, content, sentence):
    """Broken YAML is found by its line, and a tag that would run code is broken YAML."""
    assert say_file_mistake(tmp_path / "made.yaml", content) == sentence


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
def test_a_file_without_sections_is_told(tmp_path, content, sentence):
    """YAML that is no mapping says what was wanted."""
    assert say_file_mistake(tmp_path / "made.yaml", content) == sentence


def test_a_missing_file_is_told(tmp_path, refuses):
    """A path to nothing names the file that is always there."""
    with refuses(ConfigError):
        read_yaml(tmp_path / "none.yaml")
