"""Deploying by the real kubectl, against a stand-in of the API server."""

import shutil

import pytest
from click.testing import CliRunner

from deploy.kubernetes import cli as cluster
from deploy.kubernetes.cli import main
from tests.support.deploy.kubernetes_api import BROKEN, ApiServer, run_api_server

pytestmark = pytest.mark.skipif(not shutil.which("kubectl"), reason="no kubectl on PATH; it deploys")

FIRST, SECOND, THIRD = (f"registry.example.org/sentigate@sha256:{digit * 64}" for digit in "123")
NOT_READY = f"registry.example.org/{BROKEN}@sha256:{'4' * 64}"
SPACE = "sentigate"


@pytest.fixture
def api(tmp_path, monkeypatch):
    """A cluster with the namespace of production and its secrets."""
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path))  # kubectl remembers what a server can
    monkeypatch.setattr(cluster, "ROLLOUT_SECONDS", 20)
    with run_api_server(tmp_path / "config") as server:
        server.put("v1", "Namespace", "", SPACE)
        for secret in ("sentigate-database", "sentigate-keys"):
            server.put("v1", "Secret", SPACE, secret)
        yield server


def run(*arguments: str):
    return CliRunner().invoke(main, [*arguments, "--overlay", "production"])


def find_images(api: ApiServer) -> dict[str, str]:
    """Return which image each Deployment runs."""
    return {
        found["metadata"]["name"]: found["spec"]["template"]["spec"]["containers"][0]["image"]
        for found in api.find("apps/v1", "deployments", SPACE)
    }


def test_a_deployment_is_there_when_the_command_returns(api):
    done = run("apply", "--image", FIRST)
    assert done.exit_code == 0, done.output
    assert done.stdout == f"deployment/sentigate in sentigate runs {FIRST}\n"
    assert find_images(api) == {"sentigate": FIRST}
    assert api.find("networking.k8s.io/v1", "networkpolicies", SPACE)


def test_another_image_takes_its_place_and_undo_brings_it_back(api):
    run("apply", "--image", FIRST)
    assert run("apply", "--image", SECOND).exit_code == 0
    assert find_images(api) == {"sentigate": SECOND}
    done = run("undo")
    assert done.exit_code == 0, done.output
    assert done.stdout == "deployment/sentigate in sentigate runs what it ran before\n"
    assert find_images(api) == {"sentigate": FIRST}


def test_an_image_that_does_not_start_is_taken_back(api):
    """What ran before it runs again, not what ran before that."""
    for image in (FIRST, SECOND):
        run("apply", "--image", image)
    done = run("apply", "--image", NOT_READY)
    assert done.exit_code == 1
    assert done.stderr == (
        'Error: deployment/sentigate did not become ready. kubectl rollout failed: deployment "sentigate" exceeded its'
        " progress deadline. deployment/sentigate runs what it ran before.\n"
    )
    assert find_images(api) == {"sentigate": SECOND}


def test_a_first_image_that_does_not_start_stays_to_be_looked_at(api):
    done = run("apply", "--image", NOT_READY)
    assert done.exit_code == 1
    assert done.stderr.endswith(
        "deployment/sentigate ran nothing before; `kubectl describe deployment/sentigate -n sentigate` says more.\n"
    )


def test_a_canary_comes_beside_and_goes_when_it_is_not_named_any_more(api):
    run("apply", "--image", FIRST)
    assert run("apply", "--image", FIRST, "--canary", SECOND).exit_code == 0
    assert find_images(api) == {"sentigate": FIRST, "sentigate-canary": SECOND}
    assert run("apply", "--image", SECOND).exit_code == 0
    assert find_images(api) == {"sentigate": SECOND}


@pytest.mark.parametrize("missing", ["sentigate-database", "sentigate-keys"])
def test_a_missing_secret_is_told_before_anything_is_changed(api, missing):
    del api.objects["v1", "secrets", SPACE, missing]
    done = run("apply", "--image", FIRST)
    assert done.exit_code == 1
    assert done.stderr == (
        f"Error: there is no secret '{missing}' in the namespace 'sentigate'; docs/deploy/kubernetes.md says how to"
        " make it. Nothing was changed.\n"
    )
    assert find_images(api) == {}
