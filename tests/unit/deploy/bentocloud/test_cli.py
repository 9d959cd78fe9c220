"""The file that BentoCloud is asked with, read by BentoML's own classes."""

from inspect import isclass

import attr
import pytest
from bentoml._internal.cloud.deployment import DeploymentAPI, DeploymentConfigParameters
from bentoml._internal.cloud.schemas.modelschemas import (
    DeploymentServiceConfig,
    DeploymentStatus,
    DeploymentStrategy,
    DeploymentTargetHPAConf,
    EnvItemSchema,
    HPAPolicy,
)
from bentoml._internal.cloud.schemas.schemasv2 import CreateDeploymentSchema
from bentoml._internal.configuration.v2 import _SERVICE_CONFIG
from bentoml._internal.utils.cattr import bentoml_cattr
from schema import Schema

from deploy.bentocloud import config
from deploy.bentocloud.cli import CONFIG, FAILED, READY, TERMINATED, check_secrets
from deploy.bentocloud.config import DeploymentFile, Section, check_keys, read_file
from sentiment.errors import ConfigError


@pytest.fixture
def wanted() -> CreateDeploymentSchema:
    """The file as `bentoml deploy -f` reads it."""
    parameters = DeploymentConfigParameters(config_file=str(CONFIG))
    parameters.verify(create=False, _client=None)
    return bentoml_cattr.structure({**parameters.cfg_dict, "bento": "sentigate:1-abc"}, CreateDeploymentSchema)


def test_bentoml_reads_the_file_as_it_is_meant(wanted):
    """Scaling, secrets and authorization arrive in BentoML's own schema, and BentoML finds nothing to mend."""
    DeploymentAPI._fix_and_validate_schema(wanted)

    service = wanted.services["sentigate"]
    assert (service.scaling.min_replicas, service.scaling.max_replicas, service.instance_type) == (1, 3, "cpu.4")
    assert (wanted.name, wanted.access_authorization, wanted.secrets) == ("sentigate", True, ["sentigate"])
    assert service.deployment_strategy in {strategy.value for strategy in DeploymentStrategy}


def test_what_is_overridden_is_a_configuration_that_bentoml_knows(wanted):
    """BentoML's schema of a service takes the timeout and the concurrency."""
    overrides = wanted.services["sentigate"].config_overrides

    Schema(_SERVICE_CONFIG).validate(overrides)
    assert overrides["traffic"] == {"timeout": 35, "concurrency": 32}


def test_the_keys_of_the_file_are_those_that_bentoml_knows():
    """BentoML has no public schema; where it takes another key, deploy/bentocloud/config.py has to follow."""
    theirs = CreateDeploymentSchema, DeploymentServiceConfig, DeploymentTargetHPAConf, HPAPolicy, EnvItemSchema
    keys = {key for schema in theirs for key in attr.fields_dict(schema)}
    sections = (DeploymentFile, *(one for one in vars(config).values() if isclass(one) and one.__base__ is Section))
    # The cluster goes into the address, the Bento is the one in production.
    assert {key for section in sections for key in section.model_fields} ^ keys == {"cluster", "bento"}, (
        "deploy/bentocloud/config.py and BentoML's schema of a deployment have different keys"
    )


def test_the_states_of_a_deployment_are_those_that_bentoml_knows():
    """A state that BentoML renamed would be waited for until the end."""
    assert {*READY, *FAILED, *TERMINATED} <= {status.value for status in DeploymentStatus}, "see READY and FAILED"


def test_no_key_of_the_file_is_passed_over(refuses):
    """BentoML forgives keys that it does not know; we name them."""
    content = read_file(CONFIG)
    check_keys(CONFIG, content)

    content["secret"] = ["x"]
    content["envs"][0]["vaule"] = "y"
    content["services"]["sentigate"]["scaling"]["maximum"] = 3
    with refuses(ConfigError):
        check_keys(CONFIG, content)


@pytest.mark.parametrize(
    "change",
    [
        {"envs": [{"name": "A", "value": 2}]},
        {"secrets": "sentigate"},
        {"services": {"sentigate": {"scaling": {"min_replicas": 3, "max_replicas": 1}}}},
        {"services": {"sentigate": {"scaling": {"min_replicas": -1}}}},
        {"access_authorization": "yes"},
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_before_anybody_is_asked(change, refuses):
    """BentoML would raise whatever a constructor does, or send it."""
    with refuses(ConfigError):
        check_keys(CONFIG, {"name": "sentigate", **change})


@pytest.mark.parametrize(
    "content",
    ["name: [", "- a", "name: 3"],
)
def test_a_file_that_says_nothing_is_refused_in_one_sentence(tmp_path, content, refuses):
    """Where there is no name there is nothing to deploy."""
    (tmp_path / "file.yaml").write_text(content)

    with refuses(ConfigError):
        read_file(tmp_path / "file.yaml")


@pytest.mark.parametrize("name", ["DATABASE_URL", "SENTIMENT_API_KEYS"])
def test_a_secret_in_the_file_is_refused_before_anybody_is_asked(name, refuses):
    """What must not stand in a file goes into a secret by reference."""
    content = {"name": "a", "envs": [{"name": name, "value": "x"}]}

    with refuses(ConfigError):
        check_secrets(None, content)
