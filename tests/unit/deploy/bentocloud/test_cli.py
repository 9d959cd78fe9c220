"""The file that BentoCloud is asked with, read by BentoML's own classes."""

import pytest
from bentoml._internal.cloud.deployment import DeploymentAPI, DeploymentConfigParameters
from bentoml._internal.cloud.schemas.modelschemas import DeploymentStrategy
from bentoml._internal.cloud.schemas.schemasv2 import CreateDeploymentSchema
from bentoml._internal.configuration.v2 import _SERVICE_CONFIG
from bentoml._internal.utils.cattr import bentoml_cattr
from schema import Schema

from deploy.bentocloud.cli import CONFIG, check_secrets, find_unknown, read_file
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


def test_no_key_of_the_file_is_passed_over():
    """BentoML forgives keys that it does not know; we name them."""
    config = read_file(CONFIG)
    assert list(find_unknown(config, CreateDeploymentSchema)) == []

    config["secret"] = ["x"]
    config["envs"][0]["vaule"] = "y"
    config["services"]["sentigate"]["scaling"]["maximum"] = 3
    assert set(find_unknown(config, CreateDeploymentSchema)) == {
        "secret", "envs[0].vaule", "services.sentigate.scaling.maximum",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("content", "said"),
    [("name: [", "cannot be read as YAML"), ("- a", "names no deployment"), ("name: 3", "names no deployment")],
)
def test_a_file_that_says_nothing_is_refused_in_one_sentence(tmp_path, content, said):
    """Where there is no name there is nothing to deploy."""
    (tmp_path / "file.yaml").write_text(content)

    with pytest.raises(ConfigError, match=said):
        read_file(tmp_path / "file.yaml")


@pytest.mark.parametrize("name", ["DATABASE_URL", "SENTIMENT_API_KEYS"])
def test_a_secret_in_the_file_is_refused_before_anybody_is_asked(name):
    """What must not stand in a file goes into a secret by reference."""
    config = {"name": "a", "envs": [{"name": name, "value": "x"}]}

    with pytest.raises(ConfigError, match=f"{name} stands in the file under envs; put it into a secret"):
        check_secrets(None, config)
