"""What BentoCloud is asked for, what it refuses, and what is then left; the cloud is a small one on loopback."""

import json
import re

import pytest
import yaml

from deploy.bentocloud.cli import CONFIG
from sentiment.bundle.bundle import CARD_FILE, MODEL_FILE
from sentiment.database.url import DATABASE_VARIABLE
from tests.support.deploy.bentocloud_server import TOKEN, run_cloud
from tests.support.production import make_checkout

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A checkout with a tiny Bento in production, which the tests read."""
    return make_checkout(tmp_path_factory.mktemp("bentocloud"))


@pytest.fixture
def cloud():
    with run_cloud() as running:
        running.secrets["sentigate"] = [DATABASE_VARIABLE]
        yield running


def ask(checkout, cloud, *arguments, token=TOKEN):
    """Return the exit code of a command and the last line that it said."""
    done = checkout.run(
        "sentigate", "deploy", "bentocloud", *arguments, BENTO_CLOUD_API_KEY=token, BENTO_CLOUD_API_ENDPOINT=cloud.url
    )
    said = (done.stdout + done.stderr).strip()
    assert "Traceback" not in said, said
    return done.returncode, said.splitlines()[-1]


def drop_unset(content):
    """Return the body without the fields that BentoML sends as null."""
    if isinstance(content, dict):
        return {name: drop_unset(value) for name, value in content.items() if value is not None}
    return [drop_unset(item) for item in content] if isinstance(content, list) else content


def test_what_is_in_production_is_pushed_and_deployed_as_the_file_says(checkout, cloud):
    """The cloud gets the exact Bento, its model with the right digest, and every setting of the file."""
    pointer, wanted = checkout.pointer, yaml.safe_load(CONFIG.read_text())

    code, said = ask(checkout, cloud, "apply")

    assert (code, said.split(";")[0]) == (0, f"{pointer['bento']} answers at https://sentigate.bentocloud.example")
    ((method, body),) = cloud.bodies
    assert (method, drop_unset(body)) == ("POST", {**wanted, "bento": pointer["bento"], "dev": False})
    files = cloud.read_files(pointer["tag"])
    assert json.loads(files[CARD_FILE])["digest"] == pointer["digest"]
    assert files[MODEL_FILE]
    assert "src/service/app.py" in cloud.read_files(pointer["bento"])


def test_a_second_time_the_deployment_is_updated_and_nothing_is_uploaded_again(checkout, cloud):
    """What is there already is not sent again; the settings are."""
    ask(checkout, cloud, "apply")
    sent = dict(cloud.archives)

    assert ask(checkout, cloud, "apply")[0] == 0
    assert [method for method, _ in cloud.bodies] == ["POST", "PUT"]
    assert {name: cloud.bodies[1][1][name] for name in ("bento", "services")} == {
        name: cloud.bodies[0][1][name] for name in ("bento", "services")
    }
    assert cloud.archives == sent


def test_destroying_stops_the_deployment_and_removes_it(checkout, cloud):
    """Afterwards there is no deployment; a second time says so."""
    ask(checkout, cloud, "apply")

    assert ask(checkout, cloud, "destroy") == (
        0, "sentigate is gone from BentoCloud; the Bento and the secrets are still there.",
    )  # fmt: skip
    assert cloud.deployments == {}
    assert ask(checkout, cloud, "destroy") == (
        1, "Error: BentoCloud has no deployment 'sentigate'; there is nothing to remove.",
    )  # fmt: skip


@pytest.mark.parametrize("token", ["wrong", ""])
def test_a_token_that_is_not_taken_stops_before_anything_is_sent(checkout, cloud, token):
    """Without a login nothing is pushed."""
    code, said = ask(checkout, cloud, "apply", token=token)

    assert code == 1
    assert re.search(
        r"(does not take the token \(401\)|the BentoCloud token is empty); log in with `bentoml cloud", said
    )
    assert (cloud.archives, cloud.bodies) == ({}, [])


def test_without_a_database_nothing_is_deployed(checkout, cloud):
    """The disk of a replica is no place for the log."""
    cloud.secrets["sentigate"] = ["SENTIMENT_API_KEYS"]

    code, said = ask(checkout, cloud, "apply")

    assert (code, said) == (
        1,
        "Error: no secret of the deployment has DATABASE_URL: the prediction log would lie on the disk of a replica and"
        " go with it; put a PostgreSQL URL into a secret, or set SENTIMENT_LOG_PREDICTIONS to false under envs.",
    )
    assert (cloud.archives, cloud.bodies) == ({}, [])


def test_a_secret_that_is_not_there_is_named_with_the_command_that_makes_it(checkout, cloud):
    """The way out is a line to copy."""
    cloud.secrets.clear()

    code, said = ask(checkout, cloud, "apply")

    assert code == 1
    assert "BentoCloud has no secret 'sentigate'; make it with `bentoml secret create sentigate --from-file" in said


def test_a_service_that_anybody_could_use_is_not_deployed(checkout, cloud, tmp_path):
    """Either the cloud asks for a token or the service for a key."""
    config = tmp_path / "open.yaml"
    config.write_text(CONFIG.read_text().replace("access_authorization: true", "access_authorization: false"))

    code, said = ask(checkout, cloud, "apply", "--config", str(config))
    assert code == 1
    assert "access_authorization is off and no secret has SENTIMENT_API_KEYS: anybody could use the service" in said

    cloud.secrets["sentigate"].append("SENTIMENT_API_KEYS")
    assert ask(checkout, cloud, "apply", "--config", str(config))[0] == 0


def test_what_the_cloud_refuses_and_what_fails_to_start_is_one_sentence(checkout, cloud):
    """The cloud's own words reach the user."""
    cloud.refuses = '{"error":"instance type cpu.4 is not available"}'
    assert "instance type cpu.4 is not available" in ask(checkout, cloud, "apply")[1]

    cloud.refuses, cloud.ends_as = "", "image-build-failed"
    code, said = ask(checkout, cloud, "apply")
    assert (code, said) == (
        1,
        f"Error: sentigate is image-build-failed; its log is on {cloud.url}/deployments/sentigate.",
    )
